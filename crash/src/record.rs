//! What is kept of one failure of a guest kernel.
//!
//! It is made when the guest has stopped, before the machine is put back; it goes over a machine's socket
//! as JSON, and to people as [`text`](CrashRecord::text), in the manner of a Linux oops.

use crate::printable::{Line, Lines};
use crate::{Frame, Registers, time};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// How much of the stack a record has, in bytes.
pub const STACK_LEN: usize = 512;
/// Bytes of a word of the stack.
const WORD: usize = 8;
/// Words of the stack in a line.
const IN_LINE: usize = 4;

/// A failure of a guest kernel, and what was found there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrashRecord {
    /// When it was found, in nanoseconds since 1970 (UTC).
    pub unix_ns: u64,
    /// What it was: a word, as in the report of a run.
    pub fault: String,
    /// The same, for people.
    pub what: String,
    /// What the guest kernel itself said of it.
    pub message: Option<String>,
    /// The processor's registers, if they could be read.
    pub registers: Option<Registers>,
    /// The calls that led there, the innermost first.
    pub frames: Vec<Frame>,
    /// The stack, from rsp on.
    pub stack: Vec<StackWord>,
    /// The last lines of the guest kernel's log.
    pub log: Vec<String>,
    /// Name of the file with the machine's memory, beside the record.
    pub core: Option<String>,
}

/// Eight bytes of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StackWord {
    /// Where they lie.
    pub address: u64,
    /// What they hold, little-endian.
    pub value: u64,
}

/// The first [`STACK_LEN`] bytes of the stack, or as many of its words as there are.
///
/// `read` fills a buffer from the guest's memory at a virtual address, and says whether all of it is there.
pub fn stack(registers: &Registers, read: impl Fn(u64, &mut [u8]) -> bool) -> Vec<StackWord> {
    let word = |at: usize| {
        let address = registers.rsp.checked_add(at as u64)?;
        address.checked_add(WORD as u64 - 1)?;
        let mut value = [0; WORD];
        read(address, &mut value).then(|| StackWord { address, value: u64::from_le_bytes(value) })
    };
    (0..STACK_LEN).step_by(WORD).map_while(word).collect()
}

impl CrashRecord {
    /// The record for a terminal: several lines, without the control characters of what the guest said.
    #[must_use]
    pub fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for CrashRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {}: {}", time::utc(self.unix_ns), Line(&self.fault), Line(&self.what))?;
        if let Some(message) = &self.message {
            section(f, "the kernel said", Lines(message).to_string().lines())?;
        }
        if let Some(registers) = &self.registers {
            section(f, "registers", RegisterTable(registers).to_string().lines())?;
        }
        let numbered =
            |(number, frame): (usize, &Frame)| format!("#{number:<2} {:016x}  {frame}", frame.address);
        section(f, "calls, the last one first", self.frames.iter().enumerate().map(numbered))?;
        section(f, "stack", StackTable(&self.stack).to_string().lines())?;
        section(f, "log", self.log.iter().map(|line| Line(line)))?;
        match &self.core {
            Some(core) => writeln!(f, "  core: {}", Line(core)),
            None => Ok(()),
        }
    }
}

/// A heading, and lines below it; nothing if there are none.
fn section<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    heading: &str,
    lines: impl IntoIterator<Item = T>,
) -> fmt::Result {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        writeln!(f, "  {heading}:")?;
    }
    lines.try_for_each(|line| writeln!(f, "    {line}"))
}

/// Registers, three in a line.
pub(crate) struct RegisterTable<'a>(pub &'a Registers);

impl fmt::Display for RegisterTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.0.named().chunks(3) {
            let cells: Vec<_> = row.iter().map(|(name, value)| format!("{name:6} {value:016x}")).collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        Ok(())
    }
}

/// Words of a stack, a few in a line.
pub(crate) struct StackTable<'a>(pub &'a [StackWord]);

