//! What is made of a guest that has failed: its names for addresses, its calls, and what is shown of it.

use sentient_crash::backtrace::{self, MAX_FRAMES};
use sentient_crash::symbols::Function;
use sentient_crash::{CrashRecord, Registers, SymbolTable, html, record};
use std::sync::LazyLock;

/// Bytes of a table before its length and its contents: magic and version.
const IDENTITY: usize = 12;

/// Functions in the memory that [`backtrace()`] makes of its bytes, and elsewhere.
fn functions() -> SymbolTable {
    let functions = [
        (0x1000..0x1040, "nucleus::gate::gate"),
        (0x1040..0x1100, "nucleus::gate::text"),
        (0x2000..0x3000, "runtime::main"),
        (u64::MAX - 16..u64::MAX, "last"),
    ];
    let functions = functions.iter().map(|(range, name)| Function { range: range.clone(), name });
    SymbolTable::of_functions(functions).unwrap_or_default()
}

static FUNCTIONS: LazyLock<SymbolTable> = LazyLock::new(functions);

/// A table of symbols as it comes, or, if the first byte is odd, with a prologue and a compression that fit
/// its contents: it is refused, or in order, and written as one that is read as the same.
pub fn symbols(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let table = if first % 2 == 0 { SymbolTable::decode(rest) } else { SymbolTable::decode(&packed(rest)) };
    match table {
        Ok(table) => {
            let mut end = 0;
            for Function { range, name } in table.functions() {
                assert!(range.start >= end && !range.is_empty(), "{name} at {range:x?}, after {end:#x}");
                assert!(!name.is_empty() && !name.chars().any(char::is_control), "{name:?}");
                assert_eq!(table.find(range.end - 1), Some((name, range.end - 1 - range.start)));
                assert!(table.find(range.end).is_none_or(|(_, offset)| offset == 0));
                end = range.end;
            }
            assert!(SymbolTable::decode(&table.encode()).is_ok_and(|again| again == table));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A table's bytes around any contents.
fn packed(contents: &[u8]) -> Vec<u8> {
    let mut bytes = SymbolTable::default().encode();
    bytes.truncate(IDENTITY);
    bytes.extend_from_slice(&(contents.len() as u32).to_le_bytes());
    bytes.extend(lz4_flex::block::compress(contents));
    bytes
}

/// Calls of a guest with any registers and any stack. The first four words are rip, rsp, rbp and where
/// memory begins; the rest is memory.
pub fn backtrace(data: &[u8]) {
    let Some((words, memory)) = data.split_at_checked(32) else { return };
    let word = |at| sentient_abi::bytes::read_u64(words, at).unwrap_or(0);
    let registers = Registers { rip: word(0), rsp: word(8), rbp: word(16), ..Registers::default() };
    let base = word(24);
    let read = |address: u64, out: &mut [u8]| {
        let at = address.checked_sub(base).and_then(|at| usize::try_from(at).ok());
        let found = at.and_then(|at| memory.get(at..at.checked_add(out.len())?));
        found.map(|found| out.copy_from_slice(found)).is_some()
    };
    let frames = backtrace::frames(&registers, &FUNCTIONS, read);
    assert!((1..=MAX_FRAMES).contains(&frames.len()), "{} frames", frames.len());
    assert!(frames.first().is_some_and(|frame| frame.address == registers.rip && !frame.guess));
    assert!(frames.iter().skip(1).all(|frame| frame.function.is_some()), "{frames:?}");
    let guesses = frames.iter().skip(1).filter(|frame| frame.guess).count();
    assert!(guesses == 0 || guesses == frames.len() - 1, "found in two ways: {frames:?}");
    shown(registers, frames, memory, record::stack(&registers, read));
}

/// A record with any words of the guest's can be printed, and makes a page with no markup of theirs.
fn shown(registers: Registers, frames: Vec<backtrace::Frame>, said: &[u8], stack: Vec<record::StackWord>) {
    let said = String::from_utf8_lossy(said).into_owned();
    let crash = CrashRecord {
        fault: "guest-panic".into(),
        message: Some(said.clone()),
        registers: Some(registers),
        frames,
        stack,
        log: vec![said.clone()],
        ..CrashRecord::default()
    };
    let text = crash.text();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let page = |machine: &str, crash| html::Page {
        machine: machine.into(),
        crashes: vec![crash],
        ..html::Page::default()
    };
    let silent = CrashRecord { message: Some("-".into()), log: vec!["-".into()], ..crash.clone() };
    let tags = |page: &html::Page| html::page(page).matches('<').count();
    // A message without a character that is shown has no heading.
    let fewer = tags(&page("", silent));
    assert!([fewer, fewer - 4, fewer - 8].contains(&tags(&page(&said, crash))), "markup in {said:?}");
}

pub fn symbol_tables() -> Vec<Vec<u8>> {
    let table = FUNCTIONS.encode();
    let block = table.get(IDENTITY + 4..).unwrap_or_default();
    let contents = lz4_flex::block::decompress(block, 4096).unwrap_or_default();
    vec![[&[0][..], &table].concat(), [&[1][..], &contents].concat()]
}

pub fn stacks() -> Vec<Vec<u8>> {
    const BASE: u64 = 0x7000;
    let stack = |rbp: u64, words: &[u64]| {
        let registers = [0x1010, BASE, rbp, BASE];
        registers.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()
    };
    vec![
        stack(BASE + 8, &[7, BASE + 24, 0x1045, BASE + 40, 0x2008, 0, 0x3000]),
        stack(0, &[7, 0x1045, 0x1040, 0x9999, 0x2008]),
        [&stack(0, &[0x1045])[..], b"</pre><script>alert('1')</script>\x1b[2J"].concat(),
    ]
}
