//! Where objects of a stream wait until all of it has been read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::hash::Hash;
use crate::store::{Kind, Objects, StoreError};

/// A place for objects that have been checked.
pub trait Spool: Objects {
    /// Keeps an object.
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    fn put(&mut self, kind: Kind, hash: Hash, bytes: &[u8]) -> Result<(), StoreError>;
}

/// Keeps objects in memory: for streams that are known to be small.
#[derive(Debug, Default)]
pub struct InMemory(HashMap<Hash, (Kind, Vec<u8>)>);

impl Spool for InMemory {
    fn put(&mut self, kind: Kind, hash: Hash, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.insert(hash, (kind, bytes.to_owned()));
        Ok(())
    }
}

impl Objects for InMemory {
    fn object(&mut self, kind: Kind, hash: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let found = self.0.get(&hash).filter(|(found, _)| *found == kind);
        Ok(found.map(|(_, bytes)| Cow::Borrowed(bytes.as_slice())))
    }
}

/// Keeps objects in a file without a name, and 56 bytes of memory for each.
#[derive(Debug)]
pub struct InFile {
    file: File,
    end: u64,
    places: HashMap<Hash, (Kind, u64, usize)>,
}

impl InFile {
    /// Keeps objects in an empty file.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self { file, end: 0, places: HashMap::new() }
    }
}

impl Spool for InFile {
    fn put(&mut self, kind: Kind, hash: Hash, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, self.end).map_err(refused("write"))?;
        self.places.insert(hash, (kind, self.end, bytes.len()));
        self.end += bytes.len() as u64;
        Ok(())
    }
}

impl Objects for InFile {
    fn object(&mut self, kind: Kind, hash: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some((_, at, len)) = self.places.get(&hash).filter(|(found, ..)| *found == kind) else {
            return Ok(None);
        };
        let mut bytes = vec![0; *len];
        self.file.read_exact_at(&mut bytes, *at).map_err(refused("read"))?;
        Ok(Some(Cow::Owned(bytes)))
    }
}

fn refused(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    StoreError::io(what, Path::new("the import's temporary file"))
}
