//! What is damaged in a store becomes good again when somebody brings a good copy.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sentient_snapshot::store::{Kind, Root};
use sentient_snapshot::stream::{export, import};
use sentient_snapshot::verify::verify;
use sentient_snapshot::{Hash, SignedRecord, Store};

use crate::guest::{Guest, HOLDER, Random, memory_of, root, store, without_zeros};

fn flip(folder: &Path, store: &Store, kind: Kind, hash: Hash) {
    let entry = store.session().unwrap().entry(kind, hash).unwrap().unwrap();
    let pack = folder.join(format!("store/packs/{}.pack", entry.pack));
    let file = OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    let at = entry.offset + u64::from(entry.stored) / 2;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn exported(store: &Store, signed: &SignedRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(store, signed, &mut bytes).unwrap();
    bytes
}

fn clean(store: &Store, signed: &SignedRecord) -> bool {
    verify(store, signed.record()).unwrap().problems.is_empty()
}

#[test]
fn an_import_mends_a_state_a_node_and_a_page_for_all_that_share_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let mut random = Random(21);
    let first = guest.run_and_snapshot(&store, &mut random, 80);
    let earlier = guest.memory.clone();
    let bytes = exported(&store, &first);
    // One that shares most pages with it.
    let second = guest.run_and_snapshot(&store, &mut random, 3);

    let map = sentient_snapshot::MemoryMap::load(first.record(), &store.session().unwrap()).unwrap();
    let mut pages = Vec::new();
    map.visit(0..u64::MAX, |_, hash| pages.push(hash));
    let tree = first.record().regions.iter().map(|region| region.tree_root).find(|root| !root.is_zero());
    let victims = [
        (Kind::State, first.record().state),
        (Kind::Node, tree.unwrap()),
        (Kind::Page, pages[5]),
        (Kind::Page, pages[50]),
    ];
    for mended in [&victims[..1], &victims[1..2], &victims[2..], &victims[..]] {
        let roots = store.roots(None).unwrap();
        for (kind, hash) in mended {
            flip(folder.path(), &store, *kind, *hash);
        }
        assert!(!clean(&store, &first), "{mended:?}");
        import(&store, first.record().machine, &guest.trust(), bytes.as_slice()).unwrap();
        assert!(clean(&store, &first) && clean(&store, &second), "{mended:?}");
        assert!(store.check(10).unwrap().is_empty(), "{mended:?}: {:?}", store.check(10));
        assert_eq!(store.roots(None).unwrap(), roots);
        let before = store.usage().unwrap();
        import(&store, first.record().machine, &guest.trust(), bytes.as_slice()).unwrap();
        assert_eq!(store.usage().unwrap().bytes, before.bytes, "what is good is not written again");
    }
    assert_eq!(memory_of(&store, first.record()).unwrap(), without_zeros(&earlier));
    assert_eq!(memory_of(&store, second.record()).unwrap(), without_zeros(&guest.memory));
    store.remove(&[root(&first), root(&second)]).unwrap();
    assert_eq!(store.usage().unwrap().objects, 0, "what was mended is counted as before");
    assert_eq!(fs::read_dir(folder.path().join("store/packs")).unwrap().count(), 0);
}

#[test]
fn an_import_mends_a_pack_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let signed = guest.run_and_snapshot(&store, &mut Random(5), 60);
    let bytes = exported(&store, &signed);
    let pack = folder.path().join("store/packs/1.pack");
    for left in [None, Some(&b"SENTPACKxxxxxxxxxxxxxxxxxxxx"[..])] {
        fs::remove_file(&pack).unwrap_or_default();
        if let Some(left) = left {
            let pack = fs::read_dir(folder.path().join("store/packs")).unwrap().next().unwrap().unwrap();
            fs::write(pack.path(), left).unwrap();
        }
        assert!(!clean(&store, &signed));
        import(&store, signed.record().machine, &guest.trust(), bytes.as_slice()).unwrap();
        assert!(clean(&store, &signed));
        assert!(store.check(10).unwrap().is_empty(), "{:?}", store.check(10));
        assert!(!pack.exists(), "a pack that holds nothing any more is gone");
    }
    assert_eq!(memory_of(&store, signed.record()).unwrap(), without_zeros(&guest.memory));
}

#[test]
fn what_a_machine_imported_stays_when_the_one_it_came_from_forgets_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let signed = guest.run_and_snapshot(&store, &mut Random(6), 20);
    let bytes = exported(&store, &signed);
    import(&store, HOLDER, &guest.trust(), bytes.as_slice()).unwrap();
    store.remove(&[root(&signed)]).unwrap();
    assert!(clean(&store, &signed));
    assert_eq!(memory_of(&store, signed.record()).unwrap(), without_zeros(&guest.memory));
    store.remove(&[Root { machine: HOLDER, snapshot: signed.id().0 }]).unwrap();
    assert_eq!(store.usage().unwrap().objects, 0);
}
