//! The head of a checkpoint on a disk, as bytes: one page, all numbers little-endian.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use sentient_abi::bytes::{read_u64, write_u64};

/// What is hashed by: BLAKE2b (RFC 7693) of 32 bytes, because all there is of BLAKE3 uses SSE on x86-64, which ring 0 does not.
pub type Hasher = Blake2b<U32>;

/// First field; the last two bytes are the version of all this.
const MAGIC: u64 = u64::from_le_bytes(*b"SENTKP\x01\x00");
/// Pages that a list has room for, behind their number.
pub const LIST_LEN: usize = 511;

/// Offsets of the fields that are no numbers, and of the digest of all before it.
const MEASURED_AT: usize = 64;
const BODY_AT: usize = 96;
const DIGEST_AT: usize = 128;

/// The head.
#[derive(Clone, Copy)]
pub struct Head {
    /// Number of the checkpoint: each has a higher one than all before it.
    pub sequence: u64,
    /// Where ring 3 goes on, its stack pointer there, and where its request was.
    pub rip: u64,
    pub rsp: u64,
    pub request: u64,
    /// Pages, without lists and the table.
    pub pages: u64,
    /// What it belongs to.
    pub measured: [u8; 32],
    /// The hash of all that follows the head.
    pub body: [u8; 32],
}

impl Head {
    /// Writes it.
    pub fn encode(&self, page: &mut [u8; 4096]) -> Option<()> {
        page.fill(0);
        let numbers = [MAGIC, self.sequence, self.rip, self.rsp, self.request, self.pages];
        for (at, number) in (0..).step_by(8).zip(numbers) {
            write_u64(page, at, number)?;
        }
        page.get_mut(MEASURED_AT..BODY_AT)?.copy_from_slice(&self.measured);
        page.get_mut(BODY_AT..DIGEST_AT)?.copy_from_slice(&self.body);
        let digest = digest(page)?;
        page.get_mut(DIGEST_AT..)?.first_chunk_mut::<32>()?.copy_from_slice(&digest);
        Some(())
    }

    /// Reads it; `None` if it is none, or not whole.
    pub fn decode(page: &[u8; 4096]) -> Option<Self> {
        let number = |place: usize| read_u64(page, 8 * place);
        let own = page.get(DIGEST_AT..)?.first_chunk::<32>()?;
        if number(0)? != MAGIC || *own != digest(page)? {
            return None;
        }
        Some(Self {
            sequence: number(1)?,
            rip: number(2)?,
            rsp: number(3)?,
            request: number(4)?,
            pages: number(5)?,
            measured: *page.get(MEASURED_AT..)?.first_chunk()?,
            body: *page.get(BODY_AT..)?.first_chunk()?,
        })
    }
}

fn digest(page: &[u8; 4096]) -> Option<[u8; 32]> {
    Some(Hasher::digest(page.get(..DIGEST_AT)?).into())
}
