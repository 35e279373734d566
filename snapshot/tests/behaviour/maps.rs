use std::collections::BTreeMap;

use sentient_snapshot::page::{ZERO_PAGE, hash_page};
use sentient_snapshot::{MemoryMap, PageHash};

use crate::guest::{Guest, PAGES, Random, layout, memory_of, region, store, without_zeros};

fn expected_diff(
    one: &BTreeMap<u64, sentient_snapshot::Page>,
    two: &BTreeMap<u64, sentient_snapshot::Page>,
    end: u64,
) -> Vec<(u64, PageHash, PageHash)> {
    let hash = |memory: &BTreeMap<u64, _>, gpn| hash_page(memory.get(&gpn).unwrap_or(&ZERO_PAGE));
    let all = (0..end).map(|gpn| (gpn, hash(one, gpn), hash(two, gpn)));
    all.filter(|(_, one, two)| one != two).collect()
}

#[test]
fn snapshots_hold_what_memory_was_through_changes_of_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut random = Random(3);
    let mut guest = Guest::new(1);
    let mut taken = Vec::new();
    for round in 0..24 {
        guest.layout = match round % 6 {
            0 | 1 => layout(vec![region("a", 1, 10, 100), region("b", 14, 200, 70)], PAGES),
            2 => layout(vec![region("a", 1, 10, 101), region("b", 14, 200, 70)], PAGES),
            3 => layout(vec![region("a", 1, 5, 90), region("b", 14, 150, 150)], PAGES),
            4 => layout(vec![region("all", 1, 0, PAGES)], PAGES + 1),
            _ => layout(vec![region("a", 1, 0, 1), region("b", 2, 1, 1), region("c", 3, 299, 1)], PAGES),
        };
        // One page is beyond the smaller layouts, and is gone in them.
        guest.memory.remove(&PAGES);
        let signed = guest.run_and_snapshot(&store, &mut random, 25);
        let map = guest.map.clone().unwrap();
        let now = without_zeros(&guest.memory);
        assert_eq!(signed.record().used_pages, now.len() as u64);
        assert_eq!(memory_of(&store, signed.record()).unwrap(), now);
        let expected = map.clone();
        let loaded = MemoryMap::load(signed.record(), &store.session().unwrap()).unwrap();
        assert_eq!(loaded.roots(), expected.roots());
        for gpn in 0..PAGES + 3 {
            assert_eq!(map.page_hash(gpn), hash_page(now.get(&gpn).unwrap_or(&ZERO_PAGE)));
        }
        taken.push((map, now));
    }
    for (one, before) in &taken {
        for (two, after) in &taken {
            assert_eq!(one.diff(two), expected_diff(before, after, PAGES + 1));
        }
    }
    assert!(store.check(10).unwrap().is_empty());
}

#[test]
fn pages_given_twice_or_outside_of_memory_are_refused() {
    let map = MemoryMap::empty(&layout(vec![], 10));
    let hash = hash_page(&[1; 4096]);
    let layout = layout(vec![region("a", 1, 2, 3)], 10);
    for changes in
        [vec![(10, hash)], vec![(1, hash), (1, hash)], vec![(5, hash), (2, hash)], vec![(u64::MAX, hash)]]
    {
        assert!(map.change(&layout, &changes).is_err(), "{changes:?}");
    }
}
