//! What differs between two trees.

use std::collections::HashSet;
use std::sync::Arc;

use super::Tree;
use super::node::{ARITY, Children, Node, pages_per_child};
use crate::hash::{Hash, PageHash};

/// One page that differs: its index in the region, its hash in the first tree and in the second.
pub type Difference = (u64, PageHash, PageHash);

/// A node of a tree, with its level.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The node.
    pub node: Arc<Node>,
    /// 0 over pages.
    pub level: u8,
}

impl Tree {
    /// The pages that differ between this tree and `other`, in order. Subtrees with equal hashes are
    /// skipped. Trees over different page counts are compared as if zeros followed the shorter one.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        let mut out = Vec::new();
        let one = (self.root.as_ref(), self.levels() - 1);
        let two = (other.root.as_ref(), other.levels() - 1);
        differences(one, two, 0, &mut out);
        out
    }

    /// Nodes of this tree that `older` does not have in the same place, parents before children, each
    /// once. With `None`: all nodes.
    #[must_use]
    pub fn new_nodes(&self, older: Option<&Self>) -> Vec<Placed> {
        let mut out = Vec::new();
        let mut seen = HashSet::new();
        let older = older.filter(|older| older.levels() == self.levels());
        if let Some(root) = &self.root {
            let before = older.and_then(|older| older.root.as_ref());
            new_below(root, before, self.levels() - 1, &mut seen, &mut out);
        }
        out
    }
}

type Side<'a> = (Option<&'a Arc<Node>>, u8);

fn differences(one: Side<'_>, two: Side<'_>, first: u64, out: &mut Vec<Difference>) {
    let hash = |side: Side<'_>| side.0.map_or(Hash::ZERO, |node| node.hash());
    if (one.0.is_none() && two.0.is_none()) || (one.1 == two.1 && hash(one) == hash(two)) {
        return;
    }
    let level = one.1.max(two.1);
    if level == 0 {
        for at in 0..ARITY {
            let (before, after) = (page(one.0, at), page(two.0, at));
            if before != after {
                out.push((first + at as u64, before, after));
            }
        }
        return;
    }
    for at in 0..ARITY {
        let Some(base) =
            pages_per_child(level).checked_mul(at as u64).and_then(|pages| first.checked_add(pages))
        else {
            return;
        };
        differences(below(one, level, at), below(two, level, at), base, out);
    }
}

/// The child of a side at `level`. A side whose root is lower than that is its own first child.
fn below<'a>(side: Side<'a>, level: u8, at: usize) -> Side<'a> {
    if side.1 < level {
        return (side.0.filter(|_| at == 0), side.1);
    }
    match side.0.map(|node| node.children()) {
        Some(Children::Nodes(nodes)) => (nodes.get(at).and_then(Option::as_ref), level - 1),
        _ => (None, level - 1),
    }
}

fn page(node: Option<&Arc<Node>>, at: usize) -> PageHash {
    match node.map(|node| node.children()) {
        Some(Children::Pages(hashes)) => hashes.get(at).copied().unwrap_or_default(),
        _ => PageHash::ZERO,
    }
}

fn new_below(
    node: &Arc<Node>,
    before: Option<&Arc<Node>>,
    level: u8,
    seen: &mut HashSet<Hash>,
    out: &mut Vec<Placed>,
) {
    if before.is_some_and(|before| before.hash() == node.hash()) || !seen.insert(node.hash()) {
        return;
    }
    out.push(Placed { node: Arc::clone(node), level });
    let Children::Nodes(nodes) = node.children() else { return };
    for (at, child) in nodes.iter().enumerate() {
        let Some(child) = child else { continue };
        let before = match before.map(|before| before.children()) {
            Some(Children::Nodes(nodes)) => nodes.get(at).and_then(Option::as_ref),
            _ => None,
        };
        new_below(child, before, level.saturating_sub(1), seen, out);
    }
}
