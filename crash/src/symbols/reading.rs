//! Functions of an ELF file.

use super::LABEL_REACH;
use object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, elf};
use std::ops::Range;

type Elf = elf::FileHeader64<Endianness>;

/// What an ELF symbol says.
struct Symbol {
    range: Range<u64>,
    name: String,
    /// Of several at one address, the lowest is kept: a function before a label, a global before a local one.
    rank: (bool, bool),
}

/// Adds a file's functions and their demangled names to `found`, one for each address, by their addresses.
///
/// A function without a size, such as a label in assembly, reaches to the next one: no further than
/// [`LABEL_REACH`], and not out of its section.
///
/// # Errors
///
/// What is wrong with the file.
pub fn functions(file: &[u8], found: &mut Vec<(Range<u64>, String)>) -> Result<(), String> {
    let text = |error: object::Error| error.to_string();
    let header = Elf::parse(file).map_err(text)?;
    let endian = header.endian().map_err(text)?;
    if header.e_machine.get(endian) != elf::EM_X86_64 {
        return Err("it is not for x86-64".into());
    }
    let sections = header.sections(endian, file).map_err(text)?;
    let symbols = sections.symbols(endian, file, elf::SHT_SYMTAB).map_err(text)?;
    if symbols.is_empty() {
        return Err("it has no symbols: it was stripped".into());
    }
    let mut all = Vec::new();
    for symbol in symbols.iter() {
        let Some(section) = executable(&sections, endian, symbol) else { continue };
        let name = symbol.name(endian, symbols.strings()).map_err(text)?;
        let name = String::from_utf8_lossy(name);
        // Names that assemblers make for themselves, and those of sections.
        if name.is_empty() || name.starts_with(['.', '$']) {
            continue;
        }
        let start = symbol.st_value(endian);
        let size = symbol.st_size(endian);
        let reach = if size == 0 { LABEL_REACH } else { size };
        if !section.contains(&start) {
            continue;
        }
        all.push(Symbol {
            range: start..start.saturating_add(reach).min(section.end),
            name: format!("{:#}", rustc_demangle::demangle(&name)),
            rank: (symbol.st_type() != elf::STT_FUNC || size == 0, symbol.st_bind() == elf::STB_LOCAL),
        });
    }
    all.sort_by_key(|symbol| (symbol.range.start, symbol.rank));
    all.dedup_by_key(|symbol| symbol.range.start);
    found.extend(all.into_iter().map(|symbol| (symbol.range, symbol.name)));
    Ok(())
}

/// Addresses of the executable section that a function or a label lies in.
fn executable(
    sections: &SectionTable<'_, Elf>,
    endian: Endianness,
    symbol: &elf::Sym64<Endianness>,
) -> Option<Range<u64>> {
    if !matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_NOTYPE) {
        return None;
    }
    let index = symbol.st_shndx(endian);
    if index == elf::SHN_UNDEF || index >= elf::SHN_LORESERVE {
        return None;
    }
    let section = sections.section(object::SectionIndex(usize::from(index))).ok()?;
    let is_text = section.sh_flags(endian) & u64::from(elf::SHF_EXECINSTR) != 0;
    let start = section.sh_addr(endian);
    is_text.then(|| start..start.saturating_add(section.sh_size(endian)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::elf_file::{self, Symbol};
    use super::*;
    use elf::{STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_NOTYPE, STT_OBJECT};

    const TEXT: Range<u64> = 0x10_0000..0x10_8000;

    fn symbol(name: &str, address: u64, size: u64, bind: u8, kind: u8) -> Symbol<'_> {
        Symbol { name, address, size, info: (bind << 4) | kind }
    }

    fn read(symbols: &[Symbol<'_>]) -> Vec<(Range<u64>, String)> {
        let file = elf_file::write(TEXT, symbols).unwrap();
        let mut found = Vec::new();
        functions(&file, &mut found).unwrap();
        found
    }

    #[test]
    fn names_are_demangled_without_their_hashes() {
        let found = read(&[
            symbol("_ZN3foo3bar17h0123456789abcdefE", 0x10_0000, 16, STB_LOCAL, STT_FUNC),
            symbol("_RNvCs1234_7mycrate3baz", 0x10_0010, 16, STB_LOCAL, STT_FUNC),
            symbol("memcpy", 0x10_0020, 16, STB_GLOBAL, STT_FUNC),
        ]);
        let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["foo::bar", "mycrate::baz", "memcpy"]);
    }

    #[test]
    fn a_label_reaches_for_a_page_at_most_and_stays_in_its_section() {
        let found = read(&[
            symbol("entry", 0x10_0000, 0, STB_GLOBAL, STT_NOTYPE),
            symbol("late", 0x10_7ff0, 0, STB_LOCAL, STT_NOTYPE),
        ]);
        let ranges: Vec<_> = found.into_iter().map(|(range, _)| range).collect();
        assert_eq!(ranges, [0x10_0000..0x10_1000, 0x10_7ff0..0x10_8000]);
    }

    #[test]
    fn a_function_is_preferred_to_a_label_and_a_global_one_to_a_local() {
        let found = read(&[
            symbol("label", 0x10_0000, 0, STB_GLOBAL, STT_NOTYPE),
            symbol("local", 0x10_0000, 8, STB_LOCAL, STT_FUNC),
            symbol("global", 0x10_0000, 8, STB_GLOBAL, STT_FUNC),
        ]);
        assert_eq!(found, [(0x10_0000..0x10_0008, "global".to_owned())]);
    }

    #[test]
    fn what_is_no_function_is_left_out() {
        let found = read(&[
            symbol("VARIABLE", 0x10_0000, 8, STB_GLOBAL, STT_OBJECT),
            symbol(".Ltmp0", 0x10_0010, 0, STB_LOCAL, STT_NOTYPE),
            symbol("elsewhere", 0x50_0000, 8, STB_GLOBAL, STT_FUNC),
        ]);
        assert_eq!(found, []);
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_trip_the_reader() {
        let file = elf_file::write(TEXT, &[symbol("f", 0x10_0000, 8, STB_GLOBAL, STT_FUNC)]).unwrap();
        for len in 0..file.len() {
            assert!(functions(&file[..len], &mut Vec::new()).is_err(), "{len} bytes");
        }
        for at in 0..file.len() {
            for value in [0, 0x7f, 0xff] {
                let mut bad = file.clone();
                bad[at] = value;
                let _ = functions(&bad, &mut Vec::new());
            }
        }
    }

    #[test]
    fn files_without_symbols_and_for_other_processors_are_named() {
        let mut file = elf_file::write(TEXT, &[]).unwrap();
        assert_eq!(functions(&file, &mut Vec::new()), Ok(()));
        let machine = std::mem::offset_of!(Elf, e_machine);
        file[machine] = elf::EM_AARCH64 as u8;
        assert_eq!(functions(&file, &mut Vec::new()), Err("it is not for x86-64".to_owned()));
        // No section is the table of symbols.
        let file: Vec<u8> = elf_file::write(TEXT, &[]).unwrap();
        let stripped = strip(file);
        assert!(functions(&stripped, &mut Vec::new()).unwrap_err().contains("stripped"));
    }

    /// The file, whose sections are forgotten.
    fn strip(mut file: Vec<u8>) -> Vec<u8> {
        for field in [std::mem::offset_of!(Elf, e_shoff), std::mem::offset_of!(Elf, e_shnum)] {
            file[field..field + 2].fill(0);
        }
        file[std::mem::offset_of!(Elf, e_shstrndx)..][..2].fill(0);
        file
    }
}
