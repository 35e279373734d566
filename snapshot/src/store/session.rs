//! One look at the index: trees, states and places of pages, all as they are at one moment.

use std::cell::RefCell;
use std::collections::hash_map::Entry::Vacant;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::index::ReadIndex;
use super::object::Kind;
use super::reader::{Packs, Reader};
use super::{Entry, StoreError};
use crate::hash::{Hash, PageHash};
use crate::tree::node::Decoded;
use crate::tree::{NodeSource, Tree, TreeError};

/// The index, open for reading. Writers wait while it lives: load the trees, locate the pages, drop it,
/// and then read. A thread that writes to the store while it has one waits for itself.
pub struct Session {
    index: ReadIndex,
    packs: RefCell<Packs>,
}

impl Session {
    pub(super) fn new(index: ReadIndex, packs: &Path) -> Self {
        Self { index, packs: RefCell::new(Packs::new(packs)) }
    }

    /// The tree with a root, every node checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] and [`StoreError::Damaged`] by the node, [`StoreError::Tree`] if the tree
    /// is none over `pages` pages.
    pub fn load_tree(&self, pages: u64, root: Hash) -> Result<Tree, StoreError> {
        Tree::load(pages, root, &mut Nodes(self)).map_err(|error| match error {
            // Read by itself, a damaged node says in which pack it lies.
            StoreError::Tree(TreeError::Node { hash, .. }) => {
                self.object(Kind::Node, hash).err().unwrap_or(error)
            }
            other => other,
        })
    }

    /// A tree node, checked, of the level that its place demands.
    pub(crate) fn node(&self, hash: Hash, level: u8) -> Result<Decoded, StoreError> {
        let entry = self.place(Kind::Node, hash)?;
        let bytes = self.packs.borrow_mut().read_unchecked(hash, &entry)?;
        // Read by itself, a damaged node says in which pack it lies.
        let node = Decoded::read(hash, &bytes)
            .map_err(|error| self.object(Kind::Node, hash).err().unwrap_or(error.into()))?;
        if node.level == level {
            return Ok(node);
        }
        let problem = format!("says level {} at a place of level {level}", node.level);
        Err(TreeError::Node { hash, problem }.into())
    }

    /// An object of a snapshot, checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] and [`StoreError::Damaged`].
    pub fn object(&self, kind: Kind, hash: Hash) -> Result<Vec<u8>, StoreError> {
        let entry = self.place(kind, hash)?;
        self.packs.borrow_mut().read(hash, &entry)
    }

    /// Where an object lies, if it is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`].
    pub fn entry(&self, kind: Kind, hash: Hash) -> Result<Option<Entry>, StoreError> {
        self.index.get(kind, hash)
    }

    /// Looks up pages, and opens the packs they lie in. Zero pages are left out, and each page is
    /// looked up once.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] by the first page that is not stored, [`StoreError::Io`] if its pack
    /// cannot be opened.
    pub fn locate(&self, hashes: impl IntoIterator<Item = PageHash>) -> Result<Reader, StoreError> {
        let wanted: HashSet<PageHash> = hashes.into_iter().filter(|hash| !hash.is_zero()).collect();
        // In the index's order, in which neighbours share its pages.
        let mut wanted: Vec<PageHash> = wanted.into_iter().collect();
        wanted.sort_unstable();
        let mut pages = Vec::with_capacity(wanted.len());
        for hash in wanted {
            pages.push((hash, self.place(Kind::Page, hash)?));
        }
        let mut files = HashMap::new();
        let mut packs = self.packs.borrow_mut();
        for (_, entry) in &pages {
            if let Vacant(place) = files.entry(entry.pack) {
                place.insert(packs.file(entry.pack)?);
            }
        }
        Ok(Reader::new(files, pages))
    }

    fn place(&self, kind: Kind, hash: Hash) -> Result<Entry, StoreError> {
        self.index.get(kind, hash)?.ok_or(StoreError::Missing { kind, hash })
    }
}

struct Nodes<'a>(&'a Session);

impl NodeSource for Nodes<'_> {
    type Error = StoreError;

    fn nodes(&mut self, hashes: &[Hash]) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut packs = self.0.packs.borrow_mut();
        let mut nodes = Vec::with_capacity(hashes.len());
        for hash in hashes {
            // Compared with its hash by the tree that asks for it; once is enough.
            let bytes = packs.read_unchecked(*hash, &self.0.place(Kind::Node, *hash)?)?;
            nodes.push(bytes);
        }
        Ok(nodes)
    }
}
