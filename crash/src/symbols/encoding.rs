//! A table of symbols as bytes.
//!
//! ```text
//! "SENTSYMS" | version u32 | length of the contents u32 | contents, as one LZ4 block
//! ```
//!
//! The contents, with numbers and texts in postcard's encoding: how many names there are, and for each how
//! many of its first bytes are those of the one before it, and the rest of it; then how many functions there
//! are, and for each the bytes between it and the one before it (or address 0), its bytes, and the number of
//! its name. Names are sorted, and share their beginnings: those of a Rust program repeat their modules and
//! types, farther apart than LZ4 looks back.

use super::{Entry, MAX_FUNCTIONS, MAX_NAME, MAX_NAMES, SymbolTable, SymbolsError};
use crate::printable::is_hidden;
use serde::Deserialize;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"SENTSYMS";
/// Of the format.
pub const VERSION: u32 = 1;
/// Bytes before the LZ4 block.
const PROLOGUE: usize = 16;
/// Most bytes of the contents: those of the names, and of five numbers for each function.
const MAX_CONTENTS: usize = MAX_NAMES + MAX_FUNCTIONS * 40;
/// No LZ4 block becomes more than this times as long (a byte of 255 in it adds as many bytes to a match).
const MAX_RATIO: usize = 255;

impl SymbolTable {
    /// The table as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut names: Vec<&str> = self.functions.iter().map(|entry| self.name(entry)).collect();
        names.sort_unstable();
        names.dedup();
        let functions = self.functions.iter().scan(0, |end, entry| {
            let gap = entry.start - *end;
            *end = entry.end;
            let name = names.binary_search(&self.name(entry)).unwrap_or_default();
            Some((gap, entry.end - entry.start, name as u32))
        });
        let functions: Vec<(u64, u64, u32)> = functions.collect();
        let before = std::iter::once("").chain(names.iter().copied());
        let rest = before.zip(&names).map(|(before, name)| {
            let shared = shared(before, name);
            (shared as u32, name.get(shared..).unwrap_or_default())
        });
        let names: Vec<(u32, &str)> = rest.collect();
        // Into memory, all of it can be written.
        let contents = postcard::to_allocvec(&(names, functions)).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        bytes.extend(lz4_flex::block::compress(&contents));
        bytes
    }

    /// The table that was [encoded](Self::encode) as `bytes`.
    ///
    /// # Errors
    ///
    /// [`SymbolsError::NotATable`], [`SymbolsError::Version`], [`SymbolsError::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SymbolsError> {
        let damaged = SymbolsError::Damaged;
        let (prologue, block) = bytes.split_at_checked(PROLOGUE).ok_or(SymbolsError::NotATable)?;
        if !prologue.starts_with(MAGIC) {
            return Err(SymbolsError::NotATable);
        }
        let number = |at| sentient_abi::bytes::read_u32(prologue, at).unwrap_or(0);
        if number(8) != VERSION {
            return Err(SymbolsError::Version { found: number(8) });
        }
        let len = number(12) as usize;
        if len > MAX_CONTENTS || len > block.len().saturating_mul(MAX_RATIO) {
            return Err(damaged("its contents are longer than its bytes can hold"));
        }
        let contents = lz4_flex::block::decompress(block, len)
            .ok()
            .filter(|contents| contents.len() == len)
            .ok_or(damaged("it does not decompress to its length"))?;
        let mut contents = contents.as_slice();
        let (names, places) = names(&mut contents)?;
        let functions = functions(&mut contents, &places)?;
        if !contents.is_empty() {
            return Err(damaged("something follows its last function"));
        }
        Ok(Self { functions, names })
    }
}

/// The next value of the contents.
fn take<'a, T: Deserialize<'a>>(contents: &mut &'a [u8]) -> Result<T, SymbolsError> {
    let (value, rest) = postcard::take_from_bytes(contents)
        .map_err(|_| SymbolsError::Damaged("it has something else than a number or a text, or ends"))?;
    *contents = rest;
    Ok(value)
}

/// The next number of the contents, as that of names or functions that follow.
fn take_count(contents: &mut &[u8]) -> Result<usize, SymbolsError> {
    let count: usize = take(contents)?;
    if count <= MAX_FUNCTIONS {
        Ok(count)
    } else {
        Err(SymbolsError::Damaged("it has more functions than a table can"))
    }
}

/// All names one behind the other, and where each of them lies.
fn names(contents: &mut &[u8]) -> Result<(String, Vec<Range<usize>>), SymbolsError> {
    let damaged = SymbolsError::Damaged;
    let mut names = String::new();
    let mut places: Vec<Range<usize>> = Vec::new();
    for _ in 0..take_count(contents)? {
        let (shared, rest): (usize, &str) = take(contents)?;
        let before = places.last().and_then(|place| names.get(place.clone())).unwrap_or_default();
        let beginning = before.get(..shared).ok_or(damaged("a name has no beginning"))?;
        let name = [beginning, rest].concat();
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(is_hidden) {
            return Err(damaged("a name is empty, too long, or not printable"));
        }
        if names.len() + name.len() > MAX_NAMES {
            return Err(damaged("its names are too long"));
        }
        places.push(names.len()..names.len() + name.len());
        names.push_str(&name);
    }
    Ok((names, places))
}

