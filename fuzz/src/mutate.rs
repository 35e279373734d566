//! Inputs, made of valid ones.

use crate::Target;

/// Random numbers: xorshift64*, seeded by SplitMix64. The same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high bits are the better ones; the bias of a 31-bit remainder does not matter here.
        (self.bits() >> 33) as usize % bound.max(1)
    }

    /// An element; `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.bits() >> 56) as u8).collect()
    }
}

/// Numbers at the edges of what code distinguishes.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0xfff,
    0x1000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// Input number `iteration` of a target.
#[must_use]
pub fn input(target: &Target, corpus: &[Vec<u8>], seed: u64, iteration: u64) -> Vec<u8> {
    let name =
        target.name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = Rng::new(name.rotate_left(32) ^ iteration);
    let start = if rng.below(8) == 0 { None } else { rng.pick(corpus) };
    let Some(start) = start else {
        // Short ones are more often valid to some depth than long ones.
        let bits = rng.below(usize::BITS as usize - target.max_len.leading_zeros() as usize + 1);
        let len = rng.below(1 << bits).min(target.max_len);
        return rng.bytes(len);
    };
    let mut input = start.clone();
    for _ in 0..1usize << rng.below(5) {
        mutate(&mut input, corpus, &mut rng);
    }
    input.truncate(target.max_len);
    input
}

/// Changes `input` in one way.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.below(input.len());
    let len = (1 << rng.below(6)).min(input.len() - at);
    match rng.below(10) {
        0 | 1 => {
            let bit = 1u8 << rng.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= bit;
            }
        }
        2 => {
            let value = rng.bytes(1);
            overwrite(input, at, &value);
        }
        3 | 4 => write_edge(input, rng),
        5 => drop(input.drain(at..at + len)),
        6 => input.truncate(at),
        7 => {
            let piece = rng.bytes(len);
            input.splice(at..at, piece);
        }
        8 => {
            let piece: Vec<u8> = input.iter().skip(at).take(len).copied().collect();
            let to = rng.below(input.len());
            input.splice(to..to, piece);
        }
        _ => {
            let other = rng.pick(corpus).map_or(&[][..], Vec::as_slice);
            let from = rng.below(other.len());
            let piece: Vec<u8> = other.iter().skip(from).take(1 << rng.below(8)).copied().collect();
            overwrite(input, at, &piece);
        }
    }
}

/// Puts an edge, or something next to one, where a field of 1, 2, 4 or 8 bytes may be.
fn write_edge(input: &mut [u8], rng: &mut Rng) {
    let width = 1 << rng.below(4);
    let fields = input.len() / width;
    let at = rng.below(fields) * width;
    let edge = rng.pick(&EDGES).copied().unwrap_or(0).wrapping_add(rng.below(3) as u64).wrapping_sub(1);
    if let Some(bytes) = edge.to_le_bytes().get(..width) {
        overwrite(input, at, bytes);
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in input.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
