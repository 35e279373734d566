//! The rule by which lines of a campaign's counters are bound to each other, as `rule.wat` has it.

/// Cells of the table.
const CELLS: usize = 8192;

/// Bytes of a line: number and hash, both of 16 hexadecimal digits, and what is between and behind them.
pub const LINE: usize = 34;

/// What number has to come with which hash.
pub struct Rule {
    /// The hash of each number, from 0 on, as far as they were needed.
    hashes: Vec<u64>,
    cells: Vec<u64>,
}

impl Rule {
    pub fn new() -> Self {
        Self { hashes: vec![0], cells: vec![0; CELLS] }
    }

    /// What number `number` has to come with.
    pub fn hash(&mut self, number: u64) -> u64 {
        while self.hashes.len() as u64 <= number {
            let next = self.hashes.len() as u64;
            let before = self.hashes.last().copied().unwrap_or(0);
            let Some(cell) = self.cells.get_mut(next as usize % CELLS) else { return 0 };
            let mixed = (before ^ *cell ^ next).rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *cell = mixed.wrapping_add(next);
            self.hashes.push(*cell);
        }
        self.hashes.get(number as usize).copied().unwrap_or(0)
    }

    /// The line of a number.
    pub fn line(&mut self, number: u64) -> String {
        format!("{number:016x} {:016x}\n", self.hash(number))
    }
}
