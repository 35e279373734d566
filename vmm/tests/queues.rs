//! Guests that misuse what they share with the devices: queues, frames and registers. The machine ends
//! with what they did, or they get on with it; nothing else may happen.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{CODE, CODE_LEN, LOOP, config, kernel, out, run, run_and_read};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::layout::{self, VIRTIO_MMIO, boot_module_base, queues, ram_ranges};
use sentient_abi::region::{RegionKind, RegionTable};
use sentient_abi::stdio::{FrameHeader, FrameKind, MAX_PAYLOAD};
use sentient_vmm::{Ended, MachineConfig};

/// The sentinel's exit port.
const EXIT: u16 = 0x5e8;
/// Offset of QueueNotify in a device's registers (virtio 4.2.2).
const QUEUE_NOTIFY: u64 = 0x50;
/// Descriptor flags (virtio 2.7.5): the chain goes on; the device writes.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Where a guest's data lies: behind its code.
const DATA: u64 = CODE + CODE_LEN / 2;

/// Code that stores the low `width` bytes of `value` at `address`.
fn store(address: u64, width: usize, value: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0xbb];
    code.extend_from_slice(&address.to_le_bytes());
    code.extend_from_slice(&[0x48, 0xb8]);
    code.extend_from_slice(&value.to_le_bytes());
    // mov [rbx], al | ax | eax | rax
    code.extend_from_slice(match width {
        1 => &[0x88, 0x03],
        2 => &[0x66, 0x89, 0x03],
        4 => &[0x89, 0x03],
        _ => &[0x48, 0x89, 0x03],
    });
    code
}

/// Code that loads `width` bytes from `address`.
fn load(address: u64, width: usize) -> Vec<u8> {
    let mut code = vec![0x48, 0xbb];
    code.extend_from_slice(&address.to_le_bytes());
    code.extend_from_slice(match width {
        1 => &[0x8a, 0x03],
        2 => &[0x66, 0x8b, 0x03],
        4 => &[0x8b, 0x03],
        _ => &[0x48, 0x8b, 0x03],
    });
    code
}

/// One descriptor.
#[derive(Clone, Copy)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// A buffer of the guest's data for the device to read.
fn data(len: usize) -> Descriptor {
    Descriptor { address: DATA, len: u32::try_from(len).unwrap(), flags: 0, next: 0 }
}

/// Where the page of a queue lies in the machines of these tests.
fn queue_page(number: u64) -> u64 {
    let config = config(kernel(&LOOP, 0));
    // The module is a header, three small entries and an image of a page; a little more or less of it
    // does not move the buffers, which start on a 2 MiB boundary.
    let module_len = 16 << 10;
    let base = boot_module_base(config.ram, module_len).unwrap();
    let mut table = RegionTable::new();
    layout::plan(config.kernel.header(), &ram_ranges(config.ram), base, module_len, &mut table).unwrap();
    table.find(RegionKind::DeviceBuffers).unwrap().base + number * queues::STRIDE
}

/// Code that offers `heads` of these descriptors to a queue, claims that the ring has come to `index`,
/// and rings the bell of the queue with the number `bell` at a device.
fn offer(queue: u64, descriptors: &[Descriptor], heads: &[u16], index: u16, bell: (u64, u64)) -> Vec<u8> {
    let page = queue_page(queue);
    let mut code = Vec::new();
    for (position, descriptor) in (0u64..).zip(descriptors) {
        let at = page + position * 16;
        let rest =
            u64::from(descriptor.len) | u64::from(descriptor.flags) << 32 | u64::from(descriptor.next) << 48;
        code.extend(store(at, 8, descriptor.address));
        code.extend(store(at + 8, 8, rest));
    }
    let ring = page + queues::DRIVER_AREA;
    for (position, head) in (0u64..).zip(heads) {
        code.extend(store(ring + 4 + position * 2, 2, u64::from(*head)));
    }
    code.extend(store(ring, 4, u64::from(index) << 16));
    let (device, number) = bell;
    code.extend(store(VIRTIO_MMIO + device * 4096 + QUEUE_NOTIFY, 4, number));
    code
}

/// Code that sends descriptors through the console's transmit queue.
fn transmit(descriptors: &[Descriptor], heads: &[u16]) -> Vec<u8> {
    let index = u16::try_from(heads.len()).unwrap();
    offer(queues::CONSOLE_TRANSMIT, descriptors, heads, index, (0, 1))
}

