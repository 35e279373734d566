//! Guests that misuse what they share with the devices: queues, frames and registers. The machine ends
//! with what they did, or they get on with it; nothing else may happen.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{CODE, CODE_LEN, LOOP, config, kernel, null_streams, out, run, run_with};
use rustix::fs::{MemfdFlags, memfd_create};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::layout::{self, VIRTIO_MMIO, boot_module_base, queues, ram_ranges};
use sentient_abi::region::{RegionKind, RegionTable};
use sentient_abi::stdio::{FrameHeader, FrameKind, MAX_PAYLOAD};
use sentient_vmm::streams::{Output, Streams};
use sentient_vmm::{Ended, MachineConfig};
use std::fs::File;
use std::io::{Read, Seek};

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

/// Runs a guest and gives what it wrote to standard output as well.
fn run_and_read(config: &MachineConfig) -> (Ended, Vec<u8>) {
    let _ = null_streams;
    let mut file = None;
    let ended = run_with(config, || {
        let memfd = File::from(memfd_create("stdout", MemfdFlags::CLOEXEC).unwrap());
        let stdout = Output::new(memfd.try_clone().unwrap()).unwrap();
        file = Some(memfd);
        Streams { stdout, ..null_streams() }
    });
    let mut bytes = Vec::new();
    let mut file = file.unwrap();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (ended, bytes)
}
