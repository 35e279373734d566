//! A tree from stored nodes.
//!
//! Nodes come from a file that anybody may have written. Each is checked against the hash by which its
//! parent names it, must have the level its place demands, and may have children only over pages of the
//! region. A node that is named many times is fetched once, so that a small file cannot stand for an
//! endless tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::node::{ARITY, Children, Decoded, Node, pages_per_child};
use super::{Tree, TreeError, levels};
use crate::hash::Hash;

/// Where a tree's nodes come from.
pub trait NodeSource {
    /// Why a node cannot be had.
    type Error: From<TreeError>;

    /// The bytes of the named nodes, in the order of `hashes`. They need not be checked.
    ///
    /// # Errors
    ///
    /// The source's own, if one of them is missing or unreadable.
    fn nodes(&mut self, hashes: &[Hash]) -> Result<Vec<Vec<u8>>, Self::Error>;
}

impl Tree {
    /// The tree with the given root over `pages` pages, whole.
    ///
    /// # Errors
    ///
    /// The source's, and [`TreeError::Node`] by the first node that is not what it should be.
    pub fn load<S: NodeSource>(pages: u64, root: Hash, source: &mut S) -> Result<Self, S::Error> {
        if root.is_zero() {
            return Ok(Self::empty(pages));
        }
        let top = levels(pages) - 1;
        let mut fetched: Vec<HashMap<Hash, Decoded>> = Vec::new();
        let mut wanted = vec![root];
        for level in (0..=top).rev() {
            let most = pages.div_ceil(pages_per_child(level).saturating_mul(ARITY as u64));
            if wanted.len() as u64 > most {
                let hash = wanted.last().copied().unwrap_or_default();
                let problem = format!("is one of {} of level {level}, where {most} have room", wanted.len());
                return Err(TreeError::Node { hash, problem }.into());
            }
            let nodes = fetch(level, &wanted, source)?;
            wanted.clear();
            if level > 0 {
                let mut seen = HashSet::new();
                for decoded in wanted_order(&nodes) {
                    wanted.extend(decoded.used().filter(|child| seen.insert(*child)));
                }
            }
            fetched.push(nodes);
        }
        let mut below: HashMap<Hash, Arc<Node>> = HashMap::new();
        for nodes in fetched.into_iter().rev() {
            below = build(nodes, &below)?;
        }
        let root = below.remove(&root);
        if let Some(root) = &root {
            check_edge(root, top, pages)?;
        }
        Ok(Self { pages, root })
    }
}

/// Nodes in an order that does not depend on the map's seed, for errors that can be repeated.
fn wanted_order(nodes: &HashMap<Hash, Decoded>) -> Vec<&Decoded> {
    let mut ordered: Vec<_> = nodes.iter().collect();
    ordered.sort_by_key(|(hash, _)| **hash);
    ordered.into_iter().map(|(_, decoded)| decoded).collect()
}

fn fetch<S: NodeSource>(
    level: u8,
    wanted: &[Hash],
    source: &mut S,
) -> Result<HashMap<Hash, Decoded>, S::Error> {
    let bytes = source.nodes(wanted)?;
    let mut nodes = HashMap::with_capacity(wanted.len());
    for (at, hash) in wanted.iter().enumerate() {
        let Some(bytes) = bytes.get(at) else {
            return Err(TreeError::Node { hash: *hash, problem: "is missing".to_owned() }.into());
        };
        let decoded = Decoded::read(*hash, bytes)?;
        if decoded.level != level {
            let problem = format!("says level {} at a place of level {level}", decoded.level);
            return Err(TreeError::Node { hash: *hash, problem }.into());
        }
        nodes.insert(*hash, decoded);
    }
    Ok(nodes)
}

fn build(
    nodes: HashMap<Hash, Decoded>,
    below: &HashMap<Hash, Arc<Node>>,
) -> Result<HashMap<Hash, Arc<Node>>, TreeError> {
    let mut built = HashMap::with_capacity(nodes.len());
    for (hash, decoded) in nodes {
        let Some(node) = Node::of_decoded(hash, decoded, below) else {
            return Err(TreeError::Node { hash, problem: "names a node that was not read".to_owned() });
        };
        built.insert(hash, Arc::new(node));
    }
    Ok(built)
}

/// `Ok` if nothing lies past the last of `pages` pages below `node`. Only the last path can have it.
fn check_edge(node: &Node, level: u8, pages: u64) -> Result<(), TreeError> {
    let step = pages_per_child(level);
    let allowed = usize::try_from(pages.div_ceil(step)).unwrap_or(usize::MAX);
    let past = match node.children() {
        Children::Pages(hashes) => hashes.iter().skip(allowed).any(|hash| !hash.is_zero()),
        Children::Nodes(nodes) => nodes.iter().skip(allowed).any(Option::is_some),
    };
    if past {
        let problem = "has pages past the region's end".to_owned();
        return Err(TreeError::Node { hash: node.hash(), problem });
    }
    let rest = pages % step;
    if let (Children::Nodes(nodes), 1.., 1..) = (node.children(), rest, level)
        && let Some(Some(last)) = allowed.checked_sub(1).and_then(|at| nodes.get(at))
    {
        return check_edge(last, level - 1, rest);
    }
    Ok(())
}
