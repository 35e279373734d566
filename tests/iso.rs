//! Media: the kernel and programs on an ISO, which machines under QEMU boot by BIOS and by UEFI, from a drive and from a disk.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::medium::{MACHINES, Medium, Seat};
use machine::{container, finish, root, sentctl};
use std::fs;
use std::path::Path;

#[test]
fn a_medium_boots_on_every_kind_of_machine() {
    let medium = Medium::with(&[container("hello")], &["--when-done", "end"]);
    for (name, options) in MACHINES {
        let (said, code) = medium.boot(options).end();
        assert!(said.contains("Hello, SentientOS!"), "{name}: {said}");
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn a_medium_is_a_disk_too() {
    let medium = Medium::with(&[container("hello")], &["--when-done", "end"]);
    let drive = format!("format=raw,file={}", medium.iso.display());
    for options in [&["-m", "128"][..], &["-machine", "q35", "-m", "128", "uefi"]] {
        let (said, code) = medium.boot_from(options, &["-drive", &drive]).end();
        assert!(said.contains("Hello, SentientOS!") && code == Some(0), "{options:?}: {said}");
    }
}

#[test]
fn programs_run_side_by_side_and_the_console_comes_when_all_have_ended() {
    let programs = [container("hello"), container("counter"), container("faults")];
    let medium = Medium::with(&programs, &["--memory", "16M"]);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    let said = machine.wait_for("counter | 3\n").to_owned();
    assert!(said.contains("hello | Hello, SentientOS!\n"), "{said}");
    // One that ends in an error is nobody else's concern.
    assert!(said.contains("faults | "), "{said}");
    // This one counts for ever.
    machine.wait_for("counter | 8\n");

    let medium = Medium::with(&[container("hello")], &[]);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    machine.wait_for("zero> ");
    machine.type_line("verify");
    let said = machine.wait_for_times("as it should be", 4).to_owned();
    assert!(said.contains("No container runs any more"), "{said}");
    machine.type_line("mem");
    machine.wait_for("free ");
    machine.type_line("off");
    let (said, _) = machine.end();
    assert!(!said.contains("DAMAGED"), "{said}");
}

#[test]
fn the_zero_mode_of_a_medium_runs_nothing() {
    let medium = Medium::with(&[container("hello")], &["--zero"]);
    for (_, options) in [MACHINES[1], MACHINES[3]] {
        let mut machine = medium.boot(options);
        machine.wait_for("zero> ");
        machine.type_line("regions");
        let said = machine.wait_for("runtime-text").to_owned();
        assert!(!said.contains("Hello"), "{said}");
        machine.type_line("reboot");
        machine.end();
    }
}

#[test]
fn a_machine_is_really_switched_off_and_really_booted_anew() {
    let medium = Medium::with(&[], &["--zero"]);
    for (name, options) in [MACHINES[0], MACHINES[1], MACHINES[3]] {
        // With no debug port to end it, and free to boot again.
        let mut machine = medium.boot_freely(options);
        machine.wait_for("zero> ");
        machine.type_line("reboot");
        machine.wait_for_times("zero mode: no containers are run", 2);
        machine.type_line("off");
        let (said, code) = machine.end();
        assert_eq!(code, None, "{name}: {said}");
    }
}

#[test]
fn a_screen_and_a_keyboard_are_enough() {
    let medium = Medium::with(&[container("hello")], &["--memory", "16M"]);
    for (name, options) in [MACHINES[0], MACHINES[3]] {
        let seat = Seat::options(medium.folder.path());
        let options: Vec<&str> = options.iter().copied().chain(seat.iter().map(String::as_str)).collect();
        let machine = medium.boot(&options);
        let mut seat = Seat::at(medium.folder.path());
        let text = seat.wait_for("zero>");
        assert!(text.contains("Hello, SentientOS!"), "{name}: {text}");
        seat.type_line("regions");
        let text = seat.wait_for("runtime-text");
        assert!(text.contains("zero> regions"), "{name}: {text}");
        // More than fits.
        seat.type_line("regions");
        seat.type_line("regions");
        seat.type_line("help");
        let text = seat.wait_for("what is known of the machine's faults");
        assert!(!text.contains('\u{fffd}'), "{name}: {text}");
        seat.type_line("off");
        machine.end();
    }
}

#[test]
fn a_byte_that_is_another_one_is_found_before_the_image_runs() {
    let programs = [container("hello"), container("counter")];
    let medium = Medium::with(&programs, &[]);
    // Somewhere in the first image, behind its head.
    medium.flip(b"hello\0", 0x3000);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    let said = machine.wait_for("counter | 3\n").to_owned();
    assert!(said.contains("hello | sentient: cannot start the container: its image is damaged"), "{said}");
    assert!(!said.contains("Hello, SentientOS!"), "{said}");
}

#[test]
fn the_same_programs_give_the_same_bytes_and_a_file_is_not_replaced_unasked() {
    let one = Medium::with(&[container("hello")], &[]);
    let other = Medium::with(&[container("hello")], &[]);
    let bytes = fs::read(&one.iso).unwrap();
    assert!(bytes == fs::read(&other.iso).unwrap(), "two media of the same differ");
    assert!(bytes.len() <= 20 << 20, "{} bytes", bytes.len());
    let mut again = sentctl();
    let again = finish(again.args(["iso-build", "-o"]).arg(&one.iso));
    assert!(again.code() != 0 && again.err().contains("--force"), "{again}");
    let missing = finish(sentctl().args(["iso-build", "--tso", "/no/such.tso", "-o", "/tmp/never.iso"]));
    assert!(missing.code() == 127 && !Path::new("/tmp/never.iso").exists(), "{missing}");
}

#[test]
fn what_makes_a_medium_is_named_where_it_is_missing() {
    let mut build = sentctl();
    build.args(["iso-build", "-o", "/tmp/never.iso"]).env("PATH", root().join("docs"));
    let refused = finish(&mut build);
    for part in ["grub-mkimage", "xorriso", "apt-get install", "grub-efi-amd64-bin"] {
        assert!(refused.err().contains(part), "{refused}");
    }
}