impl fmt::Display for StackTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.0.chunks(IN_LINE) {
            let Some(first) = row.first() else { continue };
            write!(f, "{:016x}:", first.address)?;
            row.iter().try_for_each(|word| write!(f, " {:016x}", word.value))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record() -> CrashRecord {
        CrashRecord {
            unix_ns: 1_709_210_096_789_000_000,
            fault: "guest-panic".into(),
            what: "the guest kernel panicked".into(),
            message: Some("index out of bounds\nat heap.rs:7".into()),
            registers: Some(Registers { rip: 0x10_2012, rsp: 0x7000, cr2: 0xdead, ..Registers::default() }),
            frames: vec![
                Frame { address: 0x10_2012, function: Some("gate::gate".into()), offset: 0x12, guess: false },
                Frame { address: 0x20_0105, function: Some("main".into()), offset: 5, guess: true },
                Frame { address: 0x4000_0000, function: None, offset: 0, guess: false },
            ],
            stack: (0..5).map(|at| StackWord { address: 0x7000 + at * 8, value: at }).collect(),
            log: vec!["ready".into(), "heap: 5 of 7 pages".into()],
            core: Some("crash-1.core".into()),
        }
    }

    #[test]
    fn a_record_reads_like_an_oops() {
        let expected = "\
2024-02-29T12:34:56.789Z  guest-panic: the guest kernel panicked
  the kernel said:
    index out of bounds
    at heap.rs:7
  registers:
    RIP    0000000000102012  RSP    0000000000007000  RFLAGS 0000000000000000
    RAX    0000000000000000  RBX    0000000000000000  RCX    0000000000000000
    RDX    0000000000000000  RSI    0000000000000000  RDI    0000000000000000
    RBP    0000000000000000  R8     0000000000000000  R9     0000000000000000
    R10    0000000000000000  R11    0000000000000000  R12    0000000000000000
    R13    0000000000000000  R14    0000000000000000  R15    0000000000000000
    CR0    0000000000000000  CR2    000000000000dead  CR3    0000000000000000
    CR4    0000000000000000  CS     0000000000000000  SS     0000000000000000
  calls, the last one first:
    #0  0000000000102012  gate::gate+0x12
    #1  0000000000200105  ? main+0x5
    #2  0000000040000000  (no function of the kernel)
  stack:
    0000000000007000: 0000000000000000 0000000000000001 0000000000000002 0000000000000003
    0000000000007020: 0000000000000004
  log:
    ready
    heap: 5 of 7 pages
  core: crash-1.core
";
        assert_eq!(record().text(), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let little = CrashRecord { fault: "guest-hang".into(), ..CrashRecord::default() };
        assert_eq!(little.text(), "1970-01-01T00:00:00.000Z  guest-hang: \n");
    }

    #[test]
    fn nothing_that_a_guest_says_controls_the_terminal() {
        let evil = "a\x1b[2J\r\nb\u{202e}";
        let mut record = record();
        record.message = Some(evil.into());
        record.log = vec![evil.into()];
        record.what = evil.into();
        record.frames[0].function = Some(evil.into());
        let text = record.text();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
        // A line of the log stays one.
        assert!(text.contains("    a\u{fffd}[2J\u{fffd} b\u{fffd}\n"));
    }

    #[test]
    fn a_record_survives_json() {
        let mut record = record();
        record.registers = Some(Registers { rax: u64::MAX, ..Registers::default() });
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<CrashRecord>(&json).unwrap(), record);
    }

    #[test]
    fn the_stack_is_read_from_rsp_to_where_memory_ends() {
        let registers = Registers { rsp: 0x7000, ..Registers::default() };
        let read = |address: u64, out: &mut [u8]| {
            out.copy_from_slice(&address.to_le_bytes());
            address < 0x7018
        };
        let words: Vec<_> = stack(&registers, read).iter().map(|word| (word.address, word.value)).collect();
        assert_eq!(words, [(0x7000, 0x7000), (0x7008, 0x7008), (0x7010, 0x7010)]);
        assert_eq!(stack(&registers, |_, _| true).len(), STACK_LEN / WORD);
        let registers = Registers { rsp: u64::MAX - 9, ..registers };
        assert_eq!(stack(&registers, |_, _| true).len(), 1);
    }
}
