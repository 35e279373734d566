//! What becomes of the databases' files when something else changes them: errors, and never a panic,
//! which would end a release build.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sentient_snapshot::timeline::TIMELINE_FILE;
use sentient_snapshot::verify::verify;
use sentient_snapshot::{SignedRecord, Store, StoreError, Timeline, TimelineError};

use crate::guest::{Guest, Random, memory_of, root, store};

/// Bytes of a sealed block, and of what is before the first.
const UNIT: usize = 4 + 4096;
const PROLOGUE: usize = 16;

/// Three snapshots in a store and in a timeline, and the files of both databases.
fn filled(folder: &Path) -> (Vec<SignedRecord>, PathBuf, PathBuf) {
    let store = store(folder);
    let path = folder.join(TIMELINE_FILE);
    let timeline = Timeline::open(&path).unwrap();
    let mut guest = Guest::new(1);
    let mut random = Random(3);
    let mut taken = Vec::new();
    for count in [150, 20, 20] {
        let signed = guest.run_and_snapshot(&store, &mut random, count);
        timeline.add(&signed, None).unwrap();
        taken.push(signed);
    }
    timeline.set_tag("first", taken[0].id(), false).unwrap();
    (taken, folder.join("store/index.redb"), path)
}

/// Reads everything that a store has to say, and then writes to it.
fn use_store(folder: &Path, taken: &[SignedRecord]) -> Result<(), StoreError> {
    let store = Store::open(&folder.join("store"), None)?;
    assert_eq!(store.roots(None)?.len(), taken.len());
    store.usage()?;
    for signed in taken {
        match verify(&store, signed.record())?.problems.into_iter().next() {
            Some(problem) => return Err(problem.error),
            None => memory_of(&store, signed.record())?,
        };
    }
    if let Some(found) = store.check(10)?.into_iter().next() {
        return Err(found);
    }
    store.remove(&[root(&taken[1])])?;
    store.reclaim()?;
    let mut guest = Guest::new(2);
    let dirty = guest.run(&mut Random(5), 10);
    guest.try_snapshot(&store, &dirty).map(drop)
}

/// The same for a timeline.
fn use_timeline(path: &Path, taken: &[SignedRecord]) -> Result<(), TimelineError> {
    let timeline = Timeline::open(path)?;
    assert_eq!(timeline.ids()?.len(), taken.len());
    for signed in taken {
        assert_eq!(&timeline.get(signed.id())?, signed);
    }
    assert_eq!(timeline.log()?.len(), taken.len());
    assert_eq!(timeline.head()?, Some(taken[2].id()));
    assert_eq!(timeline.resolve("first")?, taken[0].id());
    timeline.settings()?;
    timeline.prune_candidates(1)?;
    timeline.move_head(taken[0].id(), None)?;
    timeline.set_tag("last", taken[2].id(), false)?;
    timeline.remove(taken[1].id(), false)
}

#[test]
fn any_bit_that_changes_in_a_database_is_an_error_or_in_a_place_that_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (taken, index, timeline) = filled(folder.path());
    let packs = fs::read_dir(folder.path().join("store/packs")).unwrap();
    let packs: Vec<_> =
        packs.map(|entry| entry.unwrap().path()).map(|path| (fs::read(&path).unwrap(), path)).collect();
    let mut random = Random(1234);
    for (path, is_index) in [(&index, true), (&timeline, false)] {
        let good = fs::read(path).unwrap();
        let mut refused = 0;
        // Bytes of redb's header, then of every block, as many of each as there are of the others.
        let blocks = ((good.len() - PROLOGUE) / UNIT) as u64;
        for round in 0..250 {
            let at = match round {
                0..80 => random.below(PROLOGUE as u64 + 4 + 320) as usize,
                _ => PROLOGUE + (round % blocks) as usize * UNIT + random.below(UNIT as u64) as usize,
            };
            let mut bad = good.clone();
            bad[at] ^= 1 << random.below(8);
            fs::write(path, &bad).unwrap();
            let refusal = if is_index {
                use_store(folder.path(), &taken).err().map(|error| error.to_string())
            } else {
                use_timeline(path, &taken).err().map(|error| error.to_string())
            };
            assert!(refusal.is_some() || round >= 80, "byte {at} of the header");
            if let Some(refusal) = refusal {
                let named = refusal.contains(path.to_str().unwrap());
                assert!(named, "byte {at}: {refusal}");
                refused += 1;
            }
            for (bytes, path) in &packs {
                fs::write(path, bytes).unwrap();
            }
        }
        fs::write(path, &good).unwrap();
        assert!(refused > 120, "{refused} of 250");
    }
    use_store(folder.path(), &taken).unwrap();
    use_timeline(&timeline, &taken).unwrap();
}

#[test]
fn blocks_that_are_missing_stale_or_elsewhere_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (taken, index, timeline) = filled(folder.path());
    for path in [&index, &timeline] {
        let good = fs::read(path).unwrap();
        let blocks = (good.len() - PROLOGUE) / UNIT;
        let refused = || {
            if path == &index {
                use_store(folder.path(), &taken).is_err()
            } else {
                use_timeline(path, &taken).is_err()
            }
        };
        for len in [0, 1, 15, 16, 17, PROLOGUE + 500, PROLOGUE + UNIT, good.len() - UNIT, good.len() - 1] {
            fs::write(path, &good[..len]).unwrap();
            assert!(refused(), "{len} bytes");
        }
        fs::write(path, [&good[..], &[0; 100]].concat()).unwrap();
        assert!(refused(), "100 bytes too many");
        // The first block behind the header, and one of zeros, in place of all others: redb is told of
        // neither.
        let unit = |number: usize| PROLOGUE + number * UNIT..PROLOGUE + (number + 1) * UNIT;
        for other in [good[unit(1)].to_vec(), vec![0; UNIT]] {
            let mut bad = good.clone();
            for number in 2..blocks {
                bad[unit(number)].copy_from_slice(&other);
            }
            fs::write(path, &bad).unwrap();
            assert!(refused());
        }
        fs::write(path, &good).unwrap();
    }
}

#[test]
fn a_database_without_seals_is_refused_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TIMELINE_FILE);
    drop(redb::Database::create(&path).unwrap());
    let error = Timeline::open(&path).err().unwrap().to_string();
    assert!(error.contains("sealed file of format 1"), "{error}");
}

#[test]
fn what_a_dead_creator_left_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let draft = folder.path().join("timeline.redb.new");
    for left in [&b""[..], b"SENTSEAL\x01", &[7; 9000]] {
        fs::write(&draft, left).unwrap();
        let path = folder.path().join(TIMELINE_FILE);
        assert!(Timeline::open(&path).unwrap().ids().unwrap().is_empty());
        assert!(!draft.exists());
        fs::remove_file(path).unwrap();
    }
}

/// A block that no commit uses may be anything: a crash can leave it half written.
#[test]
fn blocks_behind_the_last_commit_are_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let (taken, index, _) = filled(folder.path());
    let good = fs::read(&index).unwrap();
    let file = OpenOptions::new().write(true).open(&index).unwrap();
    let mut unused = 0;
    for number in 1..(good.len() - PROLOGUE) / UNIT {
        let at = (PROLOGUE + number * UNIT) as u64;
        file.write_all_at(&[0xee; 600], at + 3000).unwrap();
        unused += u32::from(use_store(folder.path(), &taken).is_ok());
        fs::write(&index, &good).unwrap();
        if unused > 0 {
            return;
        }
    }
    panic!("every block of the index is in use");
}
