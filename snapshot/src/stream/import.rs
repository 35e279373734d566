//! Reading a snapshot from a stream that anybody may have made.

use std::io::{self, Read};

use super::spool::{InFile, Spool};
use super::{END, FORMAT, MAGIC, OBJECT_HEADER, Order};
use crate::capture::stored;
use crate::hash::Hash;
use crate::page::PAGE_SIZE;
use crate::record::signed::MAX_SIGNED;
use crate::record::{Record, RecordError, SignedRecord, Trust};
use crate::store::add::Added;
use crate::store::{Encoding, Kind, Store, StoreError, object};
use crate::tree::node::Decoded;
use crate::tree::{NODE_LEN, NodeSource, Tree, TreeError};

/// Bytes by which room grows for an object whose length only the stream gives.
const STEP: usize = 1 << 20;

/// Why a stream was refused. Nothing of it is visible in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read, or ends early.
    #[error("cannot read the export {at}: {source}; it may be cut short: take another copy")]
    Io {
        /// Where in it.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no snapshot export: it does not begin with SENTSNAP")]
    Magic,
    /// Written by a build with another layout.
    #[error(
        "the export has format {found} and this build reads {FORMAT}; use a build that reads format {found}"
    )]
    Version {
        /// The format found.
        found: u32,
    },
    /// The record is refused.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Lengths, counts and order that no export has.
    #[error("the export {problem}; it is damaged: take another copy")]
    Stream {
        /// What is wrong.
        problem: String,
    },
    /// An object that is not the one that comes here.
    #[error("object {number} of the export, {kind} {hash}, {problem}; it is damaged: take another copy")]
    Object {
        /// Objects before it.
        number: u64,
        /// What comes here.
        kind: Kind,
        /// Its hash.
        hash: Hash,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be stored, or its trees are none.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TreeError> for ImportError {
    fn from(error: TreeError) -> Self {
        Self::Store(error.into())
    }
}

/// Reads a snapshot into a store, where machine `holder` holds on to it: that one's timeline is to have it,
/// whichever machine it was taken of. Objects of it that the store has, damaged, are mended. The caller puts the record into a timeline afterwards.
///
/// # Errors
///
/// [`ImportError`]. The store is as it was before.
pub fn import(
    store: &Store,
    holder: [u8; 16],
    trust: &Trust,
    stream: impl Read,
) -> Result<(SignedRecord, Added), ImportError> {
    let mut spool = InFile::new(store.scratch()?);
    let signed = read(stream, trust, &mut spool)?;
    let mut new = stored(signed.record(), signed.id());
    new.root.machine = holder;
    // Whoever imports what is there already has good copies of what may be damaged here.
    store.mend(&new, &mut spool)?;
    let added = store.add(&new, &mut spool)?;
    Ok((signed, added))
}

/// Reads a stream to its end and checks all of it; its objects are in `spool` afterwards. Takes any
/// bytes: it never panics, and allocates no more than 64 MiB beyond what it has read.
///
/// # Errors
///
/// [`ImportError`].
pub fn read(stream: impl Read, trust: &Trust, spool: &mut impl Spool) -> Result<SignedRecord, ImportError> {
    let mut stream = Hashed { stream, hasher: blake3::Hasher::new() };
    let magic: [u8; 8] = stream.array("at its beginning")?;
    if &magic != MAGIC {
        return Err(ImportError::Magic);
    }
    let found = u32::from_le_bytes(stream.array("at its format")?);
    if found != FORMAT {
        return Err(ImportError::Version { found });
    }
    let len = u32::from_le_bytes(stream.array("at the record's length")?) as usize;
    if len > MAX_SIGNED {
        return Err(damaged(format!("has a record of {len} bytes, more than {MAX_SIGNED}")));
    }
    let signed = SignedRecord::decode(&stream.bytes(len, "in its record")?, trust)?;
    let record = signed.record();
    let mut order = Order::new(record);
    let mut count = 0u64;
    let mut room = Vec::new();
    while let Some((kind, hash)) = order.next() {
        let len = match kind {
            // Bounded by the record's rules.
            Kind::State => record.state_len as usize,
            Kind::Node => NODE_LEN,
            Kind::Page => PAGE_SIZE,
        };
        stream.object(count, kind, hash, len, &mut room)?;
        if kind == Kind::Node {
            order.add(&Decoded::read(hash, &room)?);
        }
        spool.put(kind, hash, &room)?;
        count += 1;
    }
    stream.end(count)?;
    check_trees(record, spool)?;
    Ok(signed)
}

/// The trees have the shape that the record's regions give them.
fn check_trees(record: &Record, spool: &mut impl Spool) -> Result<(), ImportError> {
    let mut used = 0u64;
    for region in &record.regions {
        let tree = Tree::load(region.pages, region.tree_root, &mut Nodes(spool))?;
        used = used.saturating_add(tree.used_pages());
    }
    if used == record.used_pages {
        return Ok(());
    }
    Err(damaged(format!("has {used} used pages where its record says {}", record.used_pages)))
}

struct Nodes<'a, S>(&'a mut S);

