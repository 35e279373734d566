use std::path::Path;

use redb::{ReadableTable, TableDefinition};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::timeline::{Settings, TIMELINE_FILE, Undo};
use sentient_snapshot::{Record, SignedRecord, SnapshotId, Timeline, TimelineError};

use crate::guest::unseal;
use crate::record::record;

fn signed(parent: Option<SnapshotId>, created_unix_ns: u64) -> SignedRecord {
    let key = MachineKey::from_secret(&[9; 32]);
    SignedRecord::sign(Record { parent, created_unix_ns, ..record() }, &key).unwrap()
}

fn open(folder: &Path) -> Timeline {
    Timeline::open(&folder.join(TIMELINE_FILE)).unwrap()
}

/// A line of `count` snapshots.
fn line(timeline: &Timeline, count: u64) -> Vec<SnapshotId> {
    let mut ids: Vec<SnapshotId> = Vec::new();
    for time in 0..count {
        let snapshot = signed(ids.last().copied(), time);
        timeline.add(&snapshot, None).unwrap();
        ids.push(snapshot.id());
    }
    ids
}

#[test]
fn a_timeline_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let ids = {
        let timeline = open(folder.path());
        assert_eq!(timeline.head().unwrap(), None);
        let ids = line(&timeline, 3);
        timeline.set_tag("clean", ids[1], false).unwrap();
        timeline.set_settings(Settings { keep: 5, quota: Some(1 << 30) }).unwrap();
        ids
    };
    let timeline = open(folder.path());
    assert_eq!(timeline.head().unwrap(), Some(ids[2]));
    assert_eq!(timeline.settings().unwrap(), Settings { keep: 5, quota: Some(1 << 30) });
    let log = timeline.log().unwrap();
    assert_eq!(log.iter().map(|entry| entry.snapshot.id()).collect::<Vec<_>>(), ids);
    assert_eq!(log[1].tags, ["clean"]);
    assert!(log[2].head && !log[1].head);
    assert_eq!(log[2].parent, Some(ids[1]));
    assert_eq!(timeline.get(ids[0]).unwrap().record().created_unix_ns, 0);
}

#[test]
fn the_settings_of_a_new_timeline_keep_64() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(folder.path()).settings().unwrap(), Settings { keep: 64, quota: None });
}

#[test]
fn a_parent_that_is_not_there_and_a_second_first_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let stray = signed(Some(SnapshotId([7; 32])), 1);
    assert!(matches!(timeline.add(&stray, None), Err(TimelineError::NoParent { .. })));
    let ids = line(&timeline, 2);
    assert!(matches!(timeline.add(&signed(None, 99), None), Err(TimelineError::SecondFirst { .. })));
    assert_eq!(timeline.head().unwrap(), Some(ids[1]));
    timeline.adopt(&stray, Some("theirs")).unwrap();
    assert_eq!(timeline.head().unwrap(), Some(ids[1]), "what comes from elsewhere is not the head");
    assert_eq!(timeline.resolve("theirs").unwrap(), stray.id());
    assert!(timeline.ancestors(stray.id(), 9).unwrap().is_empty());
}

#[test]
fn a_failed_operation_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 1);
    timeline.set_tag("taken", ids[0], false).unwrap();
    let next = signed(Some(ids[0]), 5);
    assert!(matches!(timeline.add(&next, Some("taken")), Err(TimelineError::TagTaken { .. })));
    assert!(matches!(timeline.add(&next, Some("-x")), Err(TimelineError::TagName { .. })));
    assert_eq!(timeline.head().unwrap(), Some(ids[0]));
    assert!(timeline.get(next.id()).is_err());
    timeline.set_tag("taken", ids[0], false).unwrap();
    timeline.add(&next, Some("free")).unwrap();
    timeline.set_tag("taken", next.id(), true).unwrap();
    timeline.remove_tag("taken").unwrap();
    assert!(matches!(timeline.remove_tag("taken"), Err(TimelineError::NoTag { .. })));
}

