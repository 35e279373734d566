//! A snapshot as one stream of bytes, to be kept or sent.
//!
//! ```text
//! "SENTSNAP" | format u32 | length u32 | signed record
//! object*:   kind u8 | encoding u8 | length u32 | bytes
//! end:       0 u8 | objects u64 | BLAKE3 of all bytes before
//! ```
//!
//! The order of objects is fixed: the state; then tree nodes, parents first, region by region as in a
//! queue; then pages, in the order in which nodes first name them. So each object is named by one before
//! it, and a reader knows the hash of every object before its first byte.
//!
//! * [`mod@export`] writes one, [`mod@import`] reads one.

pub mod export;
pub mod import;
pub mod spool;

use std::collections::{HashSet, VecDeque};

pub use export::{ExportError, export};
pub use import::{ImportError, import, read};

use crate::hash::Hash;
use crate::record::Record;
use crate::store::Kind;
use crate::tree::node::Decoded;

/// First bytes of a stream.
pub const MAGIC: &[u8; 8] = b"SENTSNAP";

/// Version of the stream's layout.
pub const FORMAT: u32 = 1;

/// Kind of the end marker.
const END: u8 = 0;

/// Bytes before an object: kind, encoding, length.
const OBJECT_HEADER: usize = 6;

/// Which object comes next: the same for writing and for reading.
struct Order {
    state: Option<Hash>,
    nodes: VecDeque<Hash>,
    pages: VecDeque<Hash>,
    seen: HashSet<Hash>,
}

impl Order {
    fn new(record: &Record) -> Self {
        let mut order = Self {
            state: Some(record.state),
            nodes: VecDeque::new(),
            pages: VecDeque::new(),
            seen: HashSet::new(),
        };
        for region in &record.regions {
            if !region.tree_root.is_zero() && order.seen.insert(region.tree_root) {
                order.nodes.push_back(region.tree_root);
            }
        }
        order
    }

    /// The next object; `None` at the end. What is below a node is to be [added](Self::add) before the
    /// next call.
    fn next(&mut self) -> Option<(Kind, Hash)> {
        if let Some(state) = self.state.take() {
            return Some((Kind::State, state));
        }
        let node = self.nodes.pop_front().map(|hash| (Kind::Node, hash));
        node.or_else(|| self.pages.pop_front().map(|hash| (Kind::Page, hash)))
    }

    /// Adds what is below a node.
    fn add(&mut self, node: &Decoded) {
        let queue = if node.level == 0 { &mut self.pages } else { &mut self.nodes };
        queue.extend(node.used().filter(|hash| self.seen.insert(*hash)));
    }
}
