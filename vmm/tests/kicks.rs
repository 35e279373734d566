//! A machine that is called out of the guest again and again, so that the guest runs for an instruction or two each time
//! and its timer is overdue whenever it does.
//!
//! This test needs KVM, and fails without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use staying::{EXITED, Resident, hello, looping};
use std::time::{Duration, Instant};

#[test]
fn a_machine_that_hardly_gets_to_run_goes_on_when_it_does() {
    let mut resident = Resident::start(128 << 20);
    resident.load(3, &looping());
    let pauses = [Duration::ZERO, Duration::from_micros(20)];
    for pause in pauses {
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            resident.door.stopped(|_| ()).unwrap();
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        resident.load(0, &hello());
        assert_eq!(resident.end(0), EXITED);
    }
}
