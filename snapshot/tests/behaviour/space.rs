use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use sentient_snapshot::verify::verify;
use sentient_snapshot::{PAGE_SIZE, Page, Store, StoreError};

use crate::guest::{Guest, Random, layout, memory_of, region, root, store, without_zeros};

/// Bytes that the packs take on the disk.
fn on_disk(folder: &Path) -> u64 {
    let packs = fs::read_dir(folder.join("store/packs")).unwrap();
    packs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn noise(random: &mut Random) -> Page {
    let mut page = [0; PAGE_SIZE];
    for chunk in page.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    page
}

/// Overwrites pages `0..count` with noise.
fn fill(guest: &mut Guest, random: &mut Random, count: u64) -> Vec<u64> {
    for gpn in 0..count {
        guest.memory.insert(gpn, noise(random));
    }
    (0..count).collect()
}

#[test]
fn removing_snapshots_gives_their_space_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let mut random = Random(6);
    let mut taken = Vec::new();
    for _ in 0..6 {
        let dirty = fill(&mut guest, &mut random, 250);
        taken.push(guest.snapshot(&store, &dirty));
    }
    let page_bytes = 250 * PAGE_SIZE as u64;
    assert!(on_disk(folder.path()) > 6 * page_bytes);
    let last = taken.pop().unwrap();
    for signed in &taken {
        store.remove(&[root(signed)]).unwrap();
        let usage = store.usage().unwrap();
        assert_eq!(usage.bytes, on_disk(folder.path()));
        assert!(usage.bytes < 2 * usage.live_bytes + 1000, "{usage:?}");
        assert!(verify(&store, last.record()).unwrap().problems.is_empty());
    }
    let left = on_disk(folder.path());
    assert!(left > page_bytes && left < 2 * page_bytes + 100_000, "{left}");
    assert_eq!(memory_of(&store, last.record()).unwrap(), without_zeros(&guest.memory));
    assert!(store.check(10).unwrap().is_empty());
    store.remove(&[root(&last), root(&last)]).unwrap();
    assert_eq!(on_disk(folder.path()), 0);
    assert_eq!(store.usage().unwrap().objects, 0);
    assert_eq!(store.remove(&[root(&last)]).unwrap(), Default::default());
}

#[test]
fn packs_go_on_to_the_next_when_full_and_shared_pages_survive() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    let pages = 9000;
    guest.layout = layout(vec![region("heap", 11, 0, pages)], pages);
    let mut random = Random(6);
    let dirty = fill(&mut guest, &mut random, pages);
    let first = guest.snapshot(&store, &dirty);
    assert_eq!(fs::read_dir(folder.path().join("store/packs")).unwrap().count(), 2);
    let dirty = fill(&mut guest, &mut random, 8500);
    let second = guest.snapshot(&store, &dirty);
    store.remove(&[root(&first)]).unwrap();
    let usage = store.usage().unwrap();
    assert!(usage.bytes < 2 * usage.live_bytes, "{usage:?}");
    assert!(verify(&store, second.record()).unwrap().problems.is_empty());
    assert!(store.check(10).unwrap().is_empty());
}

#[test]
fn a_snapshot_beyond_the_quota_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let quota = 600 * 1024;
    let store = Store::open(&folder.path().join("store"), Some(quota)).unwrap();
    let mut guest = Guest::new(1);
    let mut random = Random(6);
    let dirty = fill(&mut guest, &mut random, 100);
    let first = guest.snapshot(&store, &dirty);
    let before = (on_disk(folder.path()), store.usage().unwrap());
    let dirty = fill(&mut guest, &mut random, 60);
    let error = guest.try_snapshot(&store, &dirty).unwrap_err();
    assert!(matches!(error, StoreError::Full { needed, quota: q, .. } if needed > 240_000 && q == quota));
    assert!(error.to_string().contains("remove snapshots"));
    assert_eq!((on_disk(folder.path()), store.usage().unwrap()), before);
    // What compresses to less than is left fits.
    for gpn in 0..100 {
        guest.memory.insert(gpn, [gpn as u8 + 1; PAGE_SIZE]);
    }
    let dirty: Vec<u64> = (0..100).collect();
    let second = guest.snapshot(&store, &dirty);
    assert!(on_disk(folder.path()) <= quota);
    store.remove(&[root(&first)]).unwrap();
    let dirty = fill(&mut guest, &mut random, 60);
    let third = guest.snapshot(&store, &dirty);
    for signed in [second, third] {
        assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
    }
}

const FOLDER: &str = "SNAPSHOT_TEST_SHORT_WRITES";

/// Not a test by itself: what [`writes_that_fail_leave_the_old_state`] runs with a limit on file sizes.
#[test]
fn short_writes_child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let store = store(Path::new(&folder));
    let mut guest = Guest::new(1);
    let mut random = Random(6);
    for number in 1.. {
        let dirty = fill(&mut guest, &mut random, 20 + number % 7);
        match guest.try_snapshot(&store, &dirty) {
            Ok(_) => println!("\ndurable {number}"),
            Err(error) => {
                println!("\nfailed {number}: {error}");
                assert!(matches!(error, StoreError::Io { .. } | StoreError::Index(_)));
                // Once more: the store must still be usable, and still be full.
                assert!(guest.try_snapshot(&store, &dirty).is_err());
                return;
            }
        }
        assert!(number < 200, "the limit was never reached");
    }
}

#[test]
fn writes_that_fail_leave_the_old_state() {
    // The limit counts for every file, so that it strikes in a pack, or in the index while it grows.
    for kilobytes in [150, 200, 301, 1000, 2222] {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path());
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kilobytes * 2);
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "space::short_writes_child", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("failed"), "{said}\n{output:?}");
        let durable = said.matches("durable").count();
        let store = store(folder.path());
        assert_eq!(store.roots(None).unwrap().len(), durable, "{said}");
        assert!(store.check(10).unwrap().is_empty(), "at {kilobytes} KiB");
        let mut guest = Guest::new(2);
        let signed = guest.run_and_snapshot(&store, &mut Random(1), 50);
        assert!(verify(&store, signed.record()).unwrap().problems.is_empty());
        assert!(store.check(10).unwrap().is_empty());
        assert_eq!(store.usage().unwrap().bytes, on_disk(folder.path()));
    }
}
