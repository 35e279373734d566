//! A table of symbols as an ELF file, which a debugger takes beside a core.

use super::{SymbolTable, SymbolsError};
use object::write::elf::{FileHeader, SectionHeader, Sym, Writer};
use object::{Endianness, elf};
use std::ops::Range;

/// A symbol to write.
pub struct Symbol<'a> {
    /// As it stands in the file.
    pub name: &'a str,
    /// Its address.
    pub address: u64,
    /// Bytes, or 0 if that is not known.
    pub size: u64,
    /// Type and binding: `st_info`.
    pub info: u8,
}

/// An executable for x86-64 without a byte of code, but with all functions of the table: for
/// `gdb -c CORE FILE`.
///
/// # Errors
///
/// [`SymbolsError::File`], which a table that was [decoded](SymbolTable::decode) or made is too small for.
pub fn elf_file(table: &SymbolTable) -> Result<Vec<u8>, SymbolsError> {
    let symbols: Vec<Symbol<'_>> = table
        .functions()
        .map(|function| Symbol {
            name: function.name,
            address: function.range.start,
            size: function.range.end - function.range.start,
            info: (elf::STB_GLOBAL << 4) | elf::STT_FUNC,
        })
        .collect();
    let start = table.functions().next().map_or(0, |first| first.range.start);
    let end = table.functions().last().map_or(start, |last| last.range.end);
    write(start..end, &symbols).map_err(|error| SymbolsError::File(error.to_string()))
}

/// An executable with a section for code at `text`, which has none, and with symbols in it.
pub fn write(text: Range<u64>, symbols: &[Symbol<'_>]) -> object::write::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, true, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_null_section_index();
    let text_name = writer.add_section_name(b".text");
    let section = writer.reserve_section_index();
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_null_symbol_index();
    let mut entries = Vec::with_capacity(symbols.len());
    for symbol in symbols {
        writer.reserve_symbol_index(Some(section));
        entries.push(Sym {
            name: Some(writer.add_string(symbol.name.as_bytes())),
            section: Some(section),
            st_info: symbol.info,
            st_other: elf::STV_DEFAULT,
            st_shndx: 0,
            st_value: symbol.address,
            st_size: symbol.size,
        });
    }
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_X86_64,
        // In none of the functions: gdb shows no caller of the one that has the entry.
        e_entry: 0,
        e_flags: 0,
    })?;
    writer.write_null_symbol();
    entries.iter().for_each(|entry| writer.write_symbol(entry));
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_section_header(&SectionHeader {
        name: Some(text_name),
        sh_type: elf::SHT_NOBITS,
        sh_flags: u64::from(elf::SHF_ALLOC | elf::SHF_EXECINSTR),
        sh_addr: text.start,
        sh_offset: 0,
        sh_size: text.end - text.start,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 1,
        sh_entsize: 0,
    });
    // The null symbol is the only local one: readers that want no global one among them have all.
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::Function;
    use super::*;

    #[test]
    fn the_file_has_the_functions_of_the_table() {
        let functions = [(0x10_0000..0x10_0040, "a::b"), (0x20_0000..0x20_0001, "<c as d>::e")];
        let functions = functions.iter().map(|(range, name)| Function { range: range.clone(), name });
        let table = SymbolTable::of_functions(functions).unwrap();
        let file = elf_file(&table).unwrap();
        assert_eq!(SymbolTable::of_elfs(&[&file]).unwrap(), table);
    }

    #[test]
    fn a_table_without_functions_gives_a_file_without_them() {
        let file = elf_file(&SymbolTable::default()).unwrap();
        assert!(SymbolTable::of_elfs(&[&file]).unwrap().is_empty());
    }
}
