//! The encoding of a machine's state: that of version 3, as it was when it was settled.
//!
//! If a test about the golden file fails, the encoding has changed: either by mistake, or it needs another
//! version. The file is a machine's whose guest spun, written with `MACHINE_STATE_GOLDEN=write`. What needs
//! KVM here fails without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{LOOP, alone, config, kernel, null_streams};
use sentient_abi::ABI_VERSION;
use sentient_vmm::machine::state::{MachineState, StateError};
use sentient_vmm::{Ended, Machine};
use std::path::Path;
use std::{env, fs};

/// The state of a machine that spins.
fn spinning() -> Vec<u8> {
    let _alone = alone();
    let machine = Machine::new(&config(kernel(&LOOP, 0)), null_streams()).expect("this test needs KVM");
    let stop = machine.stop_handle();
    let running = machine.start().unwrap();
    let door = running.door();
    let thread = std::thread::spawn(move || running.wait().unwrap().ended);
    let state = door.stopped(|machine| MachineState::read(machine).unwrap().encode().unwrap()).unwrap();
    stop.stop(Ended::Terminated);
    assert_eq!(thread.join().unwrap(), Ended::Terminated);
    state
}

fn golden() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/machine-state-v4.bin");
    if env::var("MACHINE_STATE_GOLDEN").is_ok_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, spinning()).unwrap();
    }
    let mut golden = fs::read(&path).unwrap();
    // Later kernels speak otherwise, and a state is still encoded so.
    golden[1] = u8::try_from(ABI_VERSION).unwrap();
    golden
}

#[test]
fn a_state_of_version_4_is_still_read_and_is_still_written_so() {
    let golden = golden();
    let state = MachineState::decode(&golden).unwrap();
    // Where it was in the guest that the state was written of.
    assert_eq!(state.places.panic_record, 0x11_3000);
    assert!(state.encode().unwrap() == golden, "the same state gives other bytes");
}

#[test]
fn the_state_of_a_machine_of_today_has_the_same_layout() {
    let today = spinning();
    assert!(MachineState::decode(&today).unwrap().encode().unwrap() == today);
    // The bytes differ by clocks and by what KVM of this host has.
    assert_eq!(today[0], golden()[0], "another version");
}

#[test]
fn a_state_of_another_version_is_refused_by_its_number() {
    let mut other = golden();
    // A small number takes one byte.
    for version in [0, 1, 2, 3, 99] {
        other[0] = version;
        let error = MachineState::decode(&other).unwrap_err();
        assert!(matches!(error, StateError::Version { found } if found == u32::from(version)));
        let said = error.to_string();
        assert!(said.contains(&format!("version {version},")) && said.contains("reads version 4"), "{said}");
    }
}

#[test]
fn a_state_whose_kernel_speaks_another_abi_is_refused_by_its_version() {
    let mut other = golden();
    for version in [0, other[1] - 1, other[1] + 1] {
        other[1] = version;
        let error = MachineState::decode(&other).unwrap_err();
        assert!(matches!(error, StateError::Abi { found } if found == u32::from(version)));
        assert!(error.to_string().contains(&format!("speaks ABI version {version},")), "{error}");
    }
}

#[test]
fn a_state_that_is_cut_or_goes_on_is_refused() {
    let golden = golden();
    for len in (0..golden.len()).step_by(37).chain([golden.len() - 1]) {
        assert!(matches!(MachineState::decode(&golden[..len]), Err(StateError::Damaged(_))), "{len} bytes");
    }
    let longer = [&golden[..], &[0]].concat();
    assert!(matches!(MachineState::decode(&longer), Err(StateError::Damaged(_))));
}
