//! Chains as files: what happened stays, and what was changed is noticed.

use std::fs;
use std::path::Path;

use sentient_zk::chain::links::LinkError;
use sentient_zk::chain::record::{ChainRecordError, SignedChainRecord};
use sentient_zk::chain::{RecordId, Trace, TraceError};
use sentient_zk::commitment::{Origin, SlotSet};
use sentient_zk::contract::Contract;

use crate::machine::{MACHINE, first_snapshot, key, regions, snapshot};

/// Genesis, two snapshots, a rollback to the first, and a snapshot of the branch after it.
pub fn history(folder: &Path) -> Trace {
    let contract = Contract::built_in().unwrap();
    let mut trace = Trace::open(folder).unwrap();
    let zero = first_snapshot();
    let one = snapshot(Some(&zero), regions(), &[(5, 5)], b"state 1");
    let two = snapshot(Some(&one), regions(), &[(9, 6)], b"state 2");
    let branch = snapshot(Some(&zero), regions(), &[(10, 7)], b"state 3");
    trace.append(&zero.genesis(&contract), MACHINE, None, 1, &key()).unwrap();
    let steps = [
        (&zero, &one, Origin::Snapshot),
        (&one, &two, Origin::Snapshot),
        (&two, &zero, Origin::Rollback),
        (&zero, &branch, Origin::Snapshot),
    ];
    for (time, (old, new, origin)) in (2..).zip(steps) {
        let opening = trace.opening(time - 2).unwrap();
        let transition = new.transition(old, opening, origin, &contract);
        assert_eq!(transition.verdict.violations, []);
        trace.append(&transition, MACHINE, None, time, &key()).unwrap();
    }
    trace
}

fn file(folder: &Path, number: u64, what: &str) -> std::path::PathBuf {
    folder.join(format!("{number:08}.{what}"))
}

#[test]
fn a_chain_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    let again = Trace::open(folder.path()).unwrap();
    assert_eq!(again.records(), trace.records());
    assert_eq!(again.unproved(), [1, 2, 3, 4]);
    let origins: Vec<Origin> = again.records().iter().map(|record| record.record().origin).collect();
    let expected = [Origin::Genesis, Origin::Snapshot, Origin::Snapshot, Origin::Rollback, Origin::Snapshot];
    assert_eq!(origins, expected);
    // After the rollback memory is that of the first snapshot, and the state is another.
    assert_eq!(again.opening(3).unwrap().memory, again.opening(0).unwrap().memory);
    assert_ne!(again.records()[3].record().new_state, again.records()[0].record().new_state);
    for sequence in 1..5 {
        let (statement, old, new) = again.to_prove(sequence).unwrap().unwrap();
        assert_eq!((old.state(), new.state()), (statement.old_state, statement.new_state));
        assert_eq!(old.memory.differs(&new.memory), statement.dirty);
    }
    assert!(again.to_prove(0).unwrap().is_none());
    assert!(matches!(again.to_prove(5), Err(TraceError::Unknown { sequence: 5, len: 5 })));
}

#[test]
fn a_record_that_is_left_out_moved_or_repeated_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let path = |number| file(folder.path(), number, "record");
    let good: Vec<Vec<u8>> = (0..5).map(|number| fs::read(path(number)).unwrap()).collect();
    let put = |order: &[usize]| {
        (0..5).for_each(|number| drop(fs::remove_file(path(number))));
        order.iter().enumerate().for_each(|(at, from)| fs::write(path(at as u64), &good[*from]).unwrap());
        Trace::open(folder.path())
    };
    assert!(put(&[0, 1, 2, 3, 4]).is_ok());
    for order in [[0, 2, 3, 4].as_slice(), &[0, 1, 3, 2, 4], &[0, 1, 1, 2, 3], &[1, 2, 3, 4], &[0, 1, 2, 2]] {
        assert!(matches!(put(order), Err(TraceError::Place { .. })), "{order:?}");
    }
    put(&[0, 1, 2, 3, 4]).unwrap();
    fs::remove_file(path(2)).unwrap();
    let gap = Trace::open(folder.path());
    assert!(matches!(gap, Err(TraceError::Link(LinkError::Sequence { expected: 2, found: 3 }))), "{gap:?}");
}

#[test]
fn a_record_that_is_changed_in_any_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let path = file(folder.path(), 2, "record");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(SignedChainRecord::decode(&bad).is_err(), "byte {at}");
    }
    fs::write(&path, &good[1..]).unwrap();
    assert!(matches!(Trace::open(folder.path()), Err(TraceError::Record { .. })));
}

#[test]
fn a_record_that_is_signed_anew_breaks_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    let path = file(folder.path(), 2, "record");
    let resign = |change: &dyn Fn(&mut sentient_zk::chain::ChainRecord), secret: u8| {
        let mut record = trace.records()[2].record().clone();
        change(&mut record);
        let key = sentient_snapshot::keys::MachineKey::from_secret(&[secret; 32]);
        let signed = SignedChainRecord::sign(record, &key).unwrap();
        fs::write(&path, signed.encode()).unwrap();
        Trace::open(folder.path())
    };
    assert!(resign(&|_| {}, 0x42).is_ok());
    assert!(matches!(resign(&|_| {}, 1), Err(TraceError::Link(LinkError::Other { what: "key", .. }))));
    let time = resign(&|record| record.created_unix_ns += 1, 0x42);
    assert!(matches!(time, Err(TraceError::Link(LinkError::Parent { at: 3, .. }))), "{time:?}");
    let state = resign(&|record| record.old_state = [1; 32], 0x42);
    assert!(matches!(state, Err(TraceError::Link(LinkError::State { at: 2 }))), "{state:?}");
    let machine = resign(&|record| record.machine = [8; 16], 0x42);
    assert!(matches!(machine, Err(TraceError::Link(LinkError::Other { what: "machine", .. }))));
}

