//! A tree with some pages changed.

use std::array;
use std::sync::Arc;

use super::node::{ARITY, Children, Node, slot};
use super::{Tree, TreeError};
use crate::hash::PageHash;

impl Tree {
    /// This tree with the given pages changed: (index, new hash), ascending. Nodes without a change
    /// below them are shared; so is the whole tree if nothing really changes. Costs one node a level
    /// for every 64 neighbours.
    ///
    /// # Errors
    ///
    /// [`TreeError::OutOfRange`] and [`TreeError::Unsorted`], by the first index that is wrong.
    pub fn set_many(&self, changes: &[(u64, PageHash)]) -> Result<Self, TreeError> {
        let mut last = None;
        for (index, _) in changes {
            if *index >= self.pages {
                return Err(TreeError::OutOfRange { index: *index, pages: self.pages });
            }
            if last.is_some_and(|last| last >= *index) {
                return Err(TreeError::Unsorted { index: *index });
            }
            last = Some(*index);
        }
        let root = changed(self.root.as_ref(), self.levels() - 1, changes);
        Ok(Self { pages: self.pages, root })
    }
}

/// The node of `level` that was `old`, with `changes`, all of which lie below it.
fn changed(old: Option<&Arc<Node>>, level: u8, changes: &[(u64, PageHash)]) -> Option<Arc<Node>> {
    if changes.is_empty() {
        return old.cloned();
    }
    if level == 0 {
        let before = match old.map(|node| node.children()) {
            Some(Children::Pages(hashes)) => **hashes,
            _ => [PageHash::ZERO; ARITY],
        };
        let mut after = Box::new(before);
        for (index, hash) in changes {
            if let Some(child) = after.get_mut(slot(*index, 0)) {
                *child = *hash;
            }
        }
        if *after == before {
            return old.cloned();
        }
        return Node::of_pages(after).map(Arc::new);
    }
    let mut nodes = match old.map(|node| node.children()) {
        Some(Children::Nodes(nodes)) => nodes.clone(),
        _ => Box::new(array::from_fn(|_| None)),
    };
    let mut same = true;
    for below in changes.chunk_by(|one, next| slot(one.0, level) == slot(next.0, level)) {
        let Some(child) = below.first().and_then(|(index, _)| nodes.get_mut(slot(*index, level))) else {
            continue;
        };
        let after = changed(child.as_ref(), level - 1, below);
        same &= after.as_ref().map(|node| node.hash()) == child.as_ref().map(|node| node.hash());
        *child = after;
    }
    if same {
        return old.cloned();
    }
    Node::of_nodes(level, nodes).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Domain;

    fn hash(number: u64) -> PageHash {
        Domain::Page.hash(&number.to_le_bytes())
    }

    #[test]
    fn changes_outside_the_region_and_out_of_order_are_refused() {
        let tree = Tree::empty(100);
        assert_eq!(
            tree.set_many(&[(0, hash(1)), (100, hash(1))]).map(|tree| tree.root()),
            Err(TreeError::OutOfRange { index: 100, pages: 100 })
        );
        for second in [3, 4] {
            assert_eq!(
                tree.set_many(&[(4, hash(1)), (second, hash(2))]).map(|tree| tree.root()),
                Err(TreeError::Unsorted { index: second })
            );
        }
    }

    #[test]
    fn setting_what_is_there_already_shares_the_whole_tree() -> Result<(), TreeError> {
        let tree = Tree::empty(10_000).set_many(&[(5, hash(5)), (9_000, hash(9))])?;
        let again = tree.set_many(&[(5, hash(5)), (6, PageHash::ZERO)])?;
        assert!(matches!((&tree.root, &again.root), (Some(one), Some(two)) if Arc::ptr_eq(one, two)));
        Ok(())
    }

    #[test]
    fn taking_the_last_page_away_gives_the_tree_of_zeros() -> Result<(), TreeError> {
        let tree = Tree::empty(10_000).set_many(&[(5, hash(5)), (9_000, hash(9))])?;
        let empty = tree.set_many(&[(5, PageHash::ZERO), (9_000, PageHash::ZERO)])?;
        assert!(empty.root().is_zero() && empty.root.is_none());
        Ok(())
    }
}
