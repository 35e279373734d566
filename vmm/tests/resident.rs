//! Machines that go on: containers are loaded into them, run side by side, and end, and nothing of them is
//! left.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::{RegionKind, image_name};
use sentient_abi::stdio::{Room, Status};
use sentient_devices::virtio::stdio_mux::ContainerEvent;
use sentient_vmm::BootProtocol;
use sentient_vmm::machine::resident::ResidentHandle;
use staying::{EXITED, Resident, busy, hello, looping, of_wasm, program, small};
use std::time::{Duration, Instant};

/// Gives a container standard input, all of it.
fn given(machine: &ResidentHandle, container: u32, bytes: &[u8]) {
    assert_eq!(machine.input(container, bytes, Duration::from_secs(10)), bytes.len());
}

#[test]
fn a_container_is_loaded_runs_and_ends_and_the_machine_goes_on() {
    let mut resident = Resident::start(128 << 20);
    for container in [0, 7, 63, 0] {
        resident.load(container, &hello());
        assert_eq!(resident.end(container), EXITED);
        assert_eq!(resident.out(container), "Hello, SentientOS!\n");
    }
}

#[test]
fn a_machine_entered_by_pvh_takes_containers_as_well() {
    let mut resident = Resident::by(BootProtocol::Pvh, 128 << 20);
    // Its nucleus sets the page tables up, which images that come later change.
    resident.load(5, &busy());
    for container in [0, 63, 0] {
        resident.load(container, &hello());
        assert_eq!(resident.end(container), EXITED);
        assert_eq!(resident.out(container), "Hello, SentientOS!\n");
    }
    resident.load(1, &program("resources/containers/faults/faults.wasm", &["div0"]));
    assert_eq!(resident.end(1), ContainerEvent::Ended(ContainerEnd::Trapped));
    resident.handle.kill(5);
    assert_eq!(resident.end(5), ContainerEvent::Ended(ContainerEnd::Killed));
}

#[test]
fn hundreds_of_containers_leave_nothing_behind() {
    let mut resident = Resident::start(128 << 20);
    let hello = hello();
    // All there is but a little: it only fits while memory is in one piece.
    let mut large = hello.clone();
    large.spec.memory_limit = 70 << 20;
    let start = Instant::now();
    for turn in 0..300 {
        resident.load(0, if turn % 100 == 99 { &large } else { &hello });
        assert_eq!(resident.end(0), EXITED, "turn {turn}");
        assert_eq!(resident.out(0), "Hello, SentientOS!\n", "turn {turn}");
    }
    println!("{:?} a container", start.elapsed() / 300);
}

#[test]
fn two_that_compute_share_fairly_and_a_third_is_answered() {
    let mut resident = Resident::start(256 << 20);
    let busy = busy();
    resident.load(0, &busy);
    resident.load(1, &busy);
    resident.load(2, &program("resources/containers/cat/cat.wasm", &[]));
    resident.until("both compute", |resident| resident.lines(0) > 10 && resident.lines(1) > 10);
    let before = (resident.lines(0), resident.lines(1));
    let mut slowest = Duration::ZERO;
    for turn in 0..20 {
        let asked = Instant::now();
        let line = format!("line {turn}\n");
        given(&resident.handle, 2, line.as_bytes());
        resident.until("an answer", |resident| resident.out(2).ends_with(&line));
        slowest = slowest.max(asked.elapsed());
        resident.listen(Duration::from_millis(100));
    }
    // Time that the host takes away counts for whoever had the turn: on a busy host it takes a while to even out.
    let mut calls = (0, 0);
    for _ in 0..10 {
        calls = (resident.lines(0) - before.0, resident.lines(1) - before.1);
        if calls.0.abs_diff(calls.1) * 10 <= calls.0.max(calls.1) {
            break;
        }
        resident.listen(Duration::from_secs(1));
    }
    println!("{calls:?} calls, slowest answer {slowest:?}");
    assert!(calls.0.abs_diff(calls.1) * 10 <= calls.0.max(calls.1), "{calls:?} calls");
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    resident.handle.end_input(2);
    assert_eq!(resident.end(2), EXITED);
}

