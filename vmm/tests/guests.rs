//! Guests that misbehave, each a few bytes of machine code in a kernel image of its own: whatever they do,
//! the machine ends with a reason, and nothing of it is left behind.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{CODE, HALT, LOOP, alone, config, kernel, null_streams, out, run, run_code};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::panic_record::Reason;
use sentient_images::{KernelError, KernelImage};
use sentient_vmm::host::{self, Virtualisation};
use sentient_vmm::{BootProtocol, Ended, Machine};
use std::time::Duration;

#[test]
fn a_guest_that_halts_with_interrupts_off_is_noticed() {
    let ended = run_code(&HALT);
    assert!(matches!(ended, Ended::Halt { rip } if (CODE..CODE + 16).contains(&rip)), "{ended:?}");
}

#[test]
fn an_exception_without_a_handler_is_a_triple_fault() {
    let ended = run_code(&[0x0f, 0x0b]);
    assert!(matches!(ended, Ended::TripleFault { .. }), "{ended:?}");
}

#[test]
fn a_guest_that_loops_for_ever_ends_when_its_time_is_up() {
    let mut config = config(kernel(&LOOP, 0));
    config.timeout = Some(Duration::from_millis(300));
    assert_eq!(run(&config), Ended::Timeout);
}

#[test]
fn a_guest_that_loops_for_ever_can_be_stopped_from_another_thread() {
    let _alone = alone();
    let config = config(kernel(&LOOP, 0));
    let machine = Machine::new(&config, null_streams()).expect("this test needs KVM");
    let handle = machine.stop_handle();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        handle.stop(Ended::Terminated);
    });
    assert_eq!(machine.run().unwrap().ended, Ended::Terminated);
    stopper.join().unwrap();
}

#[test]
fn the_word_on_the_exit_port_is_how_the_container_ended() {
    for end in
        [ContainerEnd::Exited(0), ContainerEnd::Exited(42), ContainerEnd::Trapped, ContainerEnd::CpuLimit]
    {
        assert_eq!(run_code(&out(0x5e8, end.encode())), Ended::Container(end));
    }
}

#[test]
fn nonsense_on_the_sentinels_ports_ends_the_machine_and_says_what_it_was() {
    for (port, value) in [(0x5e8, 0xdead_beef), (0x5e4, 77), (0x5ec, 0), (0x5e0, 1)] {
        let ended = run_code(&out(port, value));
        let told = matches!(&ended, Ended::DeviceViolation(what) if what.contains(&format!("{port:#x}")));
        assert!(told, "{value:#x} to port {port:#x}: {ended:?}");
    }
}

#[test]
fn a_panic_record_full_of_ones_is_reported_without_harm() {
    let ended = run(&config(kernel(&out(0x5ec, Reason::Runtime as u32), 0xff)));
    let Ended::Panic(report) = &ended else { panic!("{ended:?}") };
    assert_eq!(report.reason, Reason::Runtime);
    assert_eq!(report.rip, u64::MAX);
    assert_eq!(ended.process_code(), sentient_abi::exit::GUEST_PANIC);
}

#[test]
fn an_sse_instruction_in_ring_0_works_or_where_kvm_emulates_is_an_internal_error() {
    // xorps xmm0, xmm0
    let mut code = vec![0x0f, 0x57, 0xc0];
    code.extend_from_slice(&out(0x5e8, ContainerEnd::Exited(7).encode()));
    let ended = run_code(&code);
    match host::facts().virtualisation {
        Virtualisation::Hardware => assert_eq!(ended, Ended::Container(ContainerEnd::Exited(7))),
        Virtualisation::Software => {
            let here =
                matches!(ended, Ended::KvmInternal { suberror: 1, rip } if (CODE..CODE + 3).contains(&rip));
            assert!(here, "{ended:?}");
        }
    }
}

#[test]
fn accesses_to_ports_and_addresses_where_nothing_is_do_no_harm() {
    let mut code = Vec::new();
    for port in [0x60u16, 0x3f8, 0x5df, 0x5f0, 0xffff] {
        code.extend_from_slice(&[0x66, 0xba]);
        code.extend_from_slice(&port.to_le_bytes());
        // in and out of one, two and four bytes
        code.extend_from_slice(&[0xec, 0x66, 0xed, 0xed, 0xee, 0x66, 0xef, 0xef]);
    }
    // Registers of the console and beyond: mov edi, 0xd0000000; then reads and writes at some offsets.
    code.extend_from_slice(&[0xbf, 0, 0, 0, 0xd0]);
    for offset in [0u8, 0x10, 0x50, 0x64, 0x70] {
        code.extend_from_slice(&[
            0x8b, 0x47, offset, 0x8a, 0x47, offset, 0x88, 0x47, offset, 0x89, 0x47, offset,
        ]);
    }
    code.extend_from_slice(&out(0x5e8, ContainerEnd::Exited(3).encode()));
    assert_eq!(run_code(&code), Ended::Container(ContainerEnd::Exited(3)));
}

