//! Names for a kernel's addresses.
//!
//! The table holds a range of addresses and a name for each function, and nothing else: no lines, no types.
//! It is made when the kernel is built, travels in the program, and is read when a guest has failed.
//!
//! Invariants, which [`SymbolTable::decode`] checks:
//!
//! 1. Functions are in the order of their addresses, none is empty, and no two overlap.
//! 2. A name has between 1 and [`MAX_NAME`] bytes and no control character: it can be printed.

mod elf_file;
mod encoding;
mod reading;

pub use elf_file::elf_file;

use crate::printable::is_hidden;
use std::ops::Range;

/// Most functions of a table.
pub const MAX_FUNCTIONS: usize = 1 << 16;
/// Most bytes of a name; a longer one is cut.
pub const MAX_NAME: usize = 512;
/// Most bytes of all names.
pub const MAX_NAMES: usize = 4 << 20;
/// How far a label without a size reaches at most, in bytes.
pub const LABEL_REACH: u64 = 4096;

/// Why there is no table of symbols.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SymbolsError {
    /// One of the programs it is to be made of is no x86-64 ELF file with symbols.
    #[error("program {index} (counted from 0) cannot be read for its symbols: {problem}")]
    Program {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The programs have too many functions, or too long names.
    #[error(
        "{found} functions, or their names, are more than a table of symbols holds ({MAX_FUNCTIONS}, {MAX_NAMES} bytes)"
    )]
    TooMany {
        /// How many functions there are.
        found: usize,
    },
    /// It is something else.
    #[error("no table of symbols: it does not begin as one")]
    NotATable,
    /// It was made by another version of this program.
    #[error(
        "a table of symbols of format {found}, and this program reads {}: use one that was built with it",
        encoding::VERSION
    )]
    Version {
        /// The table's format.
        found: u32,
    },
    /// It contradicts itself.
    #[error("the table of symbols is damaged: {0}")]
    Damaged(&'static str),
    /// The ELF file for a debugger cannot be laid out.
    #[error("the table of symbols does not fit an ELF file: {0}")]
    File(String),
}

/// A function, or what a label in assembly names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its addresses.
    pub range: Range<u64>,
    /// Its name, demangled.
    pub name: &'a str,
}

/// The functions of a kernel.
#[derive(Clone, Debug, Default)]
pub struct SymbolTable {
    /// By their addresses.
    functions: Vec<Entry>,
    /// All names, one behind the other.
    names: String,
}

/// Tables are equal if they give the same names to the same addresses, wherever the names lie.
impl PartialEq for SymbolTable {
    fn eq(&self, other: &Self) -> bool {
        self.functions().eq(other.functions())
    }
}

impl Eq for SymbolTable {}

#[derive(Clone, Debug)]
struct Entry {
    start: u64,
    end: u64,
    /// Where its name lies in `names`.
    name: Range<usize>,
}

impl SymbolTable {
    /// The functions of unstripped programs at fixed addresses, such as nucleus and runtime.
    ///
    /// # Errors
    ///
    /// [`SymbolsError::Program`], [`SymbolsError::TooMany`].
    pub fn of_elfs(programs: &[&[u8]]) -> Result<Self, SymbolsError> {
        let mut found = Vec::new();
        for (index, program) in programs.iter().enumerate() {
            let problem = |problem| SymbolsError::Program { index, problem };
            reading::functions(program, &mut found).map_err(problem)?;
        }
        let named = found.iter().map(|(range, name)| Function { range: range.clone(), name });
        Self::of_functions(named)
    }