#[test]
fn records_that_contradict_themselves_are_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    let changes: [fn(&mut sentient_zk::chain::ChainRecord); 6] = [
        |record| record.parent = None,
        |record| record.origin = Origin::Genesis,
        |record| record.origin = Origin::Fork,
        |record| record.old_state = [0xff; 32],
        |record| record.dirty = SlotSet(u64::MAX),
        |record| record.flagged = SlotSet(1),
    ];
    for change in changes {
        let mut record = trace.records()[2].record().clone();
        change(&mut record);
        assert!(matches!(SignedChainRecord::sign(record, &key()), Err(ChainRecordError::Encoding(_))));
    }
}

#[test]
fn an_end_that_was_cut_off_is_noticed_by_who_knows_a_record_of_it() {
    use crate::one_key::VERIFIER;
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    let last = trace.head().unwrap().id();
    fs::remove_file(file(folder.path(), 4, "record")).unwrap();
    let cut = Trace::open(folder.path()).unwrap();
    assert!(cut.verify(&VERIFIER, .., None).is_ok());
    let missing = cut.verify(&VERIFIER, .., Some(last));
    assert!(matches!(missing, Err(TraceError::Link(LinkError::Missing(id))) if id == last));
    assert!(RecordId::parse(&last.to_string()) == Some(last));
}

#[test]
fn what_a_crash_leaves_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    // Died after the opening and a draft of the record.
    fs::write(file(folder.path(), 5, "opening"), b"half").unwrap();
    fs::write(folder.path().join(".draft-x"), b"half").unwrap();
    let mut trace = Trace::open(folder.path()).unwrap();
    let contract = Contract::built_in().unwrap();
    let zero = first_snapshot();
    let branch = snapshot(Some(&zero), regions(), &[(10, 7)], b"state 3");
    let next = snapshot(Some(&branch), regions(), &[(11, 7)], b"state 4");
    let opening = trace.opening(4).unwrap();
    let transition = next.transition(&branch, opening.clone(), Origin::Snapshot, &contract);
    trace.append(&transition, MACHINE, None, 9, &key()).unwrap();
    assert_eq!(Trace::open(folder.path()).unwrap().records().len(), 6);
    // What begins elsewhere than the chain ends, is not appended.
    let late = next.transition(&branch, opening, Origin::Snapshot, &contract);
    assert!(matches!(
        trace.append(&late, MACHINE, None, 10, &key()),
        Err(TraceError::Link(LinkError::State { .. }))
    ));
    assert_eq!(Trace::open(folder.path()).unwrap().records().len(), 6);
}

#[test]
fn an_opening_of_another_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    fs::copy(file(folder.path(), 1, "opening"), file(folder.path(), 2, "opening")).unwrap();
    assert!(matches!(trace.opening(2), Err(TraceError::Opening { .. })));
    assert!(matches!(trace.to_prove(3), Err(TraceError::Opening { .. })));
}

#[test]
fn a_broken_contract_is_in_the_record_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let contract = Contract::built_in().unwrap();
    let mut trace = Trace::open(folder.path()).unwrap();
    let zero = first_snapshot();
    trace.append(&zero.genesis(&contract), MACHINE, None, 1, &key()).unwrap();
    let bad = snapshot(Some(&zero), regions(), &[(1, 9)], b"state 1");
    let transition = bad.transition(&zero, trace.opening(0).unwrap(), Origin::Snapshot, &contract);
    assert_eq!(transition.verdict.violations.len(), 1);
    let record = trace.append(&transition, MACHINE, None, 2, &key()).unwrap().record().clone();
    assert_eq!(record.flagged, SlotSet(1 << 1));
    let statement = record.statement().unwrap();
    assert!(!statement.frozen.has(sentient_zk::commitment::Slot::new(1).unwrap()));
}

#[test]
fn a_fork_follows_the_machine_it_was_made_from() {
    let (folder, child) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trace = history(folder.path());
    let contract = Contract::built_in().unwrap();
    let zero = first_snapshot();
    let fork = snapshot(Some(&zero), regions(), &[(10, 7)], b"state 3");
    let transition = fork.transition(&fork, trace.opening(4).unwrap(), Origin::Fork, &contract);
    let mut forked = Trace::open(child.path()).unwrap();
    let record = forked.append(&transition, [8; 16], trace.head(), 1, &key()).unwrap();
    assert_eq!((record.record().sequence, record.record().parent), (0, Some(trace.head().unwrap().id())));
    let forked = Trace::open(child.path()).unwrap();
    let (statement, old, _) = forked.to_prove(0).unwrap().unwrap();
    assert_eq!(old.state(), statement.old_state);
    assert_eq!(statement.dirty, SlotSet::EMPTY);
}