/// Processor time that each of these has had, of what all have had, since `before`, by the guest's count.
fn shares(before: &[Status], now: &[Status]) -> Vec<f64> {
    let used: Vec<u64> = before.iter().zip(now).map(|(before, now)| now.used_ns - before.used_ns).collect();
    let all: u64 = used.iter().sum();
    used.iter().map(|used| *used as f64 / all as f64).collect()
}

#[test]
fn the_processor_is_shared_by_weight_and_left_to_others_by_who_waits_or_is_paused() {
    let mut resident = Resident::start(256 << 20);
    let all = [0, 1, 2];
    for (container, weight) in all.into_iter().zip([100, 50, 25]) {
        let mut looping = looping();
        looping.spec.cpu_weight = Some(weight);
        resident.load(container, &looping);
    }
    // Time that the host takes away counts for whoever had the turn: on a busy host it takes a while to even out.
    let measure = |resident: &mut Resident, containers: &[u32], expected: &[f64]| {
        let before = resident.ask(containers);
        let mut found = Vec::new();
        for _ in 0..10 {
            resident.listen(Duration::from_secs(1));
            found = shares(&before, &resident.ask(containers));
            if found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.025) {
                return;
            }
        }
        panic!("{found:?}, and not {expected:?}");
    };
    measure(&mut resident, &all, &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]);

    resident.handle.pause(1, true);
    resident.until("it is paused", |resident| resident.statuses[&1].paused);
    measure(&mut resident, &all, &[0.8, 0.0, 0.2]);
    // It has not saved up what it did not have.
    resident.handle.pause(1, false);
    measure(&mut resident, &all, &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]);

    // A paused one is ended all the same, whether it computes or waits, and its number is free.
    resident.load(3, &program("resources/containers/cat/cat.wasm", &[]));
    for container in [0, 3] {
        resident.handle.pause(container, true);
        resident.until("it is paused", |resident| {
            resident.statuses.get(&container).is_some_and(|status| status.paused)
        });
        resident.handle.kill(container);
        assert_eq!(resident.end(container), ContainerEvent::Ended(ContainerEnd::Killed));
    }
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
    // One that has ended is asked in vain, and nothing else happens.
    resident.handle.ask(0);
    resident.handle.pause(0, true);
    measure(&mut resident, &[1, 2], &[2.0 / 3.0, 1.0 / 3.0]);
    assert!(!resident.statuses.contains_key(&0));
}

#[test]
fn one_that_waits_is_answered_once_it_may_run_again() {
    let mut resident = Resident::start(128 << 20);
    resident.load(0, &program("resources/containers/cat/cat.wasm", &[]));
    given(&resident.handle, 0, b"before\n");
    resident.until("an answer", |resident| resident.out(0) == "before\n");
    resident.handle.pause(0, true);
    given(&resident.handle, 0, b"meanwhile\n");
    resident.listen(Duration::from_millis(300));
    assert_eq!(resident.out(0), "before\n");
    let [status] = resident.ask(&[0])[..] else { panic!("one answer") };
    assert!(status.paused && status.memory > 0 && status.memory <= status.memory_limit, "{status:?}");
    resident.handle.pause(0, false);
    resident.until("an answer", |resident| resident.out(0) == "before\nmeanwhile\n");
}

#[test]
fn one_that_loops_can_be_killed_and_others_started_meanwhile() {
    let mut resident = Resident::start(128 << 20);
    let (hello, looping) = (hello(), looping());
    for _ in 0..10 {
        resident.load(0, &looping);
        resident.load(1, &hello);
        assert_eq!(resident.end(1), EXITED);
        resident.handle.kill(0);
        assert_eq!(resident.end(0), ContainerEvent::Ended(ContainerEnd::Killed));
    }
    // One that waits ends as well.
    resident.load(3, &program("resources/containers/cat/cat.wasm", &[]));
    resident.listen(Duration::from_millis(50));
    resident.handle.kill(3);
    assert_eq!(resident.end(3), ContainerEvent::Ended(ContainerEnd::Killed));
}

