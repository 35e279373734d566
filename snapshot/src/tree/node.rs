//! One node of a tree: its children, its bytes, its hash.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;

use super::TreeError;
use crate::hash::{Domain, Hash, PageHash};

/// Children of a node.
pub const ARITY: usize = 64;

/// Bits of a page index that choose a child.
const BITS: u32 = ARITY.trailing_zeros();

/// Bytes of an encoded node: the level, then the children's hashes.
pub const NODE_LEN: usize = 1 + ARITY * 32;

/// A node. It never changes, and at least one page below it is not zero.
#[derive(Debug)]
pub struct Node {
    hash: Hash,
    used: u64,
    children: Children,
}

/// What lies below a node.
#[derive(Debug)]
pub enum Children {
    /// Of a node of level 0: hashes of pages.
    Pages(Box<[PageHash; ARITY]>),
    /// Of any other: nodes of the level below; `None` over nothing but zeros.
    Nodes(Box<[Option<Arc<Node>>; ARITY]>),
}

impl Node {
    /// A node over pages; `None` if all are zero.
    #[must_use]
    pub fn of_pages(hashes: Box<[PageHash; ARITY]>) -> Option<Self> {
        let used = hashes.iter().filter(|hash| !hash.is_zero()).count() as u64;
        let hash = Domain::Node.hash(&encode(0, hashes.iter().copied()));
        (used > 0).then_some(Self { hash, used, children: Children::Pages(hashes) })
    }

    /// A node of `level` (at least 1) over nodes of the level below; `None` if there is none.
    #[must_use]
    pub fn of_nodes(level: u8, nodes: Box<[Option<Arc<Self>>; ARITY]>) -> Option<Self> {
        // Saturating, for trees that name one node many times over; `load` bounds what comes from files.
        let used = nodes.iter().flatten().fold(0u64, |sum, node| sum.saturating_add(node.used));
        let hash = Domain::Node.hash(&encode(level, nodes.iter().map(child_hash)));
        (used > 0).then_some(Self { hash, used, children: Children::Nodes(nodes) })
    }

    /// The node that `decoded` was read as, by its hash. `below` has the nodes of the level below it;
    /// `None` if it lacks one.
    pub(super) fn of_decoded(hash: Hash, decoded: Decoded, below: &HashMap<Hash, Arc<Self>>) -> Option<Self> {
        if decoded.level == 0 {
            let used = decoded.used().count() as u64;
            return Some(Self { hash, used, children: Children::Pages(decoded.children) });
        }
        let mut used = 0u64;
        let mut nodes = Box::new(array::from_fn(|_| None));
        for (node, child) in nodes.iter_mut().zip(&*decoded.children).filter(|(_, child)| !child.is_zero()) {
            let child = below.get(child)?;
            used = used.saturating_add(child.used);
            *node = Some(Arc::clone(child));
        }
        Some(Self { hash, used, children: Children::Nodes(nodes) })
    }

    /// The node's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Pages below it that are not zero.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// What lies below it.
    #[must_use]
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// The bytes that are hashed and stored. `level` is that of the node: 0 over pages.
    #[must_use]
    pub fn encode(&self, level: u8) -> Vec<u8> {
        match &self.children {
            Children::Pages(hashes) => encode(level, hashes.iter().copied()),
            Children::Nodes(nodes) => encode(level, nodes.iter().map(child_hash)),
        }
    }
}

/// A node's bytes taken apart, and found to be what `hash` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// 0 over pages.
    pub level: u8,
    /// Hashes of the children; [`Hash::ZERO`] over nothing but zeros.
    pub children: Box<[Hash; ARITY]>,
}

impl Decoded {
    /// Takes apart the bytes of the node that is named `hash`.
    ///
    /// # Errors
    ///
    /// [`TreeError::Node`] if length or hash are not those of the node, or if it has no children.
    pub fn read(hash: Hash, bytes: &[u8]) -> Result<Self, TreeError> {
        let found = Domain::Node.hash(bytes);
        if found != hash {
            return Err(TreeError::Node { hash, problem: format!("has contents with the hash {found}") });
        }
        let (NODE_LEN, Some((level, rest))) = (bytes.len(), bytes.split_first()) else {
            let problem = format!("has {} bytes instead of {NODE_LEN}", bytes.len());
            return Err(TreeError::Node { hash, problem });
        };
        let mut children = Box::new([Hash::ZERO; ARITY]);
        for (child, bytes) in children.iter_mut().zip(rest.chunks_exact(32)) {
            child.0.copy_from_slice(bytes);
        }
        if children.iter().all(Hash::is_zero) {
            let problem = "has no children: such a node is never stored".to_owned();
            return Err(TreeError::Node { hash, problem });
        }
        Ok(Self { level: *level, children })
    }

    /// The children that are not zero; one that is named twice comes twice.
    pub fn used(&self) -> impl Iterator<Item = Hash> + '_ {
        self.children.iter().copied().filter(|child| !child.is_zero())
    }
}

/// The child of a node of `level` below which page `index` lies.
pub(crate) fn slot(index: u64, level: u8) -> usize {
    (index.checked_shr(u32::from(level) * BITS).unwrap_or(0) % ARITY as u64) as usize
}

/// Pages below one child of a node of `level`; saturates.
pub(crate) fn pages_per_child(level: u8) -> u64 {
    let shift = u32::from(level) * BITS;
    if shift < u64::BITS { 1 << shift } else { u64::MAX }
}

fn child_hash(child: &Option<Arc<Node>>) -> Hash {
    child.as_ref().map_or(Hash::ZERO, |node| node.hash)
}

fn encode(level: u8, hashes: impl Iterator<Item = Hash>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NODE_LEN);
    bytes.push(level);
    for hash in hashes {
        bytes.extend(hash.0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back_and_one_flipped_bit_is_noticed() -> Result<(), TreeError> {
        let mut hashes = Box::new([Hash::ZERO; ARITY]);
        hashes[3] = Domain::Page.hash(b"three");
        let Some(node) = Node::of_pages(hashes.clone()) else { unreachable!("one page is not zero") };
        let mut bytes = node.encode(0);
        assert_eq!(bytes.len(), NODE_LEN);
        let decoded = Decoded::read(node.hash(), &bytes)?;
        assert_eq!((decoded.level, &decoded.children), (0, &hashes));
        assert_eq!(decoded.used().count(), 1);
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(Decoded::read(node.hash(), &bytes).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        Ok(())
    }

    #[test]
    fn nodes_of_other_lengths_and_without_children_are_refused() {
        for len in [0, 1, 33, NODE_LEN - 1, NODE_LEN + 1] {
            let bytes = vec![1; len];
            assert!(Decoded::read(Domain::Node.hash(&bytes), &bytes).is_err(), "{len} bytes");
        }
        let bytes = vec![0; NODE_LEN];
        assert!(Decoded::read(Domain::Node.hash(&bytes), &bytes).is_err());
        assert!(Node::of_pages(Box::new([Hash::ZERO; ARITY])).is_none());
    }
}
