use std::collections::{BTreeMap, HashMap};

use sentient_snapshot::hash::Domain;
use sentient_snapshot::tree::{NodeSource, Tree, TreeError};
use sentient_snapshot::{Hash, PageHash};

use crate::guest::Random;

fn hash(number: u64) -> PageHash {
    if number == 0 { PageHash::ZERO } else { Domain::Page.hash(&number.to_le_bytes()) }
}

/// Root of a full tree, made the slow way.
fn naive_root(pages: u64, model: &BTreeMap<u64, PageHash>) -> Hash {
    let mut row: Vec<Hash> = (0..pages).map(|at| model.get(&at).copied().unwrap_or_default()).collect();
    let mut level = 0u8;
    loop {
        row = row
            .chunks(64)
            .map(|children| {
                if children.iter().all(Hash::is_zero) {
                    return Hash::ZERO;
                }
                let mut bytes = vec![level];
                bytes.extend(children.iter().flat_map(|child| child.0));
                bytes.resize(1 + 64 * 32, 0);
                Domain::Node.hash(&bytes)
            })
            .collect();
        level += 1;
        if row.len() <= 1 {
            return row.first().copied().unwrap_or_default();
        }
    }
}

fn changes(random: &mut Random, pages: u64) -> Vec<(u64, PageHash)> {
    let count = random.below(40);
    let changes: BTreeMap<u64, PageHash> =
        (0..count).map(|_| (random.below(pages), hash(random.below(5)))).collect();
    changes.into_iter().collect()
}

struct Nodes(HashMap<Hash, Vec<u8>>);

impl Nodes {
    fn of(trees: &[&Tree]) -> Self {
        let placed = trees.iter().flat_map(|tree| tree.new_nodes(None));
        Self(placed.map(|placed| (placed.node.hash(), placed.node.encode(placed.level))).collect())
    }
}

impl NodeSource for Nodes {
    type Error = TreeError;

    fn nodes(&mut self, hashes: &[Hash]) -> Result<Vec<Vec<u8>>, TreeError> {
        Ok(hashes.iter().filter_map(|hash| self.0.get(hash)).cloned().collect())
    }
}

#[test]
fn a_tree_is_what_a_naive_model_says_after_random_changes() {
    let mut random = Random(7);
    for pages in [1, 2, 63, 64, 65, 4095, 4096, 4097, 9000] {
        let mut tree = Tree::empty(pages);
        let mut model = BTreeMap::new();
        for _ in 0..30 {
            let changes = changes(&mut random, pages);
            let before = tree.clone();
            let before_model: BTreeMap<u64, PageHash> = model.clone();
            tree = tree.set_many(&changes).unwrap();
            for (at, hash) in changes {
                if hash.is_zero() {
                    model.remove(&at)
                } else {
                    model.insert(at, hash)
                };
            }
            assert_eq!(tree.used(), model.iter().map(|(at, hash)| (*at, *hash)).collect::<Vec<_>>());
            assert_eq!(tree.used_pages(), model.len() as u64);
            assert_eq!(tree.root(), naive_root(pages, &model), "{pages} pages");
            let mut expected: Vec<_> = before_model.keys().chain(model.keys()).copied().collect();
            expected.sort_unstable();
            expected.dedup();
            let get = |model: &BTreeMap<u64, PageHash>, at| model.get(&at).copied().unwrap_or_default();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|at| (at, get(&before_model, at), get(&model, at)))
                .filter(|(_, one, two)| one != two)
                .collect();
            assert_eq!(before.diff(&tree), expected);
            let at = random.below(pages);
            assert_eq!(tree.get(at), get(&model, at));
            let fresh = Nodes::of(&[&before, &tree]);
            let new: Vec<_> = tree.new_nodes(Some(&before));
            let old = Nodes::of(&[&before]);
            assert!(new.iter().all(|placed| fresh.0.contains_key(&placed.node.hash())));
            let missing = fresh.0.keys().filter(|hash| !old.0.contains_key(*hash));
            assert!(missing.clone().all(|hash| new.iter().any(|placed| placed.node.hash() == *hash)));
        }
    }
}

