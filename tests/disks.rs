//! Checkpoints of everything on a disk, on machines that are not ours: programs go on from there after whatever has ended the machine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::medium::{MACHINES, Medium, free_port, get, listed};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The partition's type, its place, and its length, in bytes.
const TYPE: &str = "5E471E17-05C8-4B0B-9D1C-C4EC4B017A0E";
const FIRST: u64 = 1 << 20;
const LEN: u64 = 64 << 20;

/// What each checkpoint of a disk has at its beginning.
const MAGIC: &[u8] = b"SENTKP";

/// Devices that a disk may be behind.
const VIRTIO: &[&str] = &["-device", "virtio-blk-pci,drive=kept"];
const NVME: &[&str] = &["-device", "nvme,drive=kept,serial=1"];
const SATA: &[&str] = &["-device", "ich9-ahci,id=sata", "-device", "ide-hd,drive=kept,bus=sata.0"];

/// A program that counts, and a server.
const LIST: &str = "init: 1\nprograms:\n- { program: counter.wasm, name: one, memory: 8M, args: [--interval-ms, '100'] }\n- { program: web.wasm, name: web, memory: 16M, ports: [80] }\n";
const COUNTER: &str =
    "init: 1\nprograms: [{ program: counter.wasm, memory: 8M, args: [--interval-ms, '100'] }]\n";

/// Makes a disk with a partition of this type and so many bytes.
fn make_disk(path: &Path, kind: &str, len: u64) {
    File::create(path).unwrap().set_len(LEN + 4 * FIRST).unwrap();
    let mut sfdisk = Command::new("sfdisk");
    let started = sfdisk.arg("--quiet").arg(path).stdin(Stdio::piped()).spawn();
    let mut child = started
        .unwrap_or_else(|error| panic!("this test needs sfdisk: {error}. On Debian: apt-get install fdisk"));
    let (first, sectors) = (FIRST / 512, len / 512);
    let table = format!("label: gpt\nstart={first}, size={sectors}, type={kind}\n");
    child.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A disk beside a medium, and QEMU's options for it.
fn disk_of(medium: &Medium, kind: &str, len: u64) -> [String; 4] {
    let path = medium.folder.path().join("disk.raw");
    make_disk(&path, kind, len);
    let drive = format!("if=none,id=kept,format=raw,file={}", path.display());
    // There is nothing on it that could be booted, and firmware may try all the same.
    ["-boot".into(), "d".into(), "-drive".into(), drive]
}

fn options<'a>(parts: &[&[&'a str]], drive: &'a [String; 4]) -> Vec<&'a str> {
    parts.concat().into_iter().chain(drive.iter().map(String::as_str)).collect()
}

/// The highest of the numbers that stand on lines of their own, behind `name`.
fn last_number(said: &str, name: &str) -> u32 {
    let numbers = said.lines().filter_map(|line| line.strip_prefix(name)?.parse().ok());
    numbers.max().unwrap_or_else(|| panic!("no number was said:\n{said}"))
}

/// A kind of machine, the device that its disk is behind, its network card, and what the disk is called.
type Kind<'a> = ((&'a str, &'a [&'a str]), &'a [&'a str], &'a str, &'a str);

const VIRTIO_NET: &str = "virtio-net-pci,netdev=n";
const E1000E: &str = "e1000e,netdev=n";

#[test]
fn programs_go_on_from_a_disk_when_the_machine_is_booted_again() {
    go_on_from_a_disk(&[
        (MACHINES[0], VIRTIO, VIRTIO_NET, "a virtio disk"),
        (MACHINES[1], NVME, E1000E, "an NVMe disk"),
    ]);
}

#[test]
fn programs_go_on_from_a_disk_by_uefi_too() {
    go_on_from_a_disk(&[
        (MACHINES[3], SATA, E1000E, "a SATA disk"),
        (MACHINES[4], NVME, VIRTIO_NET, "an NVMe disk"),
    ]);
}