/// `(module (func $loop (export "_start") (loop (br 0))) (start $loop))`: it computes for ever, and is not even
/// instantiated.
const LOOPING_START: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\
    \x07\x0a\x01\x06_start\0\0\x08\x01\0\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b";

#[test]
fn one_that_is_killed_while_it_is_instantiated_leaves_no_code_behind() {
    let mut resident = Resident::start(128 << 20);
    let run = of_wasm(LOOPING_START, &[]);
    for _ in 0..3 {
        // Each at the same address: were the code of the one before still known, this would not be accepted.
        resident.load(0, &run);
        resident.listen(Duration::from_millis(50));
        resident.handle.kill(0);
        assert_eq!(resident.end(0), ContainerEvent::Ended(ContainerEnd::Killed));
    }
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
}

#[test]
fn more_than_there_is_room_for_are_refused_and_the_others_stay() {
    let mut resident = Resident::start(512 << 20);
    let mut cat = program("resources/containers/cat/cat.wasm", &[]);
    cat.spec.memory_limit = 4 << 20;
    for container in 0..40 {
        resident.load(container, &cat);
    }
    for container in 0..40 {
        resident.handle.end_input(container);
    }
    resident.until("all have ended", |resident| resident.ends.len() == 40);
    let ran = resident.ends.values().filter(|end| **end == EXITED).count();
    assert!(ran >= 20, "{ran} ran");
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
}

#[test]
fn memory_of_another_container_is_zero_for_the_next() {
    let mut resident = Resident::start(128 << 20);
    let zeroed = program("tests/modules/zeroed.wasm", &[]);
    for turn in 0..5 {
        resident.load(turn, &zeroed);
        assert_eq!(resident.end(turn), EXITED, "turn {turn}");
    }
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let mut resident = Resident::start(128 << 20);
    let refused = |resident: &mut Resident, part: &str| match resident.end(0) {
        ContainerEvent::Refused(reason) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}"),
    };
    let room = Room { memory: 1 << 20, files: 0, life: 1 };
    resident.handle.load_module(0, room, b"this is no boot module".to_vec()).unwrap();
    refused(&mut resident, "boot module");
    resident.ends.clear();
    let mut damaged = hello();
    damaged.image.bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x55);
    resident.load(0, &damaged);
    refused(&mut resident, "");
    let mut greedy = hello();
    greedy.spec.memory_limit = 1 << 40;
    resident.load(0, &greedy);
    refused(&mut resident, "memory");
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
}

#[test]
fn an_image_that_is_not_there_is_asked_for_and_then_stays() {
    let mut resident = Resident::start(128 << 20);
    for _ in 0..2 {
        resident.handle.load(0, &hello()).unwrap();
        assert_eq!(resident.end(0), ContainerEvent::NoImage);
        resident.ends.clear();
    }
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
    let mut images = Vec::new();
    for container in 1..5 {
        resident.ends.clear();
        resident.handle.load(container, &hello()).unwrap();
        assert_eq!(resident.end(container), EXITED, "it is still there");
        images.push(resident.regions(RegionKind::Image));
    }
    assert_eq!(images[0].len(), 1);
    assert!(images.iter().all(|regions| *regions == images[0]), "{images:?}");
    let name = image_name(&hello().image.digest());
    assert_eq!(images[0][0].name, name);
}

