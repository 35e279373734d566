//! Merges nucleus and runtime into one ELF, and fills the kernel header in.

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::write::elf::{FileHeader as OutHeader, ProgramHeader as OutProgram, Writer};
use object::{Endianness, Object, ObjectSymbol};
use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::layout::NUCLEUS_BASE;
use sentient_abi::region::{RegionKind, access};
use sentient_abi::{ABI_VERSION, PAGE_SIZE};

/// Before the BLAKE3 digest of all that precedes, at the end of the file, behind the ELF's own contents.
pub const DIGEST_MAGIC: &[u8; 16] = b"SENTIENT-BLAKE3\0";

type Elf = elf::FileHeader64<Endianness>;

struct Load {
    address: u64,
    data: Vec<u8>,
    memory_len: u64,
    flags: u32,
}

/// The merged ELF.
///
/// # Errors
/// What is wrong with either program.
pub fn merge(nucleus: &[u8], runtime: &[u8]) -> Result<Vec<u8>, String> {
    let nucleus_loads = loads(nucleus)?;
    let runtime_loads = loads(runtime)?;
    let nucleus_kinds = [
        RegionKind::NucleusConstants,
        RegionKind::NucleusText,
        RegionKind::NucleusData,
        RegionKind::RegionTable,
    ];
    let runtime_kinds = [RegionKind::RuntimeText, RegionKind::RuntimeConstants, RegionKind::RuntimeData];
    if nucleus_loads.len() != nucleus_kinds.len() || runtime_loads.len() != runtime_kinds.len() {
        return Err(format!(
            "expected {} and {} loadable segments, found {} and {}",
            nucleus_kinds.len(),
            runtime_kinds.len(),
            nucleus_loads.len(),
            runtime_loads.len()
        ));
    }
    let kinds = nucleus_kinds.into_iter().chain(runtime_kinds);
    let mut all: Vec<Load> = nucleus_loads.into_iter().chain(runtime_loads).collect();
    let mut segments = [Segment::NONE; MAX_SEGMENTS];
    for ((slot, load), kind) in segments.iter_mut().zip(&all).zip(kinds) {
        *slot = segment(load, kind)?;
    }
    let header = KernelHeader {
        magic: MAGIC,
        abi_version: ABI_VERSION,
        segment_count: all.len() as u32,
        runtime_entry: symbol(runtime, "runtime_start")?,
        panic_record: symbol(nucleus, "PANIC_RECORD")?,
        region_table: symbol(nucleus, "REGION_TABLE")?,
        linux64_entry: symbol(nucleus, "linux64_start")?,
        pvh_entry: symbol(nucleus, "pvh_start")?,
        segments,
    };
    let first = all
        .first_mut()
        .filter(|load| load.address == NUCLEUS_BASE)
        .ok_or("the nucleus does not start with its header")?;
    header.write(&mut first.data).ok_or("no room for the kernel header")?;
    write(&all, &header, note(nucleus)?)
}

fn segment(load: &Load, kind: RegionKind) -> Result<Segment, String> {
    let mut allowed = match kind {
        RegionKind::NucleusText | RegionKind::NucleusConstants | RegionKind::NucleusData => 0,
        _ => access::USER,
    };
    if load.flags & elf::PF_W != 0 {
        allowed |= access::WRITE;
    }
    if load.flags & elf::PF_X != 0 {
        allowed |= access::EXECUTE;
    }
    if allowed & access::WRITE != 0 && allowed & access::EXECUTE != 0 {
        return Err(format!("the {} segment is writable and executable", kind.name()));
    }
    let len = load.memory_len.next_multiple_of(PAGE_SIZE);
    Ok(Segment { base: load.address, len, kind: kind as u32, access: allowed })
}

fn loads(file: &[u8]) -> Result<Vec<Load>, String> {
    let header = Elf::parse(file).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let programs = header.program_headers(endian, file).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for program in programs.iter().filter(|program| program.p_type(endian) == elf::PT_LOAD) {
        let data = program.data(endian, file).map_err(|()| "a segment lies outside the file".to_owned())?;
        let address = program.p_vaddr(endian);
        if address % PAGE_SIZE != 0 {
            return Err(format!("the segment at {address:#x} does not start on a page"));
        }
        let (flags, mut data) = (program.p_flags(endian), data.to_vec());
        let mut memory_len = program.p_memsz(endian);
        if flags & elf::PF_W == 0 {
            // A loader leaves what is in the rest of the last page, and what nobody writes is known by its hash.
            memory_len = memory_len.next_multiple_of(PAGE_SIZE);
            // Whole pages behind that are zero: every loader sees to that, and the file is shorter.
            let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            data.resize(end.next_multiple_of(PAGE_SIZE as usize), 0);
        }
        found.push(Load { address, data, memory_len, flags });
    }
    Ok(found)
}

/// Address and length of the PVH note.
fn note(file: &[u8]) -> Result<(u64, u64), String> {
    let header = Elf::parse(file).map_err(|error| error.to_string())?;
    let endian = header.endian().map_err(|error| error.to_string())?;
    let programs = header.program_headers(endian, file).map_err(|error| error.to_string())?;
    let note = programs
        .iter()
        .find(|program| program.p_type(endian) == elf::PT_NOTE)
        .ok_or("the nucleus has no PVH note")?;
    Ok((note.p_vaddr(endian), note.p_memsz(endian)))
}

fn symbol(file: &[u8], name: &str) -> Result<u64, String> {
    let file = object::File::parse(file).map_err(|error| error.to_string())?;
    let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
    found.map(|symbol| symbol.address()).ok_or_else(|| format!("there is no symbol {name}"))
}

fn write(loads: &[Load], header: &KernelHeader, note: (u64, u64)) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_program_headers(loads.len() as u32 + 1);
    let offsets: Vec<usize> =
        loads.iter().map(|load| writer.reserve(load.data.len(), PAGE_SIZE as usize)).collect();
    let out = OutHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_X86_64,
        e_entry: header.linux64_entry,
        e_flags: 0,
    };
    writer.write_file_header(&out).map_err(|error| error.to_string())?;
    writer.write_align_program_headers();
    for (load, offset) in loads.iter().zip(&offsets) {
        writer.write_program_header(&OutProgram {
            p_type: elf::PT_LOAD,
            p_flags: load.flags,
            p_offset: *offset as u64,
            p_vaddr: load.address,
            p_paddr: load.address,
            p_filesz: load.data.len() as u64,
            p_memsz: load.memory_len,
            p_align: PAGE_SIZE,
        });
    }
    let (address, len) = note;
    let offset = offsets.first().copied().unwrap_or(0) as u64 + (address - NUCLEUS_BASE);
    writer.write_program_header(&OutProgram {
        p_type: elf::PT_NOTE,
        p_flags: elf::PF_R,
        p_offset: offset,
        p_vaddr: address,
        p_paddr: address,
        p_filesz: len,
        p_memsz: len,
        p_align: 4,
    });
    for (load, offset) in loads.iter().zip(&offsets) {
        writer.pad_until(*offset);
        writer.write(&load.data);
    }
    Ok(bytes)
}
