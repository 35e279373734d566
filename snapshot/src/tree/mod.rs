//! The Merkle tree over a region's pages.
//!
//! A tree has 64 children to a node and page hashes below the last nodes. Its depth follows from the
//! region's page count. Trees are values: a change gives a new tree that shares all nodes off the
//! changed paths with the old one, so that a snapshot's tree costs what changed, and two snapshots are
//! compared by walking only where they differ.
//!
//! * [`node`]: a node, its bytes and its hash;
//! * [`change`]: a tree with some pages changed;
//! * [`compare`]: what differs between two trees, and which nodes a store lacks;
//! * [`load`]: a tree from stored nodes, none of which is believed.

pub mod change;
pub mod compare;
pub mod load;
pub mod node;

use std::ops::Range;
use std::sync::Arc;

use crate::hash::{Domain, Hash, PageHash};
pub use load::NodeSource;
pub use node::{ARITY, NODE_LEN, Node};
use node::{Children, slot};

/// Why a tree could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A page index past the region's end.
    #[error("page {index} was to be changed in a region of {pages} pages; indexes end at the page count")]
    OutOfRange {
        /// The index.
        index: u64,
        /// Pages of the region.
        pages: u64,
    },
    /// Changes that are not in ascending order, or two of one page.
    #[error("the change of page {index} does not come after the one before it; sort changes by index")]
    Unsorted {
        /// The index that comes too late.
        index: u64,
    },
    /// A stored node that is not what its parent says.
    #[error("tree node {hash} {problem}; the snapshot is damaged: restore another one, or import it again")]
    Node {
        /// The hash by which the parent names it.
        hash: Hash,
        /// What is wrong with it.
        problem: String,
    },
}

/// A region's pages as a tree of hashes. Cloning costs one reference count.
#[derive(Clone, Debug)]
pub struct Tree {
    pages: u64,
    root: Option<Arc<Node>>,
}

impl Tree {
    /// The tree over `pages` pages of zeros.
    #[must_use]
    pub fn empty(pages: u64) -> Self {
        Self { pages, root: None }
    }

    /// Pages of the region, zero or not.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Levels of nodes: 1 up to 64 pages, 2 up to 4096, and so on.
    #[must_use]
    pub fn levels(&self) -> u8 {
        levels(self.pages)
    }

    /// The root node's hash; [`Hash::ZERO`] if every page is zero.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root.as_ref().map_or(Hash::ZERO, |node| node.hash())
    }

    /// Pages that are not zero. Costs nothing: every node knows.
    #[must_use]
    pub fn used_pages(&self) -> u64 {
        self.root.as_ref().map_or(0, |node| node.used())
    }

    /// The hash of page `index` of the region; [`PageHash::ZERO`] also past the region's end.
    #[must_use]
    pub fn get(&self, index: u64) -> PageHash {
        if index >= self.pages {
            return PageHash::ZERO;
        }
        let mut node = self.root.as_ref();
        let mut level = self.levels();
        while level > 0 {
            level -= 1;
            let Some(here) = node else { return PageHash::ZERO };
            match here.children() {
                Children::Pages(hashes) => {
                    return hashes.get(slot(index, level)).copied().unwrap_or_default();
                }
                Children::Nodes(nodes) => node = nodes.get(slot(index, level)).and_then(Option::as_ref),
            }
        }
        PageHash::ZERO
    }

    /// Calls `visit` with index and hash of every page in `range` that is not zero, in order.
    pub fn visit(&self, range: Range<u64>, mut visit: impl FnMut(u64, PageHash)) {
        if let Some(root) = &self.root {
            visit_node(root, self.levels() - 1, 0, &range, &mut visit);
        }
    }

    /// Index and hash of every page that is not zero, in order.
    #[must_use]
    pub fn used(&self) -> Vec<(u64, PageHash)> {
        let mut used = Vec::new();
        self.visit(0..self.pages, |index, hash| used.push((index, hash)));
        used
    }
}

/// Levels of a tree over `pages` pages: at least 1, at most 11.
#[must_use]
pub fn levels(pages: u64) -> u8 {
    let mut levels = 1;
    let mut below = pages.div_ceil(ARITY as u64);
    while below > 1 {
        below = below.div_ceil(ARITY as u64);
        levels += 1;
    }
    levels
}

/// The hash that stands for a region: its place as well as its contents.
#[must_use]
pub fn region_root(kind: u32, owner: u32, base: u64, pages: u64, tree_root: Hash) -> Hash {
    let mut bytes = Vec::with_capacity(56);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(owner.to_le_bytes());
    bytes.extend(base.to_le_bytes());
    bytes.extend(pages.to_le_bytes());
    bytes.extend(tree_root.0);
    Domain::Region.hash(&bytes)
}

fn visit_node(node: &Node, level: u8, first: u64, range: &Range<u64>, visit: &mut impl FnMut(u64, PageHash)) {
    let step = node::pages_per_child(level);
    for at in 0..ARITY {
        let index = first.saturating_add(step.saturating_mul(at as u64));
        if index >= range.end {
            break;
        }
        if index.saturating_add(step) <= range.start {
            continue;
        }
        match node.children() {
            Children::Pages(hashes) => {
                if let Some(hash) = hashes.get(at).filter(|hash| !hash.is_zero()) {
                    visit(index, *hash);
                }
            }
            Children::Nodes(nodes) => {
                if let Some(Some(child)) = nodes.get(at) {
                    visit_node(child, level.saturating_sub(1), index, range, visit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_follows_from_the_page_count() {
        let table =
            [(0, 1), (1, 1), (64, 1), (65, 2), (4096, 2), (4097, 3), (1 << 18, 3), ((1 << 18) + 1, 4)];
        for (pages, expected) in table {
            assert_eq!(levels(pages), expected, "{pages} pages");
        }
        assert_eq!(levels(u64::MAX), 11);
    }

    #[test]
    fn a_tree_of_zeros_has_the_zero_root_and_no_pages() {
        let tree = Tree::empty(5000);
        assert!(tree.root().is_zero());
        assert_eq!((tree.used_pages(), tree.used().len()), (0, 0));
        assert!(tree.get(4999).is_zero());
    }

    #[test]
    fn a_region_root_tells_places_apart() {
        let root = Domain::Node.hash(b"root");
        let roots = [
            region_root(1, 0, 0, 1, root),
            region_root(2, 0, 0, 1, root),
            region_root(1, 1, 0, 1, root),
            region_root(1, 0, 4096, 1, root),
            region_root(1, 0, 0, 2, root),
            region_root(1, 0, 0, 1, Hash::ZERO),
        ];
        for (at, one) in roots.iter().enumerate() {
            assert_eq!(roots.iter().position(|other| other == one), Some(at));
        }
    }
}
