//! Machines that come to where no container is being run, for whoever looks at them then.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::container_header::ContainerHeader;
use sentient_abi::region::RegionKind;
use sentient_vmm::machine::Stopped;
use staying::{EXITED, Resident, hello, looping};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

/// Whether a container is all in its region, which begins here; `None` while it is being made.
fn is_at_rest(base: u64) -> impl FnOnce(&mut Stopped<'_>) -> Option<bool> + Send + 'static {
    move |machine| {
        let mut bytes = [0; size_of::<ContainerHeader>()];
        machine.memory.read_slice(&mut bytes, GuestAddress(base)).unwrap();
        ContainerHeader::parse(&bytes).map(|header| header.is_at_rest())
    }
}

#[test]
fn one_that_computes_is_at_rest_when_that_is_asked_for() {
    let mut resident = Resident::start(128 << 20);
    resident.load(3, &looping());
    // Asked now and then: whoever asks without a pause keeps the guest from running anything.
    let deadline = Instant::now() + Duration::from_secs(20);
    let pause = || {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    };
    let base = loop {
        pause();
        if let [region] = resident.regions(RegionKind::Container)[..] {
            break region.base;
        }
    };
    let patience = Duration::from_secs(10);
    // One that has not been run yet is nothing to go on from.
    while resident.door.stopped_at_rest(patience, is_at_rest(base)).unwrap() != Some(true) {
        pause();
    }
    for _ in 0..50 {
        pause();
        assert_eq!(resident.door.stopped_at_rest(patience, is_at_rest(base)).unwrap(), Some(true));
    }
    // At nearly any other instant it computes, and who does not want to wait does not.
    while resident.door.stopped_at_rest(Duration::ZERO, is_at_rest(base)).unwrap() != Some(false) {
        pause();
    }
    // Others come and go.
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
    assert_eq!(resident.door.stopped_at_rest(patience, is_at_rest(base)).unwrap(), Some(true));
}

#[test]
fn a_guest_that_does_not_come_to_rest_is_stopped_where_it_is() {
    let resident = Resident::start(128 << 20);
    // The vCPU is held by another job, so that the guest hears of nothing.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let door = std::sync::Arc::clone(&resident.door);
    let holder = std::thread::spawn(move || door.stopped(move |_| held.recv().is_ok()).unwrap());
    let door = std::sync::Arc::clone(&resident.door);
    let waiting = std::thread::spawn(move || door.stopped_at_rest(Duration::from_millis(1), |_| 7).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    hold.send(()).unwrap();
    assert!(holder.join().unwrap());
    assert_eq!(waiting.join().unwrap(), 7);
    // An answer that came too late is no answer to the next question.
    assert_eq!(resident.door.stopped_at_rest(Duration::from_secs(10), |_| 8).unwrap(), 8);
}
