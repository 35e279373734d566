use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use sentient_snapshot::page::ZERO_PAGE;
use sentient_snapshot::stream::spool::InMemory;
use sentient_snapshot::verify::verify;
use sentient_snapshot::{Page, PageHash, Store, StoreError};

use crate::guest::{Guest, Random, memory_of, root, store, without_zeros};

#[test]
fn equal_pages_are_stored_once_across_snapshots_and_machines() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (mut one, mut two) = (Guest::new(1), Guest::new(2));
    let page: Page = std::array::from_fn(|at| ((at * at) >> 3) as u8);
    for gpn in 0..200 {
        one.memory.insert(gpn, page);
        two.memory.insert(gpn, page);
    }
    let dirty: Vec<u64> = (0..200).collect();
    one.snapshot(&store, &dirty);
    let first = store.usage().unwrap();
    two.snapshot(&store, &dirty);
    let second = store.usage().unwrap();
    assert_eq!(second.objects, first.objects + 1, "only the state is new");
    one.snapshot(&store, &dirty);
    assert_eq!(store.usage().unwrap().objects, first.objects + 2);
}

#[test]
fn pages_of_zeros_cost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    for gpn in 0..300 {
        guest.memory.insert(gpn, ZERO_PAGE);
    }
    let dirty: Vec<u64> = (0..300).collect();
    let signed = guest.snapshot(&store, &dirty);
    assert_eq!((signed.record().dirty_pages, signed.record().used_pages), (300, 0));
    assert_eq!(store.usage().unwrap().objects, 1, "the state");
}

#[test]
fn a_snapshot_that_is_there_already_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let signed = guest.run_and_snapshot(&store, &mut Random(1), 20);
    let before = store.usage().unwrap();
    let again = sentient_snapshot::capture::stored(signed.record(), signed.id());
    assert_eq!(store.add(&again, &mut InMemory::default()).unwrap().objects, 0);
    assert_eq!(store.usage().unwrap(), before);
    store.remove(&[root(&signed)]).unwrap();
    assert_eq!(store.usage().unwrap().objects, 0);
}

#[test]
fn a_snapshot_on_one_that_is_gone_is_refused_by_the_missing_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let mut random = Random(5);
    let first = guest.run_and_snapshot(&store, &mut random, 150);
    store.remove(&[root(&first)]).unwrap();
    let dirty = guest.run(&mut random, 3);
    assert!(matches!(guest.try_snapshot(&store, &dirty), Err(StoreError::Missing { .. })));
    assert_eq!(store.usage().unwrap().objects, 0);
}

#[test]
fn many_pages_are_read_whole_by_one_thread_and_by_two() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut random = Random(11);
    let mut guest = Guest::new(1);
    guest.layout = crate::guest::layout(vec![crate::guest::region("heap", 11, 1, 2000)], 2001);
    guest.run(&mut random, 1800);
    let dirty: Vec<u64> = guest.memory.keys().copied().collect();
    let signed = guest.snapshot(&store, &dirty);
    let session = store.session().unwrap();
    let mut hashes = BTreeSet::new();
    guest.map.as_ref().unwrap().visit(0..3000, |_, hash| {
        hashes.insert(hash);
    });
    let reader = session.locate(hashes.iter().copied().chain([PageHash::ZERO])).unwrap();
    drop(session);
    assert!(reader.len() == hashes.len() && reader.len() > 600);
    let found = Mutex::new(BTreeSet::new());
    reader
        .read_all::<StoreError, _>(|hash, page| {
            assert_eq!(sentient_snapshot::page::hash_page(page), hash);
            assert!(found.lock().unwrap().insert(hash), "each page once");
            Ok(())
        })
        .unwrap();
    assert_eq!(found.into_inner().unwrap(), hashes);
    let some: Vec<PageHash> = hashes.iter().copied().step_by(7).collect();
    let mut read = BTreeSet::new();
    reader
        .read_pages::<StoreError>(some.iter().copied(), |hash, _| {
            read.insert(hash);
            Ok(())
        })
        .unwrap();
    assert_eq!(read.into_iter().collect::<Vec<_>>(), some);
    assert_eq!(memory_of(&store, signed.record()).unwrap(), without_zeros(&guest.memory));
}

#[test]
fn writers_readers_and_reclaiming_share_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    thread::scope(|scope| {
        for number in 1..=3u8 {
            scope.spawn(move || {
                let store: Store = store(path);
                let mut guest = Guest::new(number);
                let mut random = Random(u64::from(number));
                let mut kept = Vec::new();
                for _ in 0..15 {
                    let signed = guest.run_and_snapshot(&store, &mut random, 40);
                    kept.push((signed, without_zeros(&guest.memory)));
                    if kept.len() > 3 {
                        store.remove(&[root(&kept.remove(0).0)]).unwrap();
                    }
                    for (signed, memory) in &kept {
                        assert_eq!(&memory_of(&store, signed.record()).unwrap(), memory);
                    }
                }
                store.reclaim().unwrap();
                for (signed, _) in &kept {
                    assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
                }
            });
        }
    });
    let store = store(path);
    assert_eq!(store.roots(None).unwrap().len(), 9);
    assert_eq!(store.roots(Some([2; 16])).unwrap().len(), 3);
    assert!(store.check(10).unwrap().is_empty());
}

#[test]
fn what_was_located_stays_readable_when_its_snapshot_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let signed = guest.run_and_snapshot(&store, &mut Random(2), 60);
    let hashes: Vec<PageHash> = guest
        .memory
        .values()
        .map(sentient_snapshot::page::hash_page)
        .filter(|hash| !hash.is_zero())
        .collect();
    let reader = store.session().unwrap().locate(hashes.iter().copied()).unwrap();
    store.remove(&[root(&signed)]).unwrap();
    assert_eq!(store.usage().unwrap().bytes, 0);
    for hash in hashes {
        assert_eq!(sentient_snapshot::page::hash_page(&reader.read_page(hash).unwrap()), hash);
    }
}
