//! An ELF core of a machine, which `gdb -c CORE SYMBOLS` opens.
//!
//! The guest has one address space, in which virtual addresses are physical ones, so its memory is written
//! as that of a process: one loadable segment for each range. The registers are where Linux puts those of a
//! process, in a note `NT_PRSTATUS`; a note `NT_PRPSINFO` has the machine's name. Control registers have no
//! place there: the record beside the core has them.
//!
//! A core can be larger than memory, so it is written as it is read, piece by piece. Nothing is compressed
//! or left out: a caller who wants a small file gives only ranges of pages that are in use.

use crate::Registers;
use object::write::elf::{FileHeader, ProgramHeader, Writer};
use object::{Endianness, elf};
use sentient_abi::PAGE_SIZE;
use std::io::{self, Write};
use std::ops::Range;

/// Most ranges of memory, once those that touch have been joined. More program headers than 65534 need a
/// field of another kind (`PN_XNUM`, elf(5)), and one of them is for the notes.
pub const MAX_RANGES: usize = elf::PN_XNUM as usize - 2;

/// Bytes that are read and written at a time.
const PIECE: usize = 64 << 10;

/// Writes a core of the machine `name`, and says how many bytes it has.
///
/// The ranges are of guest addresses, whole pages, in any order; those that touch or overlap are joined.
/// `read` fills a buffer of at most 64 KiB from an address within them.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if a range ends before it starts or is not of whole pages, or if there
/// are more than [`MAX_RANGES`]; what `read` and `out` say.
pub fn write(
    mut out: impl Write,
    registers: &Registers,
    name: &str,
    ranges: &[Range<u64>],
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let ranges = joined(ranges)?;
    let head = head(registers, name, &ranges)?;
    out.write_all(&head)?;
    let mut written = head.len() as u64;
    let mut piece = vec![0; PIECE];
    for range in &ranges {
        let mut address = range.start;
        while address < range.end {
            let len = (range.end - address).min(PIECE as u64);
            let piece = piece.get_mut(..len as usize).unwrap_or_default();
            read(address, piece)?;
            out.write_all(piece)?;
            address += len;
        }
        written += range.end - range.start;
    }
    out.flush()?;
    Ok(written)
}

/// The ranges by their addresses, none of which is empty or touches another.
fn joined(ranges: &[Range<u64>]) -> io::Result<Vec<Range<u64>>> {
    let refused = |problem| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        let Range { start, end } = range;
        if end < start || !start.is_multiple_of(PAGE_SIZE) || !end.is_multiple_of(PAGE_SIZE) {
            return Err(refused(format!(
                "a core of {start:#x} to {end:#x}: that is no range of whole pages"
            )));
        }
        match joined.last_mut() {
            _ if start == end => {}
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => joined.push(range),
        }
    }
    if joined.len() > MAX_RANGES {
        let found = joined.len();
        return Err(refused(format!(
            "a core of {found} separate ranges of memory: at most {MAX_RANGES} fit"
        )));
    }
    Ok(joined)
}

/// All that precedes the memory, up to a page's end.
fn head(registers: &Registers, name: &str, ranges: &[Range<u64>]) -> io::Result<Vec<u8>> {
    let mut notes = note(elf::NT_PRSTATUS, &prstatus(registers));
    notes.extend(note(elf::NT_PRPSINFO, &prpsinfo(name)));
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_program_headers(ranges.len() as u32 + 1);
    let notes_at = writer.reserve(notes.len(), 4);
    let memory_at = writer.reserve(0, PAGE_SIZE as usize);
    let header = FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_CORE,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: 0,
    };
    writer.write_file_header(&header).map_err(io::Error::other)?;
    writer.write_align_program_headers();
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_NOTE,
        p_flags: elf::PF_R,
        p_offset: notes_at as u64,
        p_vaddr: 0,
        p_paddr: 0,
        p_filesz: notes.len() as u64,
        p_memsz: 0,
        p_align: 4,
    });
    let mut offset = memory_at as u64;
    for range in ranges {
        let len = range.end - range.start;
        writer.write_program_header(&ProgramHeader {
            p_type: elf::PT_LOAD,
            p_flags: elf::PF_R | elf::PF_W | elf::PF_X,
            p_offset: offset,
            p_vaddr: range.start,
            p_paddr: range.start,
            p_filesz: len,
            p_memsz: len,
            p_align: PAGE_SIZE,
        });
        let end = offset.checked_add(len);
        offset = end.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a core of 2^64 bytes"))?;
    }
    writer.pad_until(notes_at);
    writer.write(&notes);
    writer.pad_until(memory_at);
    Ok(bytes)
}

