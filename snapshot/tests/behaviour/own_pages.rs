use std::collections::{BTreeMap, HashSet};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sentient_snapshot::own_pages::{Relative, distinct_pages, own_pages};
use sentient_snapshot::store::Kind;
use sentient_snapshot::{Hash, MemoryMap, PageHash, SignedRecord, Store};

use crate::guest::{Guest, PAGES, Random, layout, region, store, usual_layout};

/// Every page's hash, without trees.
fn pages_of(store: &Store, signed: &SignedRecord) -> BTreeMap<u64, PageHash> {
    let map = MemoryMap::load(signed.record(), &store.session().unwrap()).unwrap();
    let mut pages = BTreeMap::new();
    map.visit(0..u64::MAX, |gpn, hash| {
        pages.insert(gpn, hash);
    });
    pages
}

/// Each with its parent and its children.
fn family<'a>(all: &'a [SignedRecord], parents: &[Option<usize>]) -> Vec<Relative<'a>> {
    let children = |of: usize| (0..all.len()).filter(move |at| parents[*at] == Some(of));
    let one = |at: usize| Relative {
        record: all[at].record(),
        relatives: parents[at].into_iter().chain(children(at)).collect(),
    };
    (0..all.len()).map(one).collect()
}

#[test]
fn own_pages_are_those_that_comparing_page_for_page_finds() {
    for seed in 1..5 {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut random = Random(seed);
        let mut guest = Guest::new(1);
        let layouts = [
            usual_layout(),
            layout(vec![region("heap", 11, 10, 100), region("other", 14, 128, 64)], PAGES),
            layout(vec![region("all", 11, 0, PAGES)], PAGES),
        ];
        let (mut all, mut parents, mut past) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..24 {
            // Go on from any of those before, most often from the last.
            let parent =
                (at > 0).then(|| if random.below(4) == 0 { random.below(at) } else { at - 1 } as usize);
            if let Some(parent) = parent {
                let (map, id, memory): &(_, _, BTreeMap<_, _>) = &past[parent];
                (guest.map, guest.parent, guest.memory) = (Clone::clone(map), *id, memory.clone());
            }
            if random.below(5) == 0 {
                guest.layout = layouts[random.below(3) as usize].clone();
            }
            let pages = random.below(60);
            all.push(guest.run_and_snapshot(&store, &mut random, pages));
            parents.push(parent);
            past.push((guest.map.clone(), guest.parent, guest.memory.clone()));
        }
        let family = family(&all, &parents);
        let found = own_pages(&family, &store.session().unwrap());
        let plain: Vec<_> = all.iter().map(|signed| pages_of(&store, signed)).collect();
        for (at, found) in found.into_iter().enumerate() {
            let own = plain[at].iter().filter(|(gpn, hash)| {
                family[at].relatives.iter().all(|other| plain[*other].get(gpn) != Some(hash))
            });
            assert_eq!(found.unwrap(), own.count() as u64, "seed {seed}, snapshot {at}");
        }
        let distinct: HashSet<_> = plain.iter().flat_map(BTreeMap::values).collect();
        let records = all.iter().map(SignedRecord::record);
        assert_eq!(distinct_pages(records, &store.session().unwrap()).unwrap(), distinct.len() as u64);
    }
}

#[test]
fn a_snapshot_without_relatives_has_all_its_pages_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let signed = Guest::new(1).run_and_snapshot(&store, &mut Random(3), 50);
    let found = own_pages(&family(std::slice::from_ref(&signed), &[None]), &store.session().unwrap());
    let [Ok(own)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(*own, pages_of(&store, &signed).len() as u64);
}

/// Flips a bit of a tree node.
fn damage(folder: &Path, store: &Store, node: Hash) {
    let entry = store.session().unwrap().entry(Kind::Node, node).unwrap().unwrap();
    let pack = folder.join(format!("store/packs/{}.pack", entry.pack));
    let file = OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    let at = entry.offset + u64::from(entry.stored) / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The node over page `gpn` that `new` has and `old`, if there is one, has not.
fn leaf(new: &MemoryMap, old: Option<&MemoryMap>, gpn: u64) -> Hash {
    let hash = new.page_hash(gpn);
    let holds = |node: &sentient_snapshot::tree::Node| match node.children() {
        sentient_snapshot::tree::node::Children::Pages(pages) => pages.contains(&hash),
        sentient_snapshot::tree::node::Children::Nodes(_) => false,
    };
    let placed = new.new_nodes(old).into_iter().find(|placed| placed.level == 0 && holds(&placed.node));
    placed.unwrap().node.hash()
}

#[test]
fn a_damaged_node_hides_only_the_sizes_that_depend_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let mut random = Random(5);
    // Pages that are not zero: one in the heap's first node, one in its second, one in the box's.
    let mut write = |guest: &mut Guest, gpns: &[u64]| {
        for gpn in gpns {
            let mut page = random.page();
            page[..8].copy_from_slice(&random.next().max(1).to_le_bytes());
            guest.memory.insert(*gpn, page);
        }
        let signed = guest.snapshot(&store, gpns);
        (signed, guest.map.clone().unwrap())
    };
    let (a, map_a) = write(&mut guest, &[20, 90, 210]);
    let (b, map_b) = write(&mut guest, &[20]);
    let (c, _) = write(&mut guest, &[90]);
    let (d, _) = write(&mut guest, &[90]);
    let all = [a, b, c, d];
    let parents = [None, Some(0), Some(1), Some(2)];
    let sizes = || own_pages(&family(&all, &parents), &store.session().unwrap());
    let good: Vec<u64> = sizes().into_iter().map(Result::unwrap).collect();
    assert_eq!(good, [1, 0, 1, 1]);

    // One that all have in common is not even read.
    damage(folder.path(), &store, leaf(&map_a, None, 210));
    assert_eq!(sizes().into_iter().map(Result::unwrap).collect::<Vec<_>>(), good);
    // One of the second: how much of the first it shares is not known; the others agree about it.
    let bad = leaf(&map_b, Some(&map_a), 20);
    damage(folder.path(), &store, bad);
    let found = sizes();
    let problem = found[0].as_ref().unwrap_err().to_string();
    assert!(problem.contains(&bad.to_string()) && problem.contains("import"), "{problem}");
    assert_eq!(found[1..].iter().map(|own| *own.as_ref().unwrap()).collect::<Vec<_>>(), good[1..]);
}
