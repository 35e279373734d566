//! `poll_oneoff`.

use sentient_wasi::{Errno, Outcome, Wait, rights};

use crate::guest::{CREAT, DATA, FOLLOW, Guest, RESULT, ROOT, blocked, done};

const IN: u32 = DATA;
const OUT: u32 = DATA + 0x4_0000;
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;

/// `$event`.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    userdata: u64,
    pub error: u16,
    kind: u8,
    nbytes: u64,
    flags: u16,
}

pub fn clock(id: u32, timeout: u64, absolute: bool) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[16..20].copy_from_slice(&id.to_le_bytes());
    raw[24..32].copy_from_slice(&timeout.to_le_bytes());
    raw[40..42].copy_from_slice(&u16::from(absolute).to_le_bytes());
    raw
}

fn stream(kind: u8, fd: u32) -> [u8; 48] {
    let mut raw = [0; 48];
    raw[8] = kind;
    raw[16..20].copy_from_slice(&fd.to_le_bytes());
    raw
}

fn reading(fd: u32) -> [u8; 48] {
    stream(1, fd)
}

pub fn writing(fd: u32) -> [u8; 48] {
    stream(2, fd)
}

/// Puts subscriptions, each with its place from 100 on as userdata.
fn subscribe(g: &mut Guest, subscriptions: &[[u8; 48]]) {
    for (index, raw) in subscriptions.iter().enumerate() {
        let mut raw = *raw;
        raw[..8].copy_from_slice(&(100 + index as u64).to_le_bytes());
        g.put(IN + index as u32 * 48, &raw);
    }
}

fn call(g: &mut Guest, count: u32) -> Outcome {
    g.wasi.poll_oneoff(&mut g.host, &mut g.mem, IN, OUT, count, RESULT)
}

pub fn poll_call(g: &mut Guest, subscriptions: &[[u8; 48]]) -> Outcome {
    subscribe(g, subscriptions);
    call(g, subscriptions.len() as u32)
}

fn events(g: &Guest) -> Vec<Event> {
    (0..g.u32_at(RESULT))
        .map(|index| {
            let at = OUT + index * 32;
            Event {
                userdata: g.u64_at(at),
                error: u16::from_le_bytes(g.bytes(at + 8, 2).try_into().unwrap()),
                kind: g.mem[at as usize + 10],
                nbytes: g.u64_at(at + 16),
                flags: u16::from_le_bytes(g.bytes(at + 24, 2).try_into().unwrap()),
            }
        })
        .collect()
}

pub fn poll(g: &mut Guest, subscriptions: &[[u8; 48]]) -> Vec<Event> {
    done(poll_call(g, subscriptions)).unwrap();
    events(g)
}

pub fn until(until_ns: u64) -> Wait {
    Wait { until_ns: Some(until_ns), ..Wait::YIELD }
}

#[test]
fn no_subscription_is_einval() {
    // witx, poll_oneoff: "If nsubscriptions is 0, returns errno::inval".
    let mut g = Guest::new();
    assert_eq!(done(call(&mut g, 0)), Err(Errno::Inval));
}

#[test]
fn more_than_4096_subscriptions_are_einval() {
    let mut g = Guest::new();
    assert_eq!(done(call(&mut g, 4097)), Err(Errno::Inval));
    assert_eq!(done(call(&mut g, u32::MAX)), Err(Errno::Inval));
    let mut g = Guest::new();
    let many = vec![writing(1); 4096];
    assert_eq!(poll(&mut g, &many).len(), 4096);
}

#[test]
fn an_unknown_event_type_is_einval() {
    let mut g = Guest::new();
    assert_eq!(done(poll_call(&mut g, &[stream(3, 0)])), Err(Errno::Inval));
}

#[test]
fn a_relative_timeout_is_counted_once_however_often_it_is_woken() {
    let mut g = Guest::new();
    let sleep = [clock(MONOTONIC, 1_000, false)];
    assert_eq!(blocked(poll_call(&mut g, &sleep)), until(6_000));
    g.host.monotonic = 5_500;
    assert_eq!(blocked(call(&mut g, 1)), until(6_000));
    g.host.monotonic = 6_000;
    done(call(&mut g, 1)).unwrap();
    let event = Event { userdata: 100, error: 0, kind: 0, nbytes: 0, flags: 0 };
    assert_eq!(events(&g), [event]);
    assert_eq!(blocked(call(&mut g, 1)), until(7_000), "a new sleep counts anew");
}

#[test]
fn a_call_in_between_or_a_cancel_forgets_the_old_deadline() {
    let mut g = Guest::new();
    let sleep = [clock(MONOTONIC, 1_000, false)];
    blocked(poll_call(&mut g, &sleep));
    g.host.monotonic = 5_700;
    g.write(1, b"x").unwrap();
    assert_eq!(blocked(poll_call(&mut g, &sleep)), until(6_700));
    g.host.monotonic = 5_800;
    g.wasi.cancel();
    assert_eq!(blocked(poll_call(&mut g, &sleep)), until(6_800));
}

#[test]
fn other_parameters_are_another_call() {
    let mut g = Guest::new();
    let sleep = [clock(MONOTONIC, 1_000, false), clock(MONOTONIC, 10, false)];
    subscribe(&mut g, &sleep);
    assert_eq!(blocked(call(&mut g, 1)), until(6_000));
    assert_eq!(blocked(call(&mut g, 2)), until(5_010));
}

#[test]
fn subscriptions_are_read_once() {
    let mut g = Guest::new();
    blocked(poll_call(&mut g, &[clock(MONOTONIC, 1_000, false)]));
    g.put(IN, &[0xff; 48]);
    g.host.monotonic = 6_000;
    done(call(&mut g, 1)).unwrap();
    assert_eq!(events(&g)[0].userdata, 100);
}

