use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sentient_snapshot::store::Kind;
use sentient_snapshot::verify::verify;
use sentient_snapshot::{SignedRecord, Store, StoreError};

use crate::guest::{Guest, PAGES, Random, memory_of, root, store, unseal, without_zeros};

fn packs(folder: &Path) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> =
        fs::read_dir(folder.join("store/packs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

fn filled(folder: &Path) -> (Store, Guest, SignedRecord) {
    let store = store(folder);
    let mut guest = Guest::new(1);
    let signed = guest.run_and_snapshot(&store, &mut Random(13), 30);
    (store, guest, signed)
}

#[test]
fn a_flipped_bit_of_a_pack_is_found_by_verify_and_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    let (store, guest, signed) = filled(folder.path());
    let pack = packs(folder.path()).remove(0);
    let good = fs::read(&pack).unwrap();
    let file = OpenOptions::new().write(true).open(&pack).unwrap();
    let mut random = Random(17);
    let mut pages_named = 0;
    for round in 0..250 {
        // The header's every bit first, then bits anywhere.
        let at = if round < 16 { round } else { random.below(good.len() as u64) };
        let bad = good[at as usize] ^ 1 << random.below(8);
        file.write_all_at(&[bad], at).unwrap();
        let verified = verify(&store, signed.record()).unwrap();
        assert!(!verified.problems.is_empty(), "byte {at}");
        assert!(!store.check(100).unwrap().is_empty(), "byte {at}");
        assert!(memory_of(&store, signed.record()).is_err() || verified.problems[0].kind == Kind::State);
        if round >= 16 {
            // One object has the bit, and it is named.
            let [problem] = verified.problems.as_slice() else { panic!("{:?}", verified.problems) };
            let named = problem.to_string();
            assert!(named.contains(&problem.hash.to_string()) && named.contains("pack 1"), "{named}");
            if let (Kind::Page, Some(page)) = (problem.kind, &problem.page) {
                pages_named += 1;
                let gpn = page.base / 4096 + page.index;
                assert!(gpn < PAGES);
                let found = sentient_snapshot::page::hash_page(&guest.memory[&gpn]);
                assert_eq!(found, problem.hash, "the page that is named is the damaged one");
            }
        }
        file.write_all_at(&good[at as usize..][..1], at).unwrap();
    }
    assert!(pages_named > 50);
    assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
    assert_eq!(memory_of(&store, signed.record()).unwrap(), without_zeros(&guest.memory));
}

#[test]
fn a_pack_that_is_short_missing_or_anothers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut guest, signed) = filled(folder.path());
    let pack = packs(folder.path()).remove(0);
    let good = fs::read(&pack).unwrap();
    let refused = || {
        assert!(!verify(&store, signed.record()).unwrap().problems.is_empty());
        let found = store.check(100).unwrap();
        assert!(
            found
                .iter()
                .any(|error| error.to_string().contains("pack 1") || error.to_string().contains("1.pack"))
        );
        assert!(memory_of(&store, signed.record()).is_err());
    };
    for len in [0, 5, 16, 17, good.len() / 2, good.len() - 1] {
        fs::write(&pack, &good[..len]).unwrap();
        refused();
    }
    fs::remove_file(&pack).unwrap();
    refused();
    let mut other = good.clone();
    other[12] = 2;
    fs::write(&pack, &other).unwrap();
    refused();
    let mut newer = good.clone();
    newer[8] = 2;
    fs::write(&pack, &newer).unwrap();
    let found = store.check(100).unwrap();
    assert!(matches!(found[0], StoreError::Version { found: 2, supported: 1, .. }));
    // A new snapshot does not make it worse, and goes somewhere else.
    fs::write(&pack, &good[..good.len() - 1]).unwrap();
    let dirty = guest.run(&mut Random(99), 5);
    guest.snapshot(&store, &dirty);
    fs::write(&pack, &good).unwrap();
    assert!(store.check(100).unwrap().is_empty());
    assert_eq!(packs(folder.path()).len(), 2);
}

#[test]
fn a_snapshot_with_a_damaged_tree_can_be_removed_and_its_space_reclaimed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut guest, signed) = filled(folder.path());
    let second = guest.run_and_snapshot(&store, &mut Random(14), 30);
    let session = store.session().unwrap();
    let hash = signed.record().regions.iter().map(|r| r.tree_root).find(|hash| !hash.is_zero()).unwrap();
    let place = session.entry(Kind::Node, hash).unwrap().unwrap();
    drop(session);
    let pack = packs(folder.path()).remove(0);
    let file = OpenOptions::new().read(true).write(true).open(&pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, place.offset + 3).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place.offset + 3).unwrap();

    let removed = store.remove(&[root(&signed)]).unwrap();
    assert_eq!(removed.damaged, [hash]);
    assert!(!store.check(100).unwrap().is_empty(), "what only the damaged node held is still counted");
    store.reclaim().unwrap();
    assert!(store.check(100).unwrap().is_empty());
    assert_eq!(memory_of(&store, second.record()).unwrap(), without_zeros(&guest.memory));
}

#[test]
fn bytes_and_packs_that_a_dead_writer_left_are_dropped_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut guest, signed) = filled(folder.path());
    let pack = packs(folder.path()).remove(0);
    let good = fs::read(&pack).unwrap();
    fs::write(&pack, [&good[..], &[1; 5000]].concat()).unwrap();
    fs::write(folder.path().join("store/packs/2.pack"), b"half a pack").unwrap();
    fs::write(folder.path().join("store/packs/77.pack"), b"").unwrap();
    assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
    assert!(store.check(10).unwrap().is_empty());
    assert_eq!(store.reclaim().unwrap().bytes, 5011);
    assert_eq!(packs(folder.path()), std::slice::from_ref(&pack));
    fs::write(&pack, [&good[..], &[1; 5000]].concat()).unwrap();
    let second = guest.run_and_snapshot(&store, &mut Random(1), 10);
    for signed in [signed, second] {
        assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
    }
    assert!(store.check(10).unwrap().is_empty());
}

#[test]
fn a_store_of_a_future_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let db = unseal(&folder.path().join("store/index.redb"));
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(true);
    const META: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
    txn.open_table(META).unwrap().insert("format", 2).unwrap();
    txn.commit().unwrap();
    drop(db);
    let found = Store::open(&folder.path().join("store"), None);
    assert!(matches!(found, Err(StoreError::Version { found: 2, supported: 1, .. })));
}