/// Code that waits until the device has given back the first buffer of a queue.
fn wait_for_used(queue: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0xbb];
    code.extend_from_slice(&(queue_page(queue) + queues::DEVICE_AREA + 2).to_le_bytes());
    // cmp word ptr [rbx], 1; jne to the comparison
    code.extend_from_slice(&[0x66, 0x83, 0x3b, 1, 0x75, 0xfa]);
    code
}

/// A guest of this code that then does `last`, with `data` where [`DATA`] is.
fn guest(mut code: Vec<u8>, last: &[u8], data: &[u8]) -> MachineConfig {
    code.extend_from_slice(last);
    code.resize(usize::try_from(DATA - CODE).unwrap(), 0);
    code.extend_from_slice(data);
    config(kernel(&code, 0))
}

fn exit(code: u32) -> Vec<u8> {
    out(EXIT, ContainerEnd::Exited(code).encode())
}

fn frame(kind: FrameKind, container: u32, len: u32) -> Vec<u8> {
    FrameHeader { kind, container, len, argument: 0 }.encode().to_vec()
}

#[track_caller]
fn assert_violation(config: &MachineConfig, part: &str) {
    let ended = run(config);
    let told = matches!(&ended, Ended::DeviceViolation(what) if what.contains(part));
    assert!(told, "expected a violation that says `{part}`, got {ended:?}");
}

#[test]
fn a_frame_sent_by_hand_comes_out_whole_before_the_machine_ends() {
    let mut bytes = frame(FrameKind::Stdout, 0, 6);
    bytes.extend_from_slice(b"hello\n");
    let config = guest(transmit(&[data(bytes.len())], &[0]), &exit(5), &bytes);
    let (ended, written) = run_and_read(&config);
    assert_eq!((ended, written.as_slice()), (Ended::Container(ContainerEnd::Exited(5)), &b"hello\n"[..]));
}

#[test]
fn a_frame_may_come_in_pieces_of_a_byte() {
    let mut bytes = frame(FrameKind::Stdout, 0, 3);
    bytes.extend_from_slice(b"abc");
    let pieces: Vec<_> =
        (0..bytes.len() as u64).map(|at| Descriptor { address: DATA + at, ..data(1) }).collect();
    let heads: Vec<u16> = (0..19).collect();
    let (ended, written) = run_and_read(&guest(transmit(&pieces, &heads), &exit(5), &bytes));
    assert_eq!((ended, written.as_slice()), (Ended::Container(ContainerEnd::Exited(5)), &b"abc"[..]));
}

#[test]
fn frames_that_no_guest_may_send_end_the_machine_and_are_named() {
    for (bytes, part) in [
        (vec![0xff; 16], "no frame header"),
        (vec![0; 16], "no frame header"),
        (frame(FrameKind::Stdout, 0, MAX_PAYLOAD + 1), "no frame header"),
        (frame(FrameKind::Stdin, 0, 1), "only the host sends"),
        (frame(FrameKind::StdinEnd, 0, 0), "only the host sends"),
        (frame(FrameKind::Stdout, 5, 1), "container 5, but this machine has 1"),
        (frame(FrameKind::Stderr, u32::MAX, 0), "container 4294967295"),
        (frame(FrameKind::Window, 0, 7), "7 bytes of payload"),
    ] {
        assert_violation(&guest(transmit(&[data(16)], &[0]), &LOOP, &bytes), part);
    }
}

#[test]
fn a_flood_of_garbage_ends_the_machine_at_the_first_frame() {
    let descriptors = [data(4096); queues::SIZE as usize];
    let heads: Vec<u16> = (0..queues::SIZE).collect();
    assert_violation(&guest(transmit(&descriptors, &heads), &LOOP, &[0xa5; 4096]), "no frame header");
}

#[test]
fn descriptors_that_lead_nowhere_end_the_machine() {
    let nowhere = Descriptor { address: 0xdead_0000_0000, ..data(16) };
    let across_the_end = Descriptor { address: (64 << 20) - 8, ..data(16) };
    let wraps_around = Descriptor { address: u64::MAX - 7, ..data(16) };
    let itself = Descriptor { flags: NEXT, next: 0, ..data(16) };
    let no_such_next = Descriptor { flags: NEXT, next: 1000, ..data(16) };
    for (descriptor, part) in [
        (nowhere, "16 bytes at 0xdead00000000, outside of memory"),
        (across_the_end, "outside of memory"),
        (wraps_around, "outside of memory"),
        (itself, "does not end"),
        (no_such_next, "does not end"),
    ] {
        assert_violation(&guest(transmit(&[descriptor], &[0]), &LOOP, &[0; 16]), part);
    }
}