#[test]
fn names_lead_to_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    assert!(timeline.resolve("@").is_err());
    let ids = line(&timeline, 400);
    let head = ids[399];
    timeline.set_tag("v1.0_x-y", ids[7], false).unwrap();
    for (name, id) in [
        ("@", head),
        ("@~0", head),
        ("@~1", ids[398]),
        ("@~399", ids[0]),
        ("v1.0_x-y", ids[7]),
        (&ids[5].to_string(), ids[5]),
        (&ids[5].to_string().to_uppercase(), ids[5]),
        (&ids[5].to_string()[..12], ids[5]),
    ] {
        assert_eq!(timeline.resolve(name).unwrap(), id, "{name}");
    }
    for name in
        ["", "@1", "@~", "@~x", "@~+1", "@~-1", "@~99999999999999999999", "nobody", &ids[5].to_string()[..3]]
    {
        assert!(matches!(timeline.resolve(name), Err(TimelineError::Unknown { .. })), "{name}");
    }
    assert!(matches!(
        timeline.resolve("@~400"),
        Err(TimelineError::NoAncestor { there: 399, wanted: 400, .. })
    ));
    // A tag wins over the beginning of an id.
    let prefix = &ids[9].to_string()[..8];
    timeline.set_tag(prefix, ids[1], false).unwrap();
    assert_eq!(timeline.resolve(prefix).unwrap(), ids[1]);
}

#[test]
fn the_beginning_of_several_ids_lists_five_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TIMELINE_FILE);
    drop(open(folder.path()));
    // Ids with a common beginning cannot be had by trying; the table takes any.
    const SNAPSHOTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("snapshots");
    let db = unseal(&path);
    let txn = db.begin_write().unwrap();
    for last in 0..7 {
        let mut id = [0xab; 32];
        id[31] = last;
        txn.open_table(SNAPSHOTS).unwrap().insert(&id, &[][..]).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let error = open(folder.path()).resolve("ABAB").unwrap_err();
    assert!(
        matches!(&error, TimelineError::Ambiguous { candidates, more: true, .. } if candidates.len() == 5)
    );
}

#[test]
fn names_that_cannot_be_tags_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 1);
    for name in ["", "-x", ".x", "a b", "a/b", "@", "ä", &"x".repeat(65), &"ab".repeat(32)] {
        let found = timeline.set_tag(name, ids[0], false);
        assert!(matches!(found, Err(TimelineError::TagName { .. })), "{name}");
    }
    timeline.set_tag(&"x".repeat(64), ids[0], false).unwrap();
    timeline.set_tag(&"ab".repeat(31), ids[0], false).unwrap();
}

#[test]
fn head_tags_and_the_way_back_hold_on_to_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 8);
    timeline.set_tag("keep", ids[0], false).unwrap();
    // Rolled back to 2; 7 was taken before that, when 6 was the head.
    let undo = Undo { snapshot: ids[7], head: ids[6] };
    timeline.move_head(ids[2], Some(undo)).unwrap();
    assert_eq!(timeline.undo().unwrap(), Some(undo));
    assert_eq!(timeline.prune_candidates(5).unwrap(), [ids[1], ids[3], ids[4]]);
    assert_eq!(timeline.prune_candidates(0).unwrap(), [ids[1], ids[3], ids[4], ids[5]]);
    assert!(timeline.prune_candidates(8).unwrap().is_empty());
    for id in [ids[2], ids[0], ids[6], ids[7]] {
        assert!(matches!(timeline.remove(id, false), Err(TimelineError::Held { .. })));
    }
    for id in [ids[0], ids[6]] {
        timeline.remove(id, true).unwrap();
    }
    assert!(matches!(timeline.remove(ids[2], true), Err(TimelineError::Held { .. })));
    assert_eq!(timeline.undo().unwrap(), None, "the way back was given up");
    assert!(timeline.resolve("keep").is_err());
    assert!(matches!(timeline.move_head(ids[0], None), Err(TimelineError::Unknown { .. })));
}