fn go_on_from_a_disk(kinds: &[Kind<'_>]) {
    let medium = listed(LIST, &[]);
    let port = free_port();
    let network = format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:80");
    for ((name, machine), disk, card, called) in kinds {
        let drive = disk_of(&medium, TYPE, LEN);
        let all = options(
            &[machine, disk, &["-netdev", &network, "-device", card, "-device", "virtio-rng-pci"]],
            &drive,
        );
        let mut first = medium.boot(&all);
        let said = first.wait_for("this machine's address is ").to_owned();
        assert!(
            said.contains(&format!("checkpoints are kept on {called}, which has room for ")),
            "{name}: {said}"
        );
        first.wait_for("one | 15\n");
        first.type_line("keep");
        let said = first.wait_for(", checkpoint 1\n").to_owned();
        assert!(said.contains(&format!("kept everything on {called}: ")), "{name}: {said}");
        let kept = last_number(&said, "one | ");
        first.wait_for(&format!("one | {}\n", kept + 20));
        // As if somebody had pulled the plug.
        drop(first);

        let mut second = medium.boot(&all);
        second.wait_for(&format!("everything goes on from checkpoint 1 on {called}, as it was "));
        let said = second.wait_for(&format!("one | {}\n", kept + 3)).to_owned();
        assert!(!said.contains("one | 1\n"), "{name}: it has begun anew: {said}");
        second.wait_for("this machine's address is ");
        let until = Instant::now() + Duration::from_secs(30);
        while !get(port).is_some_and(|answer| answer.ends_with("Hello from a container!\n")) {
            assert!(Instant::now() < until, "{name}: nobody answers");
        }
        // What went on is kept as well as what began.
        second.type_line("keep");
        second.wait_for(", checkpoint 2\n");
        second.type_line("off");
        second.end();
    }
}

#[test]
fn what_is_kept_by_itself_is_kept_once_more_before_the_machine_is_switched_off() {
    let medium = listed(COUNTER, &["--keep", "1h"]);
    let drive = disk_of(&medium, TYPE, LEN);
    let all = options(&[MACHINES[0].1, VIRTIO], &drive);
    let mut machine = medium.boot(&all);
    machine.wait_for("\n5\n");
    machine.type_line("off");
    let (said, code) = machine.end();
    assert_eq!(code, Some(0), "{said}");
    // The first one was taken when the programs began.
    assert!(said.contains(", checkpoint 2\n"), "{said}");
    let last = last_number(&said, "");
    let mut machine = medium.boot(&all);
    let said = machine.wait_for(&format!("\n{}\n", last + 2)).to_owned();
    assert!(said.contains("everything goes on from checkpoint 2") && !said.contains("\n1\n"), "{said}");
    drop(machine);
    // The menu has an entry for those who want none of that.
    let disk = fs::read(medium.folder.path().join("disk.raw")).unwrap();
    medium.edit_menu("anew");
    let mut machine = medium.boot(&all);
    let said = machine.wait_for("\n5\n").to_owned();
    assert!(!said.contains("everything goes on"), "{said}");
    drop(machine);
    assert_ne!(fs::read(medium.folder.path().join("disk.raw")).unwrap(), disk, "the new ones are kept");
}

#[test]
fn what_is_kept_goes_on_on_a_machine_that_has_less() {
    let medium = listed(LIST, &[]);
    let drive = disk_of(&medium, TYPE, LEN);
    let console: &[&str] =
        &["-device", "virtio-serial-pci", "-chardev", "null,id=c", "-device", "virtconsole,chardev=c"];
    let all = options(&[MACHINES[0].1, VIRTIO, console, &["-device", "virtio-rng-pci"]], &drive);
    let mut machine = medium.boot(&all);
    machine.wait_for("this machine's address is ");
    machine.wait_for("one | 3\n");
    machine.type_line("keep");
    let kept = last_number(machine.wait_for(", checkpoint 1\n"), "one | ");
    drop(machine);
    // Neither a network, nor a screen, nor random numbers, nor a console of a VMM's, and the disk is behind another controller.
    let less = options(&[MACHINES[0].1, SATA, &["-nic", "none", "-vga", "none"]], &drive);
    let mut machine = medium.boot(&less);
    machine.wait_for("everything goes on from checkpoint 1 on a SATA disk");
    machine.wait_for(&format!("one | {}\n", kept + 20));
    machine.type_line("ps");
    machine.wait_for("\nweb ");
}

#[test]
fn a_checkpoint_that_is_damaged_is_not_gone_on_from() {
    let medium = listed(COUNTER, &["--keep", "1s"]);
    let drive = disk_of(&medium, TYPE, LEN);
    let all = options(&[MACHINES[0].1, NVME], &drive);
    let mut machine = medium.boot(&all);
    machine.wait_for("\n25\n");
    machine.type_line("keep");
    machine.wait_for(", checkpoint ");
    drop(machine);
    let disk = File::options().read(true).write(true).open(medium.folder.path().join("disk.raw")).unwrap();
    let slots = [FIRST, FIRST + LEN / 2];
    let sequence = |slot: u64| {
        let mut head = [0; 16];
        disk.read_exact_at(&mut head, slot).unwrap();
        assert!(head.starts_with(MAGIC), "{head:?}");
        u64::from_le_bytes(head[8..].try_into().unwrap())
    };
    let [newest, older] = if sequence(slots[0]) > sequence(slots[1]) { slots } else { [slots[1], slots[0]] };
    let (new, old) = (sequence(newest), sequence(older));
    assert_eq!(new, old + 1);
    let flip = |place: u64| {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, place).unwrap();
        disk.write_all_at(&[byte[0] ^ 1], place).unwrap();
    };
    // One byte of what follows its head.
    flip(newest + 20 * 4096 + 7);
    let mut machine = medium.boot(&all);
    machine.wait_for(&format!("everything goes on from checkpoint {old} on an NVMe disk"));
    drop(machine);
    // The one before is the newest now, and was taken anew meanwhile, or not: both are damaged.
    slots.iter().for_each(|slot| flip(slot + 30 * 4096 + 9));
    let mut machine = medium.boot(&all);
    let said = machine.wait_for("\n5\n").to_owned();
    assert!(said.contains("nothing is gone on from: checkpoint ") && said.contains("is damaged"), "{said}");
    assert!(said.contains("\n1\n"), "{said}");
}