fn functions(contents: &mut &[u8], names: &[Range<usize>]) -> Result<Vec<Entry>, SymbolsError> {
    let mut last = 0u64;
    let mut functions = Vec::new();
    for _ in 0..take_count(contents)? {
        let (gap, len, name): (u64, u64, usize) = take(contents)?;
        let start = last.checked_add(gap);
        let end = start.and_then(|start| start.checked_add(len)).filter(|_| len > 0);
        let (Some(start), Some(end), Some(name)) = (start, end, names.get(name)) else {
            return Err(SymbolsError::Damaged(
                "a function is empty, has no name, or ends behind all addresses",
            ));
        };
        last = end;
        functions.push(Entry { start, end, name: name.clone() });
    }
    Ok(functions)
}

/// How many bytes two names begin with are the same: whole characters.
fn shared(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    other.floor_char_boundary(same)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::Function;
    use super::*;

    fn table() -> SymbolTable {
        let functions = [
            (0x10_0000..0x10_0010, "sentient_nucleus::gate::gate"),
            (0x10_0010..0x10_0020, "sentient_nucleus::gate::text"),
            (0x20_0000..0x20_1000, "gäte"),
            (0x20_1000..0x20_1001, "gåte"),
            (0x20_2000..0x20_2001, "sentient_nucleus::gate::gate"),
            (u64::MAX - 1..u64::MAX, "last"),
        ];
        let functions = functions.iter().map(|(range, name)| Function { range: range.clone(), name });
        SymbolTable::of_functions(functions).unwrap()
    }

    /// A table with these contents, and a prologue that fits.
    fn with_contents(contents: &[u8]) -> Result<SymbolTable, SymbolsError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        bytes.extend(lz4_flex::block::compress(contents));
        SymbolTable::decode(&bytes)
    }

    fn with(names: &[(u32, &str)], functions: &[(u64, u64, u32)]) -> Result<SymbolTable, SymbolsError> {
        with_contents(&postcard::to_allocvec(&(names, functions)).unwrap())
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(SymbolTable::decode(&table().encode()).unwrap(), table());
        let empty = SymbolTable::default();
        assert_eq!(SymbolTable::decode(&empty.encode()).unwrap(), empty);
    }

    #[test]
    fn a_table_cut_short_is_refused() {
        let bytes = table().encode();
        for len in 0..bytes.len() {
            assert!(SymbolTable::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn another_byte_anywhere_is_refused_or_gives_another_table_in_order() {
        let bytes = table().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let Ok(found) = SymbolTable::decode(&bad) else { continue };
                let functions: Vec<_> = found.functions().collect();
                assert!(functions.iter().all(|function| !function.range.is_empty()));
                assert!(functions.is_sorted_by(|one, next| one.range.end <= next.range.start));
            }
        }
    }

    #[test]
    fn another_file_and_another_version_are_named() {
        let mut bytes = table().encode();
        assert_eq!(SymbolTable::decode(b"\x7fELF and what follows"), Err(SymbolsError::NotATable));
        bytes[8] = 7;
        assert_eq!(SymbolTable::decode(&bytes), Err(SymbolsError::Version { found: 7 }));
    }

    #[test]
    fn a_length_that_lies_is_refused_before_there_is_room_for_it() {
        for len in [u32::MAX, MAX_CONTENTS as u32 + 1, 1 << 20, 100] {
            let mut bytes = table().encode();
            bytes[12..16].copy_from_slice(&len.to_le_bytes());
            assert!(matches!(SymbolTable::decode(&bytes), Err(SymbolsError::Damaged(_))), "{len}");
        }
    }

    #[test]
    fn contents_that_contradict_themselves_are_refused() {
        assert!(with(&[(0, "a")], &[(1, 1, 0)]).is_ok());
        let long = "n".repeat(MAX_NAME);
        let names: [&[(u32, &str)]; 6] = [
            &[(1, "a")],
            &[(0, "")],
            &[(0, "\x1b")],
            &[(0, "ä"), (1, "b")],
            &[(0, "a"), (2, "b")],
            &[(0, &long), (MAX_NAME as u32, "n")],
        ];
        for names in names {
            assert!(matches!(with(names, &[]), Err(SymbolsError::Damaged(_))), "{names:?}");
        }
        let functions: [&[(u64, u64, u32)]; 4] =
            [&[(1, 0, 0)], &[(1, 1, 1)], &[(1, u64::MAX, 0)], &[(1, 1, 0), (u64::MAX, 1, 0)]];
        for functions in functions {
            assert!(matches!(with(&[(0, "a")], functions), Err(SymbolsError::Damaged(_))), "{functions:?}");
        }
        let mut followed = postcard::to_allocvec(&([(0u32, "a"); 0], [(1u64, 1u64, 0u32); 0])).unwrap();
        followed.push(0);
        assert!(with_contents(&followed).is_err());
    }

    #[test]
    fn more_functions_than_a_table_holds_are_refused_when_they_are_announced() {
        let count = postcard::to_allocvec(&(MAX_FUNCTIONS + 1)).unwrap();
        let refused = with_contents(&count);
        assert_eq!(refused, Err(SymbolsError::Damaged("it has more functions than a table can")));
    }

    #[test]
    fn names_that_share_their_beginnings_take_little_room() {
        let names: Vec<_> =
            (0..2000).map(|at| format!("some::module::with::a::long::path::function_{at}")).collect();
        let functions = names.iter().zip((0..).step_by(16));
        let functions = functions.map(|(name, at)| Function { range: at..at + 9, name });
        let table = SymbolTable::of_functions(functions).unwrap();
        assert!(table.encode().len() < 2000 * 12, "{} bytes", table.encode().len());
    }
}
