//! Machines that stay, and who and when they are afterwards: memory, clocks, timers and random numbers of a guest
//! that was rolled back, restored or forked, as its own program sees them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::container;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Most that a wall clock may be off.
const MOST_OFF_NS: i128 = 10_000_000;

/// Milliseconds between two lines of a witness.
const INTERVAL_MS: u64 = 5;

/// A line of `witness`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    tick: u64,
    nonce: String,
    wall_ns: u64,
    monotonic_ns: u64,
    random: String,
}

impl Line {
    /// `None` if it is not a whole line of a witness: the machine was killed, or put back, in the middle of it.
    fn read(text: &str) -> Option<Self> {
        let [tick, nonce, wall, monotonic, random] = *text.split(' ').collect::<Vec<_>>() else {
            return None;
        };
        Some(Self {
            tick: tick.parse().ok()?,
            nonce: nonce.to_owned(),
            wall_ns: wall.parse().ok()?,
            monotonic_ns: monotonic.parse().ok()?,
            random: random.to_owned(),
        })
    }
}

/// What the witness of a machine has said.
fn lines(home: &Home, machine: &str) -> Vec<Line> {
    let output = home.output(machine, "witness");
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| Line::read(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

/// Waits until the witness has said so many lines in all.
fn wait_for_lines(home: &Home, machine: &str, count: usize) -> Vec<Line> {
    home.wait_for(machine, "witness", |output| output.matches('\n').count() >= count);
    lines(home, machine)
}

/// Waits until it has said so many lines more.
fn more_lines(home: &Home, machine: &str, count: usize) -> Vec<Line> {
    let now = home.output(machine, "witness").matches('\n').count();
    wait_for_lines(home, machine, now + count)
}

/// A machine with a witness that has said a little.
fn witnessed(args: &[&str]) -> Home {
    let home = Home::with_machine();
    home.start("witness", &container("witness"), args);
    wait_for_lines(&home, "m", 3);
    home
}

fn at_intervals() -> Home {
    witnessed(&[&INTERVAL_MS.to_string(), "0"])
}

/// Positions of the lines that do not follow the one before: each begins another life.
fn births(lines: &[Line]) -> Vec<usize> {
    (1..lines.len()).filter(|at| lines[*at].tick != lines[at - 1].tick + 1).collect()
}

/// The lines as one life saw them, up to the line at `birth` and from there on: what was said after the snapshot it
/// comes from was not said to it.
fn own_past(lines: &[Line], birth: usize) -> Vec<Line> {
    let first = &lines[birth];
    let mut past: Vec<Line> = Vec::new();
    for line in &lines[..birth] {
        past.retain(|before| before.tick < line.tick);
        past.push(line.clone());
    }
    past.retain(|line| line.tick < first.tick);
    past
}

fn wall_now_ns() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// How far the wall clock of a machine's guest is behind the host's, in nanoseconds: the least of a second's lines.
/// Each also counts how long it took from the guest's clock to this process, which is never less than nothing.
fn behind_ns(home: &Home, machine: &str) -> i128 {
    let mut seen = home.output(machine, "witness").len();
    let mut least = i128::MAX;
    let mut lines = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while lines < 1000 / INTERVAL_MS {
        assert!(Instant::now() < until, "the witness of {machine} says nothing more");
        let log = std::fs::read(home.of(machine, ".container/witness/stdout.log")).unwrap();
        let now = wall_now_ns();
        if log.len() > seen && log.ends_with(b"\n") {
            let text = String::from_utf8(log[seen..].to_vec()).unwrap();
            // The first piece may begin in the middle of a line.
            for line in text.lines().filter_map(Line::read) {
                least = least.min(now - i128::from(line.wall_ns));
                lines += 1;
            }
            seen = log.len();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    least
}

fn assert_wall_clock(home: &Home, machine: &str, after: &str) {
    let behind = behind_ns(home, machine);
    assert!(behind.abs() < MOST_OFF_NS, "after {after} the wall clock is {behind} ns behind");
}

/// Asserts that no two lines of these lives have drawn the same. The first line of a life may have been drawn before
/// the snapshot it comes from, and only said after it.
fn assert_all_draw_differently(lives: &[Vec<Line>]) {
    let mut drawn = BTreeSet::new();
    for lines in lives {
        let births = births(lines);
        for (at, line) in lines.iter().enumerate() {
            if at != 0 && !births.contains(&at) {
                assert!(drawn.insert(&line.random), "{line:?} was drawn before");
            }
        }
    }
}

/// Asserts that a life goes on from its snapshot: with the same nonce and the next tick, and by a monotonic clock
/// that has neither gone back nor counted what lay between.
fn assert_goes_on(past: &[Line], life: &[Line], apart_ns: u64) {
    let (before, after) = (past.last().unwrap(), &life[0]);
    assert_eq!(after.tick, before.tick + 1, "not the next tick");
    assert_eq!(after.nonce, before.nonce, "another nonce: it has begun anew");
    let passed = after.monotonic_ns.checked_sub(before.monotonic_ns);
    assert!(passed.is_some_and(|passed| passed < apart_ns), "{passed:?} ns from {before:?} to {after:?}");
}

#[test]
fn a_machine_that_was_killed_resumes_and_does_not_boot() {
    let home = at_intervals();
    home.ok(&["snapshot"]);
    let said = more_lines(&home, "m", 20);
    home.kill("m");
    let away = Duration::from_millis(1500);
    std::thread::sleep(away);
    home.ok(&["boot"]);
    // What it said until it was killed is there; behind it comes what the restored one says.
    wait_for_lines(&home, "m", said.len() + 20);
    assert_wall_clock(&home, "m", "a restore");
    let lines = lines(&home, "m");
    let births = births(&lines);
    let [birth] = births[..] else { panic!("{births:?}: it was restored once") };
    let past = own_past(&lines, birth);
    // Neither booted nor gone back to the very beginning.
    assert!(past.len() >= 3 && lines[birth].tick > 3);
    assert_goes_on(&past, &lines[birth..], nanos(away));
    assert!(lines.iter().all(|line| line.nonce == lines[0].nonce));
    assert_all_draw_differently(&[lines]);
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

#[test]
fn each_time_a_machine_is_put_back_it_is_the_same_and_draws_other_numbers() {
    let home = at_intervals();
    home.ok(&["snapshot", "-t", "start"]);
    for _ in 0..9 {
        more_lines(&home, "m", 8);
        home.ok(&["rollback", "start", "--discard"]);
    }
    let apart = Duration::from_millis(1500);
    std::thread::sleep(apart);
    home.ok(&["rollback", "start", "--discard"]);
    more_lines(&home, "m", 8);
    assert_wall_clock(&home, "m", "ten rollbacks");
    let lines = lines(&home, "m");
    let births = births(&lines);
    assert_eq!(births.len(), 10, "one life for each rollback");
    for birth in &births {
        assert_eq!(lines[*birth].tick, lines[births[0]].tick, "all begin where the snapshot was taken");
        assert_goes_on(&own_past(&lines, *birth), &lines[*birth..], u64::MAX);
    }
    let last = *births.last().unwrap();
    assert_goes_on(&own_past(&lines, last), &lines[last..], nanos(apart));
    assert!(lines.iter().all(|line| line.nonce == lines[0].nonce));
    assert_all_draw_differently(&[lines]);
}

#[test]
fn clones_and_what_they_come_from_draw_different_numbers_by_clocks_that_are_right() {
    let home = at_intervals();
    home.ok(&["snapshot", "-t", "start"]);
    // Two lives from one snapshot, beside that of the machine itself.
    home.ok(&["fork", "m", "one", "--from", "start"]);
    home.ok(&["fork", "m", "two", "--from", "start"]);
    let mut lives = Vec::new();
    for clone in ["one", "two"] {
        wait_for_lines(&home, clone, 1);
        assert_wall_clock(&home, clone, "a fork");
    }
    let original = lines(&home, "m");
    assert!(births(&original).is_empty(), "the machine itself does not notice");
    for clone in ["one", "two"] {
        let clone = lines(&home, clone);
        assert!(births(&clone).is_empty());
        let past: Vec<Line> = original.iter().take_while(|line| line.tick < clone[0].tick).cloned().collect();
        assert_goes_on(&past, &clone, 1_000_000_000);
        lives.push(clone);
    }
    assert_eq!(lives[0][0].tick, lives[1][0].tick);
    lives.push(original);
    assert_all_draw_differently(&lives);
}

#[test]
fn numbers_that_were_half_drawn_at_the_snapshot_are_drawn_anew() {
    // It draws 1 MiB at a time, and does hardly anything else: most snapshots are taken while it does. What it says
    // is the end of what it drew.
    let home = witnessed(&["0", "0", "1048576"]);
    let mut different = 0;
    const SNAPSHOTS: usize = 6;
    for round in 0..SNAPSHOTS {
        let tag = format!("round-{round}");
        home.ok(&["snapshot", "-t", &tag]);
        let mut firsts = Vec::new();
        for _ in 0..2 {
            home.ok(&["rollback", &tag, "--discard"]);
            let all = more_lines(&home, "m", 3);
            let birth = *births(&all).last().unwrap();
            firsts.push(all[birth].clone());
        }
        assert_eq!(firsts[0].tick, firsts[1].tick);
        different += usize::from(firsts[0].random != firsts[1].random);
    }
    // One snapshot may have met it between two draws.
    assert!(different * 2 > SNAPSHOTS, "only {different} of {SNAPSHOTS} pairs differ");
}

/// Milliseconds that the next tests' witness sleeps.
const SLEEP_MS: u64 = 3000;
const SLEEP: Duration = Duration::from_millis(SLEEP_MS);
/// How late a sleep may end on a loaded host.
const LATE: Duration = Duration::from_millis(2500);
/// How much later than the guest this process may have seen a line.
const NOTICED_LATE: Duration = Duration::from_millis(250);

/// A machine whose witness has just said its first line, and sleeps; since when.
fn sleeping(until: &[&str]) -> (Home, Instant) {
    let home = Home::with_machine();
    let sleep = SLEEP_MS.to_string();
    let args: Vec<&str> = [sleep.as_str(), "0"].into_iter().chain(until.iter().copied()).collect();
    home.start("witness", &container("witness"), &args);
    wait_for_lines(&home, "m", 1);
    (home, Instant::now())
}

/// Runs a command that takes a snapshot of a sleeping witness' machine; how much of the sleep was left at least, and
/// at most.
fn left_at(home: &Home, since: Instant, command: &[&str]) -> (Duration, Duration) {
    let most = SLEEP.checked_sub(since.elapsed()).unwrap();
    home.ok(command);
    (SLEEP.checked_sub(since.elapsed()).unwrap(), most)
}

/// Asserts that what was left of a sleep was slept, no more and no less, by the host's clock; and by the guest's own,
/// which does not count what lay between, the whole sleep.
fn assert_slept(woke_after: Duration, (least, most): (Duration, Duration), before: &Line, after: &Line) {
    assert!(woke_after + NOTICED_LATE >= least, "it woke after {woke_after:?}; {least:?} were left");
    assert!(woke_after <= most + LATE, "it woke after {woke_after:?}; {most:?} were left");
    assert_eq!(after.tick, before.tick + 1);
    let slept = after.monotonic_ns - before.monotonic_ns;
    assert!((nanos(SLEEP)..nanos(SLEEP + LATE)).contains(&slept), "it slept for {slept} ns");
}

#[test]
fn a_sleep_goes_on_after_a_restore_for_what_was_left_of_it() {
    let (home, since) = sleeping(&[]);
    std::thread::sleep(Duration::from_secs(1));
    let left = left_at(&home, since, &["stop"]);
    // By any clock but its own the sleep is over.
    std::thread::sleep(SLEEP);
    assert_eq!(lines(&home, "m").len(), 1);
    let booted = Instant::now();
    home.ok(&["boot"]);
    let lines = wait_for_lines(&home, "m", 2);
    assert_slept(booted.elapsed(), left, &lines[0], &lines[1]);
}

#[test]
fn a_sleep_goes_on_after_a_fork_and_a_rollback_for_what_was_left_of_it() {
    let (home, since) = sleeping(&[]);
    std::thread::sleep(Duration::from_secs(1));
    let left = left_at(&home, since, &["snapshot", "-t", "asleep"]);
    let forked = Instant::now();
    home.ok(&["fork", "m", "twin", "--from", "asleep"]);
    let twin = wait_for_lines(&home, "twin", 1);
    assert_slept(forked.elapsed(), left, &lines(&home, "m")[0], &twin[0]);
    wait_for_lines(&home, "m", 2);
    let back = Instant::now();
    home.ok(&["-m", "m", "rollback", "asleep", "--discard"]);
    let lines = wait_for_lines(&home, "m", 3);
    assert_slept(back.elapsed(), left, &lines[0], &lines[2]);
}

#[test]
fn a_wait_for_a_time_of_the_wall_clock_is_over_when_that_has_come_meanwhile() {
    let (home, since) = sleeping(&["16", "wall"]);
    let (least_left, _) = left_at(&home, since, &["stop"]);
    std::thread::sleep(SLEEP);
    let booted = Instant::now();
    home.ok(&["boot"]);
    let lines = wait_for_lines(&home, "m", 2);
    let woke = booted.elapsed();
    assert_eq!(lines[1].tick, lines[0].tick + 1);
    assert!(woke < least_left.min(LATE), "it woke after {woke:?}, as if no time had passed");
    let passed = lines[1].wall_ns - lines[0].wall_ns;
    assert!(passed >= nanos(SLEEP), "it woke {passed} ns later");
}

/// How many numbers the counter of the next tests writes, as fast as it can.
const NUMBERS: u64 = 100_000;

/// All that it writes.
fn all_numbers() -> Vec<u8> {
    (1..=NUMBERS).flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn written(home: &Home, machine: &str) -> Vec<u8> {
    std::fs::read(home.of(machine, ".container/counter/stdout.log")).unwrap()
}

/// A machine with a counter that writes as fast as it can, and has written something, but not all.
fn writing() -> Home {
    let home = Home::with_machine();
    home.start("counter", &container("counter"), &["--interval-ms", "0", "--count", &NUMBERS.to_string()]);
    home
}

/// Waits until the counter has ended well; what is in its file then.
fn at_its_end(home: &Home, machine: &str) -> Vec<u8> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let status = home.json(&["-m", machine, "status"]);
        let counter = status["containers"].as_array().unwrap().iter().find(|one| one["name"] == "counter");
        let counter = counter.unwrap();
        if counter["state"] == "ended" {
            assert_eq!(counter["exit_code"], 0, "{status}");
            let all = all_numbers().len();
            assert_eq!(counter["stdout_bytes"], all, "{status}");
            return written(home, machine);
        }
        assert!(Instant::now() < until, "{status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that `file` is `before` and then what a life has written from the snapshot on, to the last byte; how many
/// bytes had been written by the snapshot.
#[track_caller]
fn assert_follows(file: &[u8], before: &[u8], all: &[u8]) -> usize {
    assert!(file.starts_with(before), "what was written before has changed");
    let rest = &file[before.len()..];
    let position = all.len().checked_sub(rest.len()).unwrap();
    assert!(rest == &all[position..], "bytes were lost or came twice");
    position
}

#[test]
fn of_a_flood_of_output_no_byte_is_lost_or_doubled_by_rollbacks_and_forks() {
    let home = writing();
    let all = all_numbers();
    home.ok(&["snapshot", "-t", "amid"]);
    home.ok(&["fork", "m", "twin", "--from", "amid"]);
    let mut before = at_its_end(&home, "m");
    assert!(before == all, "a snapshot has disturbed the output");
    let position = assert_follows(&at_its_end(&home, "twin"), &[], &all);
    assert!(position > 0 && position < all.len(), "{position} bytes of {} at the snapshot", all.len());
    for round in 0..5 {
        home.ok(&["-m", "m", "rollback", "amid", "--discard"]);
        let after = at_its_end(&home, "m");
        assert_eq!(assert_follows(&after, &before, &all), position, "round {round}");
        before = after;
    }
}

#[test]
fn of_a_flood_of_output_no_byte_is_lost_or_doubled_by_stops_and_kills() {
    let home = writing();
    let all = all_numbers();
    home.ok(&["stop"]);
    let stopped = written(&home, "m");
    assert!(!stopped.is_empty() && stopped.len() < all.len(), "{} bytes by the stop", stopped.len());
    home.ok(&["boot"]);
    home.wait_for("m", "counter", |output| output.len() > stopped.len());
    home.kill("m");
    let killed = written(&home, "m");
    assert!(all.starts_with(&killed), "after a stop it went on with the next byte");
    home.ok(&["boot"]);
    let position = assert_follows(&at_its_end(&home, "m"), &killed, &all);
    assert_eq!(position, stopped.len(), "it goes on from the snapshot of the stop");
}
