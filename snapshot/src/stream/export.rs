//! Writing a snapshot as a stream.

use std::io::{self, Write};

use super::{END, FORMAT, MAGIC, Order};
use crate::hash::Hash;
use crate::record::SignedRecord;
use crate::store::{Kind, Store, StoreError, object};
use crate::tree::node::Decoded;

/// Objects for which the index is opened once. Writers of the store wait no longer than they take to read.
const BATCH: usize = 256;

/// Why a stream could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream cannot be written.
    #[error("cannot write the export: {0}")]
    Io(#[from] io::Error),
}

/// Writes a snapshot to `out`. Returns the number of objects.
///
/// # Errors
///
/// [`ExportError`]. What was written is no complete stream then, and no reader takes it.
pub fn export(store: &Store, signed: &SignedRecord, out: impl Write) -> Result<u64, ExportError> {
    let mut out = Hashed { out, hasher: blake3::Hasher::new() };
    let record = signed.encode();
    out.put(MAGIC)?;
    out.put(&FORMAT.to_le_bytes())?;
    out.put(&(record.len() as u32).to_le_bytes())?;
    out.put(&record)?;
    let mut order = Order::new(signed.record());
    let mut count = 0u64;
    let mut batch = Vec::new();
    loop {
        // Read with the index open, written with it closed: a slow reader of the stream holds up nobody.
        let session = store.session()?;
        while batch.len() < BATCH {
            let Some((kind, hash)) = order.next() else { break };
            let bytes = session.object(kind, hash)?;
            if kind == Kind::Node {
                order.add(&decode(hash, &bytes)?);
            }
            batch.push((kind, bytes));
        }
        drop(session);
        if batch.is_empty() {
            break;
        }
        for (kind, bytes) in batch.drain(..) {
            let (encoding, stored) = object::encode(&bytes);
            out.put(&[kind as u8, encoding as u8])?;
            out.put(&(stored.len() as u32).to_le_bytes())?;
            out.put(&stored)?;
            count += 1;
        }
    }
    out.put(&[END])?;
    out.put(&count.to_le_bytes())?;
    let digest = out.hasher.finalize();
    out.out.write_all(digest.as_bytes())?;
    out.out.flush()?;
    Ok(count)
}

fn decode(hash: Hash, bytes: &[u8]) -> Result<Decoded, StoreError> {
    Ok(Decoded::read(hash, bytes)?)
}

struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}
