//! The calls that led to where a guest stopped.
//!
//! The kernel is compiled without frame pointers, as a rule, and carries no tables for unwinding. So there
//! are two ways, and the second only where the first finds nothing:
//!
//! 1. rbp is the first of a chain of frame pointers, if it looks like it: each lies above the frame before
//!    it, and beside it is a return address into a function.
//! 2. Words of the stack that lie in a function may be return addresses, or what is left of them after the
//!    call has returned. They are marked as guesses.
//!
//! A return address is that of the instruction after a call, which may belong to the next function if the
//! call does not return: a function is looked up by the byte before.

use crate::{Registers, SymbolTable};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Most frames of a backtrace.
pub const MAX_FRAMES: usize = 64;
/// How much of the stack is searched for return addresses, in bytes.
pub const MAX_SCAN: u64 = 16 << 10;
/// Bytes of a word of the stack.
const WORD: u64 = 8;

/// A call that has not returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Frame {
    /// Where it is: the instruction pointer, then return addresses.
    pub address: u64,
    /// The function's name, if it is one of the kernel's. Compiled WebAssembly has none.
    pub function: Option<String>,
    /// Bytes from the function's start; 0 without one.
    pub offset: u64,
    /// Whether it was found by searching the stack: the call may have returned long ago.
    pub guess: bool,
}

impl Frame {
    /// The frame of an instruction pointer.
    fn at(address: u64, symbols: &SymbolTable) -> Self {
        let (function, offset) = symbols.find(address).unzip();
        Self { address, function: function.map(str::to_owned), offset: offset.unwrap_or(0), guess: false }
    }

    /// The frame of a return address, if it is one into a function.
    fn returning_to(address: u64, symbols: &SymbolTable, guess: bool) -> Option<Self> {
        let (function, offset) = symbols.find(address.checked_sub(1)?)?;
        Some(Self { address, function: Some(function.to_owned()), offset: offset + 1, guess })
    }
}

/// The frame's place as people read it: `? gate::gate+0x12`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.guess {
            f.write_str("? ")?;
        }
        match &self.function {
            Some(function) => write!(f, "{}+{:#x}", crate::printable::Line(function), self.offset),
            None => f.write_str("(no function of the kernel)"),
        }
    }
}

/// Frames of a guest that has stopped, the innermost first: at least one, at most [`MAX_FRAMES`].
///
/// `read` fills a buffer from the guest's memory at a virtual address, and says whether all of it is there.
/// It is asked for less than [`MAX_SCAN`] bytes, a word or two at a time.
pub fn frames(
    registers: &Registers,
    symbols: &SymbolTable,
    read: impl Fn(u64, &mut [u8]) -> bool,
) -> Vec<Frame> {
    let mut frames = vec![Frame::at(registers.rip, symbols)];
    let stack = Stack { read, symbols };
    frames.extend(stack.chain(registers).take(MAX_FRAMES - 1));
    if frames.len() == 1 {
        frames.extend(stack.scan(registers.rsp).take(MAX_FRAMES - 1));
    }
    frames
}

/// The guest's stack, and the functions that words of it may point into.
struct Stack<'a, R> {
    read: R,
    symbols: &'a SymbolTable,
}