#[test]
fn trees_of_different_lengths_compare_as_if_zeros_followed() {
    let one = Tree::empty(50).set_many(&[(3, hash(1)), (40, hash(2))]).unwrap();
    let two = Tree::empty(5000).set_many(&[(3, hash(1)), (40, hash(3)), (4100, hash(4))]).unwrap();
    let expected = [(40, hash(2), hash(3)), (4100, PageHash::ZERO, hash(4))];
    assert_eq!(one.diff(&two), expected);
    assert_eq!(two.diff(&one), expected.map(|(at, one, two)| (at, two, one)));
}

#[test]
fn a_change_of_one_page_makes_one_node_a_level() {
    let all: Vec<_> = (0..9000).map(|at| (at, hash(at + 1))).collect();
    let tree = Tree::empty(9000).set_many(&all).unwrap();
    let changed = tree.set_many(&[(4500, hash(1))]).unwrap();
    assert_eq!(changed.new_nodes(Some(&tree)).len(), 3);
    assert_eq!(changed.new_nodes(Some(&changed)).len(), 0);
}

#[test]
fn a_stored_tree_loads_as_it_was_and_any_flipped_bit_is_refused() {
    let mut random = Random(9);
    let all: Vec<_> = (0..4200).filter(|at| at % 3 == 0).map(|at| (at, hash(at + 1))).collect();
    let tree = Tree::empty(4200).set_many(&all).unwrap();
    let mut nodes = Nodes::of(&[&tree]);
    let loaded = Tree::load(4200, tree.root(), &mut nodes).unwrap();
    assert_eq!(loaded.used(), tree.used());
    let names: Vec<Hash> = nodes.0.keys().copied().collect();
    for name in names {
        let good = nodes.0[&name].clone();
        for _ in 0..20 {
            let mut bad = good.clone();
            bad[random.below(good.len() as u64) as usize] ^= 1 << random.below(8);
            nodes.0.insert(name, bad);
            assert!(
                matches!(Tree::load(4200, tree.root(), &mut nodes), Err(TreeError::Node { hash, .. }) if hash == name)
            );
        }
        nodes.0.insert(name, good);
    }
}

#[test]
fn a_tree_of_another_shape_than_its_region_is_refused() {
    let tree = Tree::empty(4200).set_many(&[(3, hash(2)), (4199, hash(1))]).unwrap();
    let mut nodes = Nodes::of(&[&tree]);
    for pages in [1, 64, 65, 4096, 4097, 4199, 300_000] {
        assert!(Tree::load(pages, tree.root(), &mut nodes).is_err(), "{pages} pages");
    }
    assert!(Tree::load(4200, Domain::Node.hash(b"none"), &mut nodes).is_err());
    let small = Tree::empty(64).set_many(&[(10, hash(1))]).unwrap();
    let mut nodes = Nodes::of(&[&small]);
    for (pages, good) in [(10, false), (11, true), (64, true)] {
        assert_eq!(Tree::load(pages, small.root(), &mut nodes).is_ok(), good, "{pages} pages");
    }
}

#[test]
fn a_small_file_that_stands_for_an_endless_tree_loads_at_once() {
    // 64 children that are all the same node, five levels of it: 2^30 pages from five nodes.
    let mut level = 0u8;
    let mut child = hash(1);
    let mut nodes = HashMap::new();
    while level < 5 {
        let mut bytes = vec![level];
        bytes.extend(std::iter::repeat_n(child.0, 64).flatten());
        child = Domain::Node.hash(&bytes);
        nodes.insert(child, bytes);
        level += 1;
    }
    let tree = Tree::load(1 << 30, child, &mut Nodes(nodes)).unwrap();
    assert_eq!(tree.used_pages(), 1 << 30);
    assert_eq!(tree.get(123_456_789), hash(1));
    assert!(tree.diff(&tree).is_empty());
}