#[test]
fn the_same_configuration_can_be_run_again_and_again() {
    let config = config(kernel(&out(0x5e8, ContainerEnd::Exited(1).encode()), 0));
    for _ in 0..20 {
        assert_eq!(run(&config), Ended::Container(ContainerEnd::Exited(1)));
    }
}

#[test]
fn a_machine_too_small_for_its_kernel_is_refused_with_the_way_out() {
    let _alone = alone();
    let mut config = config(kernel(&HALT, 0));
    config.ram = 24 << 20;
    config.container.as_mut().unwrap().image.bytes = vec![0; 23 << 20];
    let refused = Machine::new(&config, null_streams()).err().expect("it must be refused").to_string();
    assert!(refused.contains("--machine-memory"), "{refused}");
}

#[test]
fn every_panic_reason_is_told_and_an_unknown_one_is_a_violation() {
    for value in 1..=7 {
        let ended = run_code(&out(0x5ec, value));
        let told = matches!(&ended, Ended::Panic(report) if report.reason as u32 == value);
        assert!(told, "{value}: {ended:?}");
    }
    for value in [8, u32::MAX] {
        let ended = run_code(&out(0x5ec, value));
        assert!(matches!(ended, Ended::DeviceViolation(_)), "{value}: {ended:?}");
    }
}

#[test]
fn the_sentinel_tells_the_abi_version_and_takes_words_of_four_bytes_only() {
    // mov dx, 0x5e0; in eax, dx; or eax, 1 << 24; mov dx, 0x5e8; out dx, eax: exits with the version.
    let code = [0x66, 0xba, 0xe0, 0x05, 0xed, 0x0d, 0, 0, 0, 1, 0x66, 0xba, 0xe8, 0x05, 0xef];
    let version = sentient_abi::ABI_VERSION;
    assert_eq!(run_code(&code), Ended::Container(ContainerEnd::Exited(version)));
    // mov dx, 0x5e8; mov eax, 1 << 24; then out of one byte, or of two.
    for narrow in [&[0xee][..], &[0x66, 0xef]] {
        let mut code = vec![0x66, 0xba, 0xe8, 0x05, 0xb8, 0, 0, 0, 1];
        code.extend_from_slice(narrow);
        code.extend_from_slice(&HALT);
        let ended = run_code(&code);
        assert!(matches!(ended, Ended::DeviceViolation(_)), "{ended:?}");
    }
}

#[test]
fn a_guest_entered_by_pvh_can_misbehave_as_well() {
    for (code, ends_well) in [(&HALT[..], false), (&out(0x5e8, ContainerEnd::Exited(2).encode()), true)] {
        let mut config = config(kernel(code, 0));
        config.protocol = BootProtocol::Pvh;
        let ended = run(&config);
        let expected = if ends_well {
            ended == Ended::Container(ContainerEnd::Exited(2))
        } else {
            matches!(ended, Ended::Halt { .. })
        };
        assert!(expected, "{ended:?}");
    }
}

#[test]
fn a_machine_that_never_runs_leaves_nothing_behind() {
    let _alone = alone();
    let before = guest::belongings();
    let machine = Machine::new(&config(kernel(&HALT, 0)), null_streams()).expect("this test needs KVM");
    drop(machine);
    assert_eq!(guest::belongings(), before);
}

#[test]
fn a_kernel_of_another_abi_version_is_refused_before_there_is_a_machine() {
    let refused = guest::kernel_of_version(sentient_abi::ABI_VERSION + 1).unwrap_err();
    assert_eq!(refused, KernelError::Version { found: sentient_abi::ABI_VERSION + 1 });
    assert!(refused.to_string().contains("use the kernel that came with it"), "{refused}");
}

#[test]
fn the_real_kernel_given_nothing_to_run_panics_no_host() {
    // The container's image is four KiB of zeros: no image at all.
    let ended = run(&config(KernelImage::embedded().unwrap()));
    assert!(matches!(ended, Ended::Container(ContainerEnd::Unstartable)), "{ended:?}");
}