impl<R: Fn(u64, &mut [u8]) -> bool> Stack<'_, R> {
    /// Frames by the chain of frame pointers, as far as it looks sound. It ends, since each frame, a pointer
    /// and a return address, lies above the one before it; the caller takes only so many.
    fn chain(&self, registers: &Registers) -> impl Iterator<Item = Frame> {
        let (mut lowest, mut pointer) = (registers.rsp, registers.rbp);
        std::iter::from_fn(move || {
            if pointer < lowest || !pointer.is_multiple_of(WORD) {
                return None;
            }
            let next = self.word(pointer)?;
            let address = self.word(pointer.checked_add(WORD)?)?;
            (lowest, pointer) = (pointer.checked_add(2 * WORD)?, next);
            Frame::returning_to(address, self.symbols, false)
        })
    }

    /// Frames that words from `rsp` on may be of. One that points to a function's first byte was not left
    /// there by a call, but is a pointer to the function.
    fn scan(&self, rsp: u64) -> impl Iterator<Item = Frame> {
        let start = rsp.checked_next_multiple_of(WORD);
        (0..MAX_SCAN / WORD)
            .map_while(move |index| self.word(start?.checked_add(index * WORD)?))
            .filter(|word| self.symbols.find(*word).is_none_or(|(_, offset)| offset > 0))
            .filter_map(|word| Frame::returning_to(word, self.symbols, true))
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; WORD as usize];
        address.checked_add(WORD - 1)?;
        (self.read)(address, &mut word).then(|| u64::from_le_bytes(word))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::symbols::Function;
    use std::cell::Cell;

    const STACK: u64 = 0x7000;

    fn symbols() -> SymbolTable {
        let functions = [(0x1000..0x1100, "inner"), (0x1100..0x1200, "middle"), (0x1200..0x1300, "outer")];
        let functions = functions.iter().map(|(range, name)| Function { range: range.clone(), name });
        SymbolTable::of_functions(functions).unwrap()
    }

    /// Reads these words from [`STACK`] on.
    fn memory(words: &[u64]) -> impl Fn(u64, &mut [u8]) -> bool {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        move |address, out| {
            let at = address.checked_sub(STACK).and_then(|at| usize::try_from(at).ok());
            let found = at.and_then(|at| bytes.get(at..at.checked_add(out.len())?));
            found.map(|found| out.copy_from_slice(found)).is_some()
        }
    }

    fn registers(rbp: u64) -> Registers {
        Registers { rip: 0x1010, rsp: STACK, rbp, ..Registers::default() }
    }

    fn shown(frames: &[Frame]) -> Vec<String> {
        frames.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_chain_of_frame_pointers_is_followed() {
        let read = memory(&[0x1280, STACK + 32, 0x1105, 0x55, 0, 0x9999]);
        let found = frames(&registers(STACK + 8), &symbols(), read);
        assert_eq!(shown(&found), ["inner+0x10", "middle+0x5"]);
        let read = memory(&[0x1280, STACK + 32, 0x1105, 0x55, 0, 0x1210]);
        let found = frames(&registers(STACK + 8), &symbols(), read);
        assert_eq!(shown(&found), ["inner+0x10", "middle+0x5", "outer+0x10"]);
    }

    #[test]
    fn without_a_chain_the_stack_is_searched_and_what_is_found_is_a_guess() {
        let read = memory(&[7, 0x1105, 0x9999, 0x1210]);
        let found = frames(&registers(0x1234_5678), &symbols(), read);
        assert_eq!(shown(&found), ["inner+0x10", "? middle+0x5", "? outer+0x10"]);
        assert!(!found[0].guess && found[1].guess);
    }

    #[test]
    fn a_call_that_does_not_return_belongs_to_the_function_before() {
        let read = memory(&[0, STACK + 32, 0x1200, 0, 0, 0x1300]);
        let found = frames(&registers(STACK + 8), &symbols(), read);
        assert_eq!(shown(&found), ["inner+0x10", "middle+0x100", "outer+0x100"]);
    }

    #[test]
    fn a_pointer_to_a_function_is_not_taken_for_a_call() {
        let found = frames(&registers(0), &symbols(), memory(&[0x1100, 0x1200, 0x1001]));
        assert_eq!(shown(&found), ["inner+0x10", "? inner+0x1"]);
    }

    #[test]
    fn an_address_in_no_function_is_said_to_be_in_none() {
        let somewhere = Registers { rip: 0x4_0000_0000, rsp: STACK, ..Registers::default() };
        let found = frames(&somewhere, &symbols(), memory(&[]));
        assert_eq!(shown(&found), ["(no function of the kernel)"]);
        assert_eq!(found[0].offset, 0);
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        for next in [STACK + 8, STACK + 16, STACK, 0, STACK + 9] {
            let found = frames(&registers(STACK + 8), &symbols(), memory(&[0, next, 0x1105]));
            assert_eq!(shown(&found), ["inner+0x10", "middle+0x5"], "{next:#x}");
        }
    }

    #[test]
    fn a_function_without_variables_of_its_own_has_its_frame_at_rsp() {
        let found = frames(&registers(STACK), &symbols(), memory(&[0, 0x1105]));
        assert_eq!(shown(&found), ["inner+0x10", "middle+0x5"]);
    }

    #[test]
    fn no_stack_gives_more_frames_than_the_limit() {
        let endless = |address: u64, out: &mut [u8]| {
            // A frame at every other word, each of which leads to the next.
            let word = if address.is_multiple_of(16) { address + 16 } else { 0x1105 };
            out.copy_from_slice(&word.to_le_bytes());
            true
        };
        let found = frames(&registers(STACK + 16), &symbols(), endless);
        assert_eq!(found.len(), MAX_FRAMES);
        assert!(found.iter().all(|frame| !frame.guess));
        let found = frames(&registers(1), &symbols(), endless);
        assert_eq!(found.len(), MAX_FRAMES);
    }

    #[test]
    fn no_more_of_the_stack_is_read_than_the_limit() {
        let read = Cell::new(0);
        let count = |_: u64, out: &mut [u8]| {
            read.set(read.get() + out.len() as u64);
            true
        };
        assert_eq!(frames(&registers(0), &symbols(), count).len(), 1);
        assert_eq!(read.get(), MAX_SCAN);
    }

    #[test]
    fn registers_at_the_end_of_all_addresses_overflow_nothing() {
        for rsp in [u64::MAX, u64::MAX - 7, u64::MAX - 8, u64::MAX - 16] {
            for rbp in [u64::MAX, u64::MAX - 7, u64::MAX - 15] {
                let at_end = Registers { rip: u64::MAX, rsp, rbp, ..Registers::default() };
                let found = frames(&at_end, &symbols(), |_, out| {
                    out.fill(0xff);
                    true
                });
                assert_eq!(found.len(), 1);
            }
        }
    }
}
