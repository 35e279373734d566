use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sentient_snapshot::verify::verify;
use sentient_snapshot::{MemoryMap, SnapshotId, Timeline};

use crate::guest::{Guest, Random, memory_of, root, store};

const FOLDER: &str = "SNAPSHOT_TEST_KILL";
const SEED: &str = "SNAPSHOT_TEST_SEED";
const MACHINE: &str = "SNAPSHOT_TEST_MACHINE";

fn timeline_file(folder: &Path, machine: u8) -> PathBuf {
    folder.join(format!("timeline-{machine}.redb"))
}

/// A process that takes, prunes and reclaims snapshots of one machine until it is killed.
fn spawn(folder: &Path, machine: u8, seed: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::killed_child", "--nocapture"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .env(MACHINE, machine.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Opens everything as the next process would, and finds it whole. Returns the snapshots.
fn whole(folder: &Path, machine: u8) -> BTreeSet<SnapshotId> {
    let store = store(folder);
    let timeline = Timeline::open(&timeline_file(folder, machine)).unwrap();
    let there: BTreeSet<SnapshotId> = timeline.ids().unwrap().into_iter().collect();
    for id in &there {
        let signed = timeline.get(*id).unwrap();
        let problems = verify(&store, signed.record()).unwrap().problems;
        assert!(problems.is_empty(), "machine {machine}: {problems:?}");
    }
    let found = store.check(10).unwrap();
    assert!(found.is_empty(), "machine {machine}: {found:?}");
    there
}

fn say(line: &str) {
    // One write, so that no line comes in part.
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

/// Not a test by itself: the process that [`nothing_durable_is_lost_to_a_kill`] kills.
#[test]
fn killed_child() {
    let (Ok(folder), Ok(seed)) = (env::var(FOLDER), env::var(SEED)) else { return };
    let folder = Path::new(&folder);
    let machine = env::var(MACHINE).unwrap().parse().unwrap();
    let mut random = Random(seed.parse().unwrap());
    let store = store(folder);
    let timeline = Timeline::open(&timeline_file(folder, machine)).unwrap();
    let mut guest = Guest::new(machine);
    if let Some(head) = timeline.head().unwrap() {
        let head = timeline.get(head).unwrap();
        guest.map = Some(MemoryMap::load(head.record(), &store.session().unwrap()).unwrap());
        guest.memory = memory_of(&store, head.record()).unwrap();
        guest.parent = Some(head.id());
        guest.time = head.record().created_unix_ns;
    }
    let unclaimed = timeline.unclaimed(store.roots(Some(guest.machine)).unwrap()).unwrap();
    store.remove(&unclaimed).unwrap();
    loop {
        let signed = guest.run_and_snapshot(&store, &mut random, 30);
        timeline.add(&signed, None).unwrap();
        say(&format!("durable {}", signed.id()));
        for id in timeline.prune_candidates(5).unwrap() {
            say(&format!("pruned {id}"));
            let old = timeline.get(id).unwrap();
            timeline.remove(id, false).unwrap();
            store.remove(&[root(&old)]).unwrap();
        }
        if random.below(10) == 0 {
            store.reclaim().unwrap();
        }
    }
}

#[test]
fn nothing_durable_is_lost_to_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(77);
    let mut durable = BTreeSet::new();
    let mut pruned = BTreeSet::new();
    for round in 0..40 {
        let mut child = spawn(folder.path(), 1, round * 31 + 1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = |line: String| {
            let id = |prefix| line.strip_prefix(prefix).and_then(SnapshotId::parse);
            durable.extend(id("durable "));
            pruned.extend(id("pruned "));
            line.starts_with("durable")
        };
        // Any instant, also while it opens what the one before has left.
        if random.below(4) != 0 {
            let said = lines.by_ref().map(Result::unwrap).any(&mut heard);
            assert!(said, "the child of round {round} went by itself");
        }
        thread::sleep(Duration::from_micros(random.below(200_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map(Result::unwrap) {
            heard(line);
        }

        let there = whole(folder.path(), 1);
        let lost: Vec<_> = durable.difference(&pruned).filter(|id| !there.contains(*id)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
    }
    assert!(durable.len() > 30, "{} snapshots were taken in all", durable.len());
    let store = store(folder.path());
    store.reclaim().unwrap();
    let usage = store.usage().unwrap();
    assert!(usage.bytes < 2 * usage.live_bytes + 1000, "{usage:?}");
}

#[test]
fn two_processes_share_a_store_and_either_may_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let mut taken = 0;
    for round in 0..6 {
        let mut children =
            [1, 2].map(|machine| spawn(folder.path(), machine, round * 7 + u64::from(machine)));
        thread::sleep(Duration::from_millis(300 + random.below(700)));
        let first = random.below(2) as usize;
        for at in [first, 1 - first] {
            children[at].kill().unwrap();
            children[at].wait().unwrap();
            // The other one still runs when the first is looked at.
            taken += whole_while_others_write(folder.path(), at as u8 + 1);
        }
        for machine in [1, 2] {
            whole(folder.path(), machine);
        }
    }
    assert!(taken > 12, "{taken} snapshots were there in all");
    let store = store(folder.path());
    store.reclaim().unwrap();
    assert!(store.check(10).unwrap().is_empty());
}

/// Reads all memory of all snapshots of a machine, which nobody removes meanwhile.
fn whole_while_others_write(folder: &Path, machine: u8) -> usize {
    let store = store(folder);
    let timeline = Timeline::open(&timeline_file(folder, machine)).unwrap();
    let ids = timeline.ids().unwrap();
    for id in &ids {
        memory_of(&store, timeline.get(*id).unwrap().record()).unwrap();
    }
    ids.len()
}