#[test]
fn a_disk_that_is_given_to_nobody_is_never_written_to() {
    let medium = listed(COUNTER, &["--keep", "2s"]);
    // One of Linux's file systems.
    let drive = disk_of(&medium, "0FC63DAF-8483-4772-8E79-3D69D8477DE4", LEN);
    let path = medium.folder.path().join("disk.raw");
    let before = fs::read(&path).unwrap();
    for disk in [VIRTIO, NVME, SATA] {
        let mut machine = medium.boot(&options(&[MACHINES[0].1, disk], &drive));
        machine.wait_for(&format!("nothing is kept any more: no disk has a partition of type {TYPE}\n"));
        machine.wait_for("\n5\n");
        machine.type_line("keep");
        machine.wait_for("not kept: no disk has a partition of type");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_partition_that_is_too_small_says_how_much_it_should_have() {
    let medium = listed(COUNTER, &[]);
    let drive = disk_of(&medium, TYPE, 1 << 20);
    let mut machine = medium.boot(&options(&[MACHINES[0].1, VIRTIO], &drive));
    machine.wait_for("\n3\n");
    machine.type_line("keep");
    let said = machine.wait_for("not kept: everything has ").to_owned();
    let said = machine.wait_for("half of the partition on a virtio disk has 512\n").to_owned() + &said;
    assert!(said.contains("which has room for 512 KiB"), "{said}");
}

#[test]
fn what_has_ended_does_not_go_on() {
    let medium = listed(COUNTER, &["--keep", "1h", "--when-done", "end"]);
    let drive = disk_of(&medium, TYPE, LEN);
    let all = options(&[MACHINES[0].1, VIRTIO], &drive);
    let mut machine = medium.boot(&all);
    machine.wait_for("\n5\n");
    machine.type_line("stop counter");
    machine.end();
    let mut machine = medium.boot(&all);
    let said = machine.wait_for("\n5\n").to_owned();
    assert!(said.contains("\n1\n") && !said.contains("everything goes on"), "{said}");
    drop(machine);
    // Another medium has no part in what this one keeps.
    let other = listed(LIST, &[]);
    let mut machine = other.boot(&all);
    let said = machine.wait_for("one | 3\n").to_owned();
    assert!(said.contains("one | 1\n") && !said.contains("everything goes on"), "{said}");
}

#[test]
fn a_panic_of_the_kernel_is_gone_on_from_with_what_was_kept() {
    use machine::medium::Seat;
    let medium = listed(COUNTER, &["--keep", "1s"]);
    let drive = disk_of(&medium, TYPE, LEN);
    let [_, _, monitor, socket] = Seat::options(medium.folder.path());
    let all = options(&[MACHINES[0].1, VIRTIO, &["-serial", "stdio", &monitor, &socket]], &drive);
    let mut machine = medium.boot_freely(&all);
    machine.wait_for("\n30\n");
    let mut seat = Seat::at(medium.folder.path());
    seat.order("nmi");
    machine.wait_for("everything goes on from checkpoint ");
    let said = machine.wait_for("\n60\n").to_owned();
    assert_eq!(said.matches("\n1\n").count(), 1, "it was not begun anew: {said}");
    // The second time it begins anew: what is kept may be what is wrong.
    seat.order("nmi");
    machine.wait_for_times("\n1\n", 2);
}