impl<S: Spool> NodeSource for Nodes<'_, S> {
    type Error = ImportError;

    fn nodes(&mut self, hashes: &[Hash]) -> Result<Vec<Vec<u8>>, ImportError> {
        let mut nodes = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let node = self.0.object(Kind::Node, *hash)?;
            let node = node.ok_or(StoreError::Missing { kind: Kind::Node, hash: *hash })?;
            nodes.push(node.into_owned());
        }
        Ok(nodes)
    }
}

fn damaged(problem: String) -> ImportError {
    ImportError::Stream { problem }
}

struct Hashed<R> {
    stream: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashed<R> {
    fn fill(&mut self, room: &mut [u8], at: &str) -> Result<(), ImportError> {
        self.stream.read_exact(room).map_err(|source| ImportError::Io { at: at.to_owned(), source })?;
        self.hasher.update(room);
        Ok(())
    }

    fn array<const N: usize>(&mut self, at: &str) -> Result<[u8; N], ImportError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, at)?;
        Ok(bytes)
    }

    /// `len` bytes, with room made only as they come.
    fn bytes(&mut self, len: usize, at: &str) -> Result<Vec<u8>, ImportError> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let before = bytes.len();
            bytes.resize(len.min(before + STEP), 0);
            self.fill(bytes.get_mut(before..).unwrap_or_default(), at)?;
        }
        Ok(bytes)
    }

    /// The next object, checked, in `room`.
    fn object(
        &mut self,
        number: u64,
        kind: Kind,
        hash: Hash,
        len: usize,
        room: &mut Vec<u8>,
    ) -> Result<(), ImportError> {
        let refused = |problem: String| ImportError::Object { number, kind, hash, problem };
        let at = format!("at object {number}, {kind} {hash}");
        let header: [u8; OBJECT_HEADER] = self.array(&at)?;
        let [found, encoding, length @ ..] = header;
        if found != kind as u8 {
            return Err(refused(format!("is missing: an object of kind {found} is in its place")));
        }
        let encoding =
            Encoding::from_u8(encoding).ok_or_else(|| refused(format!("has encoding {encoding}")))?;
        let stored = u32::from_le_bytes(length) as usize;
        let fits = match encoding {
            Encoding::Raw => stored == len,
            Encoding::Lz4 => stored < len,
        };
        if !fits {
            return Err(refused(format!(
                "has {stored} bytes as {encoding:?}, where {len} are to come of it"
            )));
        }
        let stored = self.bytes(stored, &at)?;
        room.clear();
        room.resize(len, 0);
        object::decode_into(encoding, &stored, room)
            .and_then(|()| object::check(kind, hash, room))
            .map_err(refused)
    }

    fn end(mut self, count: u64) -> Result<(), ImportError> {
        let [marker] = self.array("at its end marker")?;
        if marker != END {
            return Err(damaged(format!(
                "has an object of kind {marker} that nothing names, after {count} others"
            )));
        }
        let found = u64::from_le_bytes(self.array("at its end marker")?);
        if found != count {
            return Err(damaged(format!("says it has {found} objects and has {count}")));
        }
        let expected = self.hasher.finalize();
        let found: [u8; 32] = self.array("at its digest")?;
        if expected != blake3::Hash::from_bytes(found) {
            return Err(damaged(format!("has the digest {expected} and says it has another")));
        }
        let mut more = [0];
        loop {
            match self.stream.read(&mut more) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(damaged("goes on after its end".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ImportError::Io { at: "after its end".to_owned(), source }),
            }
        }
    }
}