    /// A table of functions in any order. What does not fit is made to: of several at one address the first
    /// stays, and one that reaches into the next ends where that begins.
    ///
    /// # Errors
    ///
    /// [`SymbolsError::TooMany`].
    pub fn of_functions<'a>(functions: impl IntoIterator<Item = Function<'a>>) -> Result<Self, SymbolsError> {
        let mut sorted: Vec<_> = functions
            .into_iter()
            .filter(|function| !function.range.is_empty() && !function.name.is_empty())
            .collect();
        sorted.sort_by_key(|function| function.range.start);
        sorted.dedup_by_key(|function| function.range.start);
        let ends: Vec<_> = sorted.iter().skip(1).map(|next| next.range.start).chain([u64::MAX]).collect();
        let mut table = Self::default();
        for (function, next) in sorted.iter().zip(ends) {
            let name = table.names.len();
            table.names.push_str(&printable_name(function.name));
            let range = &function.range;
            table.functions.push(Entry {
                start: range.start,
                end: range.end.min(next),
                name: name..table.names.len(),
            });
        }
        if table.len() > MAX_FUNCTIONS || table.names.len() > MAX_NAMES {
            return Err(SymbolsError::TooMany { found: table.len() });
        }
        Ok(table)
    }

    /// The function that an address lies in, and how many bytes behind its start.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.functions.partition_point(|function| function.start <= address);
        let entry = self.functions.get(after.checked_sub(1)?)?;
        (address < entry.end).then(|| (self.name(entry), address - entry.start))
    }

    /// All functions, by their addresses.
    pub fn functions(&self) -> impl ExactSizeIterator<Item = Function<'_>> {
        self.functions.iter().map(|entry| Function { range: entry.start..entry.end, name: self.name(entry) })
    }

    /// How many functions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether no address has a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    fn name(&self, entry: &Entry) -> &str {
        self.names.get(entry.name.clone()).unwrap_or_default()
    }
}

/// A name as a table may hold it.
fn printable_name(name: &str) -> String {
    let mut printable: String = name.chars().map(|c| if is_hidden(c) { '?' } else { c }).collect();
    printable.truncate(printable.floor_char_boundary(MAX_NAME));
    printable
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn table(functions: &[(Range<u64>, &str)]) -> SymbolTable {
        let functions = functions.iter().map(|(range, name)| Function { range: range.clone(), name });
        SymbolTable::of_functions(functions).unwrap()
    }

    #[test]
    fn an_address_is_found_in_its_function_and_not_behind_it() {
        let table = table(&[(0x1000..0x1010, "first"), (0x1020..0x1021, "second")]);
        assert_eq!(table.find(0xfff), None);
        assert_eq!(table.find(0x1000), Some(("first", 0)));
        assert_eq!(table.find(0x100f), Some(("first", 15)));
        assert_eq!(table.find(0x1010), None);
        assert_eq!(table.find(0x1020), Some(("second", 0)));
        assert_eq!(table.find(0x1021), None);
        assert_eq!(table.find(u64::MAX), None);
        assert_eq!(SymbolTable::default().find(0), None);
    }

    #[test]
    fn functions_come_in_any_order_and_overlap_no_more() {
        let table = table(&[(0x30..0x40, "c"), (0x10..0x38, "a"), (0x20..0x30, "b"), (0x20..0x22, "again")]);
        let found: Vec<_> = table.functions().map(|function| (function.range, function.name)).collect();
        assert_eq!(found, [(0x10..0x20, "a"), (0x20..0x30, "b"), (0x30..0x40, "c")]);
    }

    #[test]
    fn what_is_empty_or_has_no_name_is_left_out() {
        #[expect(clippy::reversed_empty_ranges, reason = "a hostile file has such")]
        let table = table(&[(5..5, "empty"), (9..7, "backwards"), (10..20, "")]);
        assert!(table.is_empty());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_name_is_cut_between_characters_and_cannot_control_a_terminal() {
        let long = format!("\x1b[2J{}", "ä".repeat(MAX_NAME));
        let table = table(&[(0..1, &long)]);
        let (name, _) = table.find(0).unwrap();
        assert_eq!(name.len(), MAX_NAME);
        assert!(name.starts_with("?[2Jää") && name.ends_with('ä'));
    }

    #[test]
    fn a_table_is_not_larger_than_can_be_read_again() {
        let functions = |count: u64| (0..count).map(|at| Function { range: at..at + 1, name: "f" });
        let table = SymbolTable::of_functions(functions(MAX_FUNCTIONS as u64)).unwrap();
        assert_eq!(SymbolTable::decode(&table.encode()).unwrap(), table);
        let refused = SymbolTable::of_functions(functions(MAX_FUNCTIONS as u64 + 1));
        assert_eq!(refused, Err(SymbolsError::TooMany { found: MAX_FUNCTIONS + 1 }));
        let name = "n".repeat(MAX_NAME);
        let long = |count: u64| (0..count).map(|at| Function { range: at..at + 1, name: &name });
        assert!(SymbolTable::of_functions(long((MAX_NAMES / MAX_NAME) as u64)).is_ok());
        assert!(SymbolTable::of_functions(long((MAX_NAMES / MAX_NAME) as u64 + 1)).is_err());
    }
}