#[test]
fn images_that_nobody_runs_make_room() {
    // With 24 MiB there is room for one container of 10 MiB, and for little beside it.
    let mut resident = Resident::start(24 << 20);
    let programs =
        ["hello/hello", "jsonq/jsonq", "minidb/minidb", "digest/digest", "press/press", "seek/seek"];
    for path in programs {
        resident.load(0, &small(&format!("resources/containers/{path}.wasm"), 2 << 20));
        resident.handle.end_input(0);
        resident.until("an end", |resident| resident.ends.contains_key(&0));
    }
    let before = resident.regions(RegionKind::Image).len();
    assert!(before > 1, "{before}");
    let free: u64 = resident.regions(RegionKind::Unassigned).iter().map(|region| region.len).max().unwrap();
    let mut large = hello();
    // With the stack, the heap and its files this is more than is free.
    large.spec.memory_limit = free - (700 << 10);
    resident.load(0, &large);
    assert_eq!(resident.end(0), EXITED);
    assert!(resident.regions(RegionKind::Image).len() < before);
}

#[test]
fn forty_eight_containers_run_at_once_on_128_mib() {
    let mut resident = Resident::start(128 << 20);
    let cat = small("resources/containers/cat/cat.wasm", 17 << 16);
    for container in 0..48 {
        resident.load(container, &cat);
        given(&resident.handle, container, format!("{container}\n").as_bytes());
    }
    resident.until("all lines", |resident| (0..48).all(|container| resident.lines(container) == 1));
    assert!(resident.ends.is_empty(), "{:?}", resident.ends);
    assert_eq!(resident.regions(RegionKind::Container).len(), 48);
    for container in 0..48 {
        assert_eq!(resident.out(container), format!("{container}\n"));
        resident.handle.end_input(container);
        assert_eq!(resident.end(container), EXITED);
    }
}

#[test]
fn tables_are_limited_all_together() {
    let mut resident = Resident::start(128 << 20);
    // They lie outside of the memory limit: 100,000 elements in all, however many tables.
    let tables = small("tests/modules/tables.wasm", 1 << 20);
    for container in 0..20 {
        resident.load(container, &tables);
    }
    for container in 0..20 {
        assert_eq!(resident.end(container), ContainerEvent::Ended(ContainerEnd::Exited(10)), "{container}");
    }
}

#[test]
fn a_trap_ends_its_container_alone() {
    let mut resident = Resident::start(128 << 20);
    resident.load(0, &busy());
    resident.load(1, &program("resources/containers/faults/faults.wasm", &["div0"]));
    assert_eq!(resident.end(1), ContainerEvent::Ended(ContainerEnd::Trapped));
    let said = String::from_utf8_lossy(&resident.errors[&1]).into_owned();
    assert!(said.contains("integer divide by zero"), "{said}");
    let lines = resident.lines(0);
    resident.until("the other goes on", |resident| resident.lines(0) > lines + 10);
}

#[test]
fn each_container_has_its_own_cpu_limit() {
    let mut resident = Resident::start(128 << 20);
    let mut limited = looping();
    limited.spec.cpu_limit_ns = 100_000_000;
    resident.load(0, &busy());
    resident.load(1, &limited);
    assert_eq!(resident.end(1), ContainerEvent::Ended(ContainerEnd::CpuLimit));
    let said = String::from_utf8_lossy(&resident.errors[&1]).into_owned();
    assert!(said.contains("0.100 s is reached"), "{said}");
    let lines = resident.lines(0);
    resident.until("the other goes on", |resident| resident.lines(0) > lines + 10);
}

/// CPU time of this process, the guest included.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
#[ignore = "a measurement: run it alone, on an idle machine, with --nocapture"]
fn what_taking_turns_costs() {
    let busy = busy();
    for containers in [1, 2, 4, 8, 1, 2, 4, 8] {
        let mut resident = Resident::start(1 << 30);
        for container in 0..containers {
            resident.load(container, &busy);
        }
        let total = |resident: &Resident| (0..containers).map(|index| resident.lines(index)).sum::<usize>();
        resident
            .until("all compute", |resident| (0..containers).all(|container| resident.lines(container) > 10));
        let (before, start) = (total(&resident), cpu_time());
        resident.listen(Duration::from_secs(3));
        let calls = u32::try_from(total(&resident) - before).unwrap();
        println!("{containers} containers: {:?} of CPU time a call", (cpu_time() - start) / calls);
    }
}
