//! What the VMM reads of its guest, and of a kernel that the user brings.

use sentient_abi::boot_module::ContainerSpec;
use sentient_abi::panic_record::{RECORD_LEN, Reason};
use sentient_images::{CompiledImage, KernelImage};
use sentient_vmm::ended::PanicReport;
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::{BootProtocol, ContainerRun, MachineConfig, handover, memory};
use std::sync::LazyLock;

/// BLAKE3 at the end of a kernel image.
const DIGEST_LEN: usize = 32;

/// Whatever the record says, the report can be printed on a terminal. The first byte is the reason.
pub fn panic_report(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let Some(reason) = Reason::from_u32(u32::from(first % 6) + 1) else { return };
    let mut record = [0; RECORD_LEN];
    record.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let text = PanicReport::parse(reason, &record).to_string();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

static KERNEL: LazyLock<Option<KernelImage>> = LazyLock::new(|| KernelImage::embedded().ok());

/// The built-in kernel with patches, and a digest that fits: prepared for a machine, or refused.
///
/// Each patch is a byte for where, two bytes of offset, a byte of length, and the patch.
pub fn kernel(data: &[u8]) {
    let Some(kernel) = &*KERNEL else { return };
    let mut elf = kernel.elf().to_vec();
    let header = elf.windows(8).position(|window| window == b"SENTKERN").unwrap_or(0);
    let mut rest = data;
    while let Some(([place, low, high, len], after)) = rest.split_first_chunk() {
        let offset = usize::from(u16::from_le_bytes([*low, *high]));
        let at = match place % 4 {
            0 => offset % 1024,
            1 | 2 => header + offset % 400,
            _ => offset * 16,
        };
        let (patch, after) = after.split_at(usize::from(len % 16).min(after.len()));
        elf.iter_mut().skip(at).zip(patch).for_each(|(to, from)| *to = *from);
        rest = after;
    }
    // Its magic stays; the digest is made to fit.
    let contents = elf.len().saturating_sub(DIGEST_LEN + 16);
    let digest = blake3::hash(elf.get(..contents).unwrap_or(&[]));
    elf.truncate(elf.len() - DIGEST_LEN);
    elf.extend_from_slice(digest.as_bytes());
    let Ok(kernel) = KernelImage::from_bytes(elf) else { return };
    for protocol in [BootProtocol::Linux64, BootProtocol::Pvh] {
        let Ok(memory) = memory::allocate(32 << 20) else { return };
        let _ = handover::prepare(&config(kernel.clone(), protocol), &memory);
    }
}

/// The state of a machine, which the VMM's own tests keep readable.
const STATE: &[u8] = include_bytes!("../../../vmm/tests/golden/machine-state-v4.bin");

/// A state that is taken is written, and then read, as the same one.
pub fn machine_state(data: &[u8]) {
    let Ok(state) = MachineState::decode(data) else { return };
    let written = state.encode().unwrap_or_default();
    let again = MachineState::decode(&written).and_then(|state| state.encode());
    assert!(again.is_ok_and(|again| again == written), "a state that is not what it was written as");
}

pub fn machine_states() -> Vec<Vec<u8>> {
    let mut state = STATE.to_vec();
    state[1] = sentient_abi::ABI_VERSION as u8;
    vec![state]
}

fn config(kernel: KernelImage, protocol: BootProtocol) -> MachineConfig {
    let image = CompiledImage { bytes: vec![0; 8192], exec: 4096..8192, memory_minimum: 0 };
    let container = ContainerRun { spec: ContainerSpec::default(), image };
    let container = Some(container);
    MachineConfig {
        ram: 32 << 20,
        kernel,
        protocol,
        container,
        resident: false,
        zero: None,
        snapshots: false,
        timeout: None,
        heartbeat: None,
    }
}

pub fn panic_records() -> Vec<Vec<u8>> {
    let record = |reason: u8, message: &str| {
        let mut bytes = vec![0; 1 + RECORD_LEN];
        let start = 1 + std::mem::offset_of!(sentient_abi::panic_record::PanicRecord, message);
        bytes[0] = reason;
        bytes[start - 8] = message.len() as u8;
        bytes.iter_mut().skip(start).zip(message.bytes()).for_each(|(to, from)| *to = from);
        bytes
    };
    vec![
        record(0, "out of memory"),
        record(1, "src/end.rs"),
        record(2, ""),
        record(3, ""),
        record(4, ""),
        record(5, ""),
    ]
}

pub fn patches() -> Vec<Vec<u8>> {
    let word = |place: u8, offset: u16, value: u64| {
        let [low, high] = offset.to_le_bytes();
        [&[place, low, high, 8][..], &value.to_le_bytes()].concat()
    };
    // The fields of the kernel header and of the ELF's headers, all of them 8 bytes wide or aligned so.
    let header = (0..50).map(|index| word(1, index * 8, 0x10_0000));
    let elf = (0..40).map(|index| word(0, index * 8, 0x1000));
    header.chain(elf).collect()
}