/// A note of Linux' cores.
fn note(kind: u32, content: &[u8]) -> Vec<u8> {
    const OWNER: &[u8; 8] = b"CORE\0\0\0\0";
    // The name's length counts one NUL; all is padded to 4 bytes.
    let mut note = 5u32.to_le_bytes().to_vec();
    note.extend_from_slice(&(content.len() as u32).to_le_bytes());
    note.extend_from_slice(&kind.to_le_bytes());
    note.extend_from_slice(OWNER);
    note.extend_from_slice(content);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// Number of the only processor, as a thread's: gdb wants it to be more than 0.
const THREAD: u32 = 1;
/// What gdb says the machine was stopped by: SIGABRT. What it really was, the record says.
const SIGNAL: u16 = 6;
/// Bytes of `struct elf_prstatus` (Linux `include/linux/elfcore.h`) on x86-64.
const PRSTATUS: usize = 336;
/// Where in it the registers are: `struct user_regs_struct` (Linux `arch/x86/include/asm/user_64.h`).
const REGISTERS_AT: usize = 112;

fn prstatus(registers: &Registers) -> [u8; PRSTATUS] {
    let r = registers;
    // Not in a system call: gdb would restart it.
    let orig_rax = u64::MAX;
    let (fs_base, gs_base, ds, es, fs, gs) = (0, 0, 0, 0, 0, 0);
    let words = [
        r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi,
        r.rdi, orig_rax, r.rip, r.cs, r.rflags, r.rsp, r.ss, fs_base, gs_base, ds, es, fs, gs,
    ];
    let mut status = [0; PRSTATUS];
    put(&mut status, 0, &u32::from(SIGNAL).to_le_bytes());
    put(&mut status, 12, &SIGNAL.to_le_bytes());
    put(&mut status, 32, &THREAD.to_le_bytes());
    for (index, word) in words.iter().enumerate() {
        put(&mut status, REGISTERS_AT + index * 8, &word.to_le_bytes());
    }
    status
}

/// Bytes of `struct elf_prpsinfo` on x86-64.
const PRPSINFO: usize = 136;

fn prpsinfo(name: &str) -> [u8; PRPSINFO] {
    // `pr_fname` and `pr_psargs`, with the NUL that ends them.
    const FIELDS: [(usize, usize); 2] = [(40, 16), (56, 80)];
    let mut info = [0; PRPSINFO];
    put(&mut info, 1, b"R");
    put(&mut info, 24, &THREAD.to_le_bytes());
    for (at, len) in FIELDS {
        let cut = name.get(..name.floor_char_boundary(len - 1)).unwrap_or_default();
        put(&mut info, at, cut.as_bytes());
    }
    info
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use object::read::elf::{FileHeader as _, ProgramHeader as _};

    type Elf = elf::FileHeader64<Endianness>;

    /// A page of memory.
    const PAGE: Range<u64> = 0x1000..0x2000;

    /// Fills memory with the numbers of its pages.
    fn pages(address: u64, out: &mut [u8]) -> io::Result<()> {
        for (at, byte) in (address..).zip(out) {
            *byte = (at / PAGE_SIZE) as u8;
        }
        Ok(())
    }

    fn core(ranges: &[Range<u64>]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let len = write(&mut bytes, &Registers::default(), "machine", ranges, pages)?;
        assert_eq!(len, bytes.len() as u64);
        Ok(bytes)
    }

    /// Address and contents of each segment of memory.
    fn segments(core: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let header = Elf::parse(core).unwrap();
        let endian = header.endian().unwrap();
        let programs = header.program_headers(endian, core).unwrap();
        let loads = programs.iter().filter(|program| program.p_type(endian) == elf::PT_LOAD);
        loads.map(|load| (load.p_vaddr(endian), load.data(endian, core).unwrap().to_vec())).collect()
    }

    #[test]
    fn memory_lies_in_segments_by_its_addresses() {
        let core = core(&[0x5000..0x6000, 0x1000..0x3000]).unwrap();
        let expected = vec![(0x1000, [[1; 4096], [2; 4096]].concat()), (0x5000, vec![5; 4096])];
        assert_eq!(segments(&core), expected);
    }

    #[test]
    fn a_range_longer_than_a_piece_is_whole() {
        let long = 0x10_0000..0x10_0000 + 2 * PIECE as u64 + PAGE_SIZE;
        let core = core(std::slice::from_ref(&long)).unwrap();
        let mut expected = vec![0; (long.end - long.start) as usize];
        pages(long.start, &mut expected).unwrap();
        assert_eq!(segments(&core), [(long.start, expected)]);
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let ranges = [0x3000..0x4000, 0x1000..0x3000, 0x2000..0x3000, 0x9000..0x9000, 0x6000..0x7000];
        assert_eq!(joined(&ranges).unwrap(), [0x1000..0x4000, 0x6000..0x7000]);
        let around = 0x1000..0x9000;
        assert_eq!(joined(&[around.clone(), 0x2000..0x3000]).unwrap(), [around]);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "such a range is refused")]
    fn a_range_that_is_none_of_whole_pages_is_named() {
        for range in [0x1001..0x2000, 0x1000..0x2001, 0x3000..0x2000] {
            let error = core(&[range]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("whole pages"), "{error}");
        }
    }

    #[test]
    fn as_many_ranges_as_an_elf_file_can_have_are_written_and_more_refused() {
        let ranges = |count: usize| -> Vec<Range<u64>> {
            (0..count as u64).map(|at| at * 2 * PAGE_SIZE..(at * 2 + 1) * PAGE_SIZE).collect()
        };
        let try_write =
            |ranges: &[Range<u64>]| write(io::sink(), &Registers::default(), "many", ranges, |_, _| Ok(()));
        let memory = MAX_RANGES as u64 * PAGE_SIZE;
        assert!(try_write(&ranges(MAX_RANGES)).unwrap() > memory);
        let head = head(&Registers::default(), "many", &ranges(MAX_RANGES)).unwrap();
        let count = Elf::parse(&*head).unwrap().e_phnum.get(Endianness::Little);
        assert_eq!(usize::from(count), MAX_RANGES + 1);
        let error = try_write(&ranges(MAX_RANGES + 1)).unwrap_err();
        assert!(error.to_string().contains("65534 separate ranges"), "{error}");
    }

    #[test]
    fn a_core_without_memory_has_the_notes() {
        let core = core(&[]).unwrap();
        assert_eq!(core.len() as u64, PAGE_SIZE);
        assert_eq!(segments(&core), []);
    }

    #[test]
    fn notes_have_the_registers_and_the_name_where_linux_has_them() {
        let registers = Registers { r15: 15, rip: 0x10_2000, rsp: 0x7000, ss: 16, ..Registers::default() };
        let name = "ä".repeat(60);
        let core = head(&registers, &name, &[]).unwrap();
        let header = Elf::parse(&*core).unwrap();
        let endian = header.endian().unwrap();
        let notes = header.program_headers(endian, &*core).unwrap()[0].notes(endian, &*core).unwrap();
        let mut found = notes.unwrap();
        let status = found.next().unwrap().unwrap();
        assert_eq!((status.name(), status.n_type(endian), status.desc().len()), (&b"CORE"[..], 1, 336));
        let word =
            |index: usize| sentient_abi::bytes::read_u64(status.desc(), REGISTERS_AT + index * 8).unwrap();
        assert_eq!([0, 15, 16, 19, 20].map(word), [15, u64::MAX, 0x10_2000, 0x7000, 16]);
        let info = found.next().unwrap().unwrap();
        assert_eq!((info.name(), info.n_type(endian), info.desc().len()), (&b"CORE"[..], 3, 136));
        assert_eq!(info.desc()[40..56], *format!("{}\0\0", "ä".repeat(7)).as_bytes());
        assert_eq!(info.desc()[56..], *format!("{}\0\0", "ä".repeat(39)).as_bytes());
        assert!(found.next().unwrap().is_none());
    }

    #[test]
    fn memory_that_cannot_be_read_ends_the_core() {
        let read = |address, _: &mut [u8]| Err(io::Error::other(format!("no memory at {address:#x}")));
        let error = write(io::sink(), &Registers::default(), "m", &[PAGE], read).unwrap_err();
        assert_eq!(error.to_string(), "no memory at 0x1000");
    }

    #[test]
    fn a_disk_that_is_full_ends_the_core() {
        let mut room = [0; 6000];
        let error = write(&mut room[..], &Registers::default(), "m", &[PAGE], pages).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