#[test]
fn a_buffer_for_the_other_direction_is_given_back_unused() {
    let to_console = transmit(&[Descriptor { flags: WRITE, ..data(16) }], &[0]);
    let to_rng = offer(queues::RNG, &[data(64)], &[0], 1, (1, 0));
    for (queue, mut code) in [(queues::CONSOLE_TRANSMIT, to_console), (queues::RNG, to_rng)] {
        code.extend(wait_for_used(queue));
        assert_eq!(run(&guest(code, &exit(6), &[0; 64])), Ended::Container(ContainerEnd::Exited(6)));
    }
}

#[test]
fn rings_that_claim_the_impossible_end_the_machine() {
    let to_console =
        |heads: &[u16], index| offer(queues::CONSOLE_TRANSMIT, &[data(16)], heads, index, (0, 1));
    // A head that is no descriptor; more heads than the queue holds.
    for code in [to_console(&[5000], 1), to_console(&[0], queues::SIZE + 1), to_console(&[0], u16::MAX)] {
        assert_violation(&guest(code, &LOOP, &frame(FrameKind::Log, 0, 0)), "");
    }
}

#[test]
fn random_numbers_come_into_memory_and_nowhere_else() {
    let for_device = Descriptor { flags: WRITE, ..data(64) };
    let ask = |descriptor| offer(queues::RNG, &[descriptor], &[0], 1, (1, 0));
    let mut code = ask(for_device);
    code.extend(wait_for_used(queues::RNG));
    assert_eq!(run(&guest(code, &exit(1), &[])), Ended::Container(ContainerEnd::Exited(1)));
    let outside = Descriptor { address: 1 << 40, ..for_device };
    assert_violation(&guest(ask(outside), &LOOP, &[]), "outside of memory");
}

/// Numbers that look random and are the same every time.
struct Numbers(blake3::OutputReader);

impl Numbers {
    fn new(seed: u32) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Code of reads and writes of every width all over the devices' registers and the queues' pages.
fn nonsense(seed: u32, accesses: u32) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut code = Vec::new();
    for _ in 0..accesses {
        let address = match numbers.below(4) {
            0 => queue_page(numbers.below(queues::COUNT)) + numbers.below(4096 - 8),
            // The registers of virtio-mmio end at 0x100; a device has some of its own behind them.
            1 => VIRTIO_MMIO + numbers.below(2) * 4096 + numbers.below(4096 - 8),
            _ => VIRTIO_MMIO + numbers.below(2) * 4096 + numbers.below(0x110 / 4) * 4,
        };
        let width = 1 << numbers.below(4);
        // Small values mean something more often than large ones.
        let value = if numbers.below(2) == 0 { numbers.below(16) } else { numbers.next() };
        code.extend(if numbers.below(3) == 0 { load(address, width) } else { store(address, width, value) });
    }
    code
}

#[test]
fn nonsense_in_registers_and_queues_is_survived_or_named() {
    for seed in 0..40 {
        let ended = run(&guest(nonsense(seed, 600), &exit(3), &[]));
        let expected = matches!(ended, Ended::Container(ContainerEnd::Exited(3)) | Ended::DeviceViolation(_));
        assert!(expected, "seed {seed}: {ended:?}");
    }
}

#[test]
fn ports_of_every_width_answer_or_float_and_never_end_the_machine() {
    // All but those of the sentinel, and those of the chips KVM has in the kernel: interrupt controllers,
    // timer, speaker (0x20-0x21, 0xa0-0xa1, 0x4d0-0x4d1, 0x40-0x43, 0x61).
    let ports =
        [0u16, 0x60, 0x64, 0x70, 0x80, 0x92, 0x2f8, 0x3f9, 0x3ff, 0x501, 0x5df, 0x5f0, 0xcf8, 0xcfc, 0xfffc];
    let mut code = Vec::new();
    for port in ports {
        code.extend_from_slice(&[0x66, 0xba]);
        code.extend_from_slice(&port.to_le_bytes());
        // in and out of one, two and four bytes
        code.extend_from_slice(&[0xec, 0x66, 0xed, 0xed, 0xee, 0x66, 0xef, 0xef]);
    }
    assert_eq!(run(&guest(code, &exit(4), &[])), Ended::Container(ContainerEnd::Exited(4)));
}