#[test]
fn ancestry_goes_past_what_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 6);
    for at in [0, 2, 3] {
        timeline.remove(ids[at], false).unwrap();
    }
    assert_eq!(timeline.ancestors(ids[5], 99).unwrap(), [ids[4], ids[1]]);
    assert_eq!(timeline.resolve("@~2").unwrap(), ids[1]);
    let log = timeline.log().unwrap();
    assert_eq!(log[1].parent, Some(ids[1]));
    assert_eq!(log[0].parent, None);
    assert!(matches!(timeline.remove(ids[2], false), Err(TimelineError::Unknown { .. })));
    assert!(matches!(timeline.add(&signed(None, 99), None), Err(TimelineError::SecondFirst { .. })));
}

#[test]
fn what_was_looked_at_last_is_no_other_and_none_that_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 3);
    for id in [ids[0], ids[0], ids[1], ids[0]] {
        assert_eq!(timeline.get(id).unwrap().id(), id);
    }
    timeline.remove(ids[0], false).unwrap();
    assert!(matches!(timeline.get(ids[0]), Err(TimelineError::Unknown { .. })));
}

#[test]
fn tombstones_go_with_the_last_that_descends_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let timeline = open(folder.path());
    let ids = line(&timeline, 5);
    timeline.move_head(ids[0], None).unwrap();
    for at in [2, 3, 1, 4] {
        timeline.remove(ids[at], false).unwrap();
    }
    drop(timeline);
    const PARENTS: TableDefinition<&[u8; 32], &[u8; 41]> = TableDefinition::new("parents");
    let db = unseal(&folder.path().join(TIMELINE_FILE));
    let txn = db.begin_write().unwrap();
    assert_eq!(redb::ReadableTableMetadata::len(&txn.open_table(PARENTS).unwrap()).unwrap(), 1);
}

#[test]
fn snapshots_that_descend_from_themselves_hang_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ids = line(&open(folder.path()), 5);
    const PARENTS: TableDefinition<&[u8; 32], &[u8; 41]> = TableDefinition::new("parents");
    let db = unseal(&folder.path().join(TIMELINE_FILE));
    let txn = db.begin_write().unwrap();
    let mut row = [1; 41];
    row[9..].copy_from_slice(&ids[3].0);
    txn.open_table(PARENTS).unwrap().insert(&ids[0].0, &row).unwrap();
    txn.commit().unwrap();
    drop(db);
    let timeline = open(folder.path());
    assert!(matches!(timeline.ancestors(ids[4], 99), Err(TimelineError::Damaged { .. })));
    assert!(matches!(timeline.resolve("@~9"), Err(TimelineError::Damaged { .. })));
    assert_eq!(timeline.ancestors(ids[4], 2).unwrap(), [ids[3], ids[2]]);
    assert!(timeline.log().is_ok());
    assert_eq!(timeline.prune_candidates(1).unwrap().len(), 4);
    for id in &ids[..4] {
        timeline.remove(*id, false).unwrap();
    }
    assert_eq!(timeline.log().unwrap().len(), 1);
}

#[test]
fn a_record_that_was_changed_on_disk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ids = line(&open(folder.path()), 2);
    const SNAPSHOTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("snapshots");
    let db = unseal(&folder.path().join(TIMELINE_FILE));
    let txn = db.begin_write().unwrap();
    {
        let mut table = txn.open_table(SNAPSHOTS).unwrap();
        let other = table.get(&ids[1].0).unwrap().unwrap().value().to_owned();
        table.insert(&ids[0].0, other.as_slice()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(open(folder.path()).get(ids[0]), Err(TimelineError::Damaged { .. })));
}

#[test]
fn a_timeline_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let owner = open(folder.path());
    // Whoever has only read may be one of several; that nobody else changes it is the business of the machine's lock.
    drop(open(folder.path()));
    owner.set_settings(owner.settings().unwrap()).unwrap();
    assert!(matches!(Timeline::open(&folder.path().join(TIMELINE_FILE)), Err(TimelineError::Database(_))));
}