#[test]
fn an_absolute_monotonic_time_is_waited_for() {
    let mut g = Guest::new();
    assert_eq!(blocked(poll_call(&mut g, &[clock(MONOTONIC, 9_000, true)])), until(9_000));
    g.wasi.cancel();
    assert_eq!(poll(&mut g, &[clock(MONOTONIC, 4_999, true)]).len(), 1);
    assert_eq!(poll(&mut g, &[clock(MONOTONIC, 0, false)]).len(), 1);
}

#[test]
fn an_absolute_real_time_follows_the_clock_when_it_jumps() {
    let mut g = Guest::new();
    let at = g.host.realtime + 500;
    assert_eq!(blocked(poll_call(&mut g, &[clock(REALTIME, at, true)])), until(5_500));
    g.host.realtime -= 1_000;
    assert_eq!(blocked(call(&mut g, 1)), until(6_500));
    g.host.realtime += 1_500;
    assert_eq!(done(call(&mut g, 1)), Ok(()));
}

#[test]
fn a_relative_real_time_does_not_follow_jumps() {
    // POSIX clock_nanosleep(): setting the clock "shall have no effect" on relative sleeps.
    let mut g = Guest::new();
    assert_eq!(blocked(poll_call(&mut g, &[clock(REALTIME, 500, false)])), until(5_500));
    g.host.realtime += 1_000_000;
    assert_eq!(blocked(call(&mut g, 1)), until(5_500));
}

#[test]
fn the_earliest_of_several_deadlines_is_waited_for() {
    let mut g = Guest::new();
    let waits =
        [clock(MONOTONIC, 900, false), clock(MONOTONIC, 300, false), clock(MONOTONIC, u64::MAX, false)];
    assert_eq!(blocked(poll_call(&mut g, &waits)), until(5_300));
    g.host.monotonic = 5_300;
    done(call(&mut g, 3)).unwrap();
    let seen: Vec<u64> = events(&g).iter().map(|event| event.userdata).collect();
    assert_eq!(seen, [101]);
}

#[test]
fn a_clock_that_cannot_be_waited_for_is_an_event_with_an_error() {
    let mut g = Guest::new();
    let mut bad_flags = clock(MONOTONIC, 5, false);
    bad_flags[40] = 2;
    let found = poll(&mut g, &[clock(2, 5, false), clock(9, 5, false), bad_flags]);
    let errors: Vec<u16> = found.iter().map(|event| event.error).collect();
    assert_eq!(errors, [Errno::Notsup as u16, Errno::Inval as u16, Errno::Inval as u16]);
}

#[test]
fn input_and_a_timeout_are_waited_for_together() {
    let mut g = Guest::new();
    let both = [reading(0), clock(MONOTONIC, 1_000, false)];
    let wait = blocked(poll_call(&mut g, &both));
    assert_eq!(wait, Wait { stdin: true, ..until(6_000) });
    g.host.stdin.extend(b"abc");
    done(call(&mut g, 2)).unwrap();
    let event = Event { userdata: 100, error: 0, kind: 1, nbytes: 3, flags: 0 };
    assert_eq!(events(&g), [event]);
}

#[test]
fn closed_input_is_ready_with_a_hangup() {
    let mut g = Guest::new();
    g.host.stdin_closed = true;
    let event = Event { userdata: 100, error: 0, kind: 1, nbytes: 0, flags: 1 };
    assert_eq!(poll(&mut g, &[reading(0)]), [event]);
}

#[test]
fn output_is_ready_when_it_takes_bytes() {
    let mut g = Guest::new();
    g.host.room = 0;
    let wait = blocked(poll_call(&mut g, &[writing(1), writing(2)]));
    assert_eq!(wait, Wait { stdout: true, stderr: true, ..Wait::YIELD });
    g.host.room = 64;
    done(call(&mut g, 2)).unwrap();
    assert_eq!(events(&g).len(), 2);
    assert_eq!((events(&g)[0].kind, events(&g)[0].nbytes), (2, 64));
}

#[test]
fn files_are_always_ready() {
    // witx, $eventtype: "This event always triggers for regular files".
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"12345678").unwrap();
    g.seek(fd, 3, 0).unwrap();
    let found = poll(&mut g, &[reading(fd), writing(fd), reading(0)]);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].error, found[0].nbytes), (0, 5));
    assert_eq!((found[1].error, found[1].kind), (0, 2));
}

#[test]
fn what_is_wrong_with_a_descriptor_is_an_event() {
    let mut g = Guest::new();
    g.make("f", b"");
    let read_only = rights::FD_READ | rights::POLL_FD_READWRITE;
    let fd = g.open_as((ROOT, FOLLOW), "f", (0, 0), (read_only, 0)).unwrap();
    let found = poll(&mut g, &[reading(99), reading(1), writing(0), reading(ROOT), writing(fd), reading(fd)]);
    let errors: Vec<u16> = found.iter().map(|event| event.error).collect();
    let expected = [Errno::Badf, Errno::Badf, Errno::Badf, Errno::Isdir, Errno::Notcapable, Errno::Success];
    assert_eq!(errors, expected.map(|errno| errno as u16));
}

#[test]
fn events_may_lie_over_the_subscriptions() {
    let mut g = Guest::new();
    subscribe(&mut g, &[writing(1), writing(2), writing(99)]);
    done(g.wasi.poll_oneoff(&mut g.host, &mut g.mem, IN, IN, 3, RESULT)).unwrap();
    let users: Vec<u64> = (0..3).map(|n| g.u64_at(IN + n * 32)).collect();
    assert_eq!(users, [100, 101, 102]);
}
