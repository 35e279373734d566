//! Proofs in a chain, and a chain in one file.

use std::fs;

use sentient_zk::chain::{LinkError, Rollup, RollupError, TraceError};
use sentient_zk::contract::Contract;
use sentient_zk::keys::{KeyDigest, KeyError, KeyOrigin};
use sentient_zk::verify::VerifyError;

use crate::machine::key;
use crate::one_key::{KEYS, PROVER, VERIFIER};
use crate::traces::history;

/// One test, because it makes its proofs once.
#[test]
fn a_proved_chain_is_rolled_up_and_checked_by_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let trace = history(folder.path());
    let (keys, prover, verifier) = (&*KEYS, &*PROVER, &*VERIFIER);
    let trusted = keys.verifying().digest();
    let contracts = [Contract::built_in().unwrap()];
    assert!(matches!(Rollup::of(&trace, 0, 4, keys.verifying(), &contracts), Err(RollupError::Unproved(1))));
    for sequence in trace.unproved() {
        let (statement, old, new) = trace.to_prove(sequence).unwrap().unwrap();
        let proof = prover.prove(&statement, &old, &new).unwrap();
        trace.put_proof(sequence, trusted, &proof).unwrap();
    }
    assert_eq!(trace.unproved(), Vec::<u64>::new());
    let checked = trace.verify(verifier, .., trace.head().map(|head| head.id())).unwrap();
    assert_eq!((checked.proved, checked.unproved.len(), checked.flagged.len()), (4, 0, 0));

    let rollup = Rollup::of(&trace, 0, 4, keys.verifying(), &contracts).unwrap();
    let bytes = rollup.encode();
    println!("{} bytes for 5 records", bytes.len());
    let read = Rollup::decode(&bytes).unwrap();
    assert_eq!(read, rollup);
    let verified = read.verify(trusted, Some(&key().public())).unwrap();
    assert_eq!(verified.records, trace.records());
    assert_eq!(verified.key_origin, KeyOrigin::Development);
    verified.has(trace.head().unwrap().id()).unwrap();

    // In two parts: the second follows the first, and not the other way round.
    let part = |first, last| {
        let rollup = Rollup::of(&trace, first, last, keys.verifying(), &contracts).unwrap();
        rollup.verify(trusted, None).unwrap()
    };
    part(2, 4).follows(&part(0, 1)).unwrap();
    assert!(matches!(part(0, 1).follows(&part(2, 4)), Err(LinkError::Sequence { .. })));
    assert!(matches!(part(3, 4).follows(&part(0, 1)), Err(LinkError::Sequence { .. })));
    assert!(matches!(part(0, 1).has(trace.head().unwrap().id()), Err(LinkError::Missing(_))));

    // Another key, another signer, a contract that is missing, too many.
    let other = read.verify(KeyDigest([1; 32]), None);
    assert!(matches!(other, Err(RollupError::Key(KeyError::Pinned { .. }))));
    assert!(matches!(read.verify(trusted, Some(&[1; 32])), Err(RollupError::Signer(_))));
    assert!(matches!(Rollup::of(&trace, 0, 4, keys.verifying(), &[]), Err(RollupError::Mask { at: 0, .. })));
    let many = Rollup::of(&trace, 0, 64, keys.verifying(), &contracts);
    assert!(matches!(many, Err(RollupError::Proof(VerifyError::Batch(65)))));

    // Any changed byte.
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Rollup::decode(&bad).is_err(), "byte {at}");
    }
    assert!(Rollup::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(Rollup::decode(&[]).is_err());

    // A proof of another record, at the trace and in a rollup.
    let (_, proof) = trace.proof(2).unwrap().unwrap();
    trace.put_proof(1, trusted, &proof).unwrap();
    assert!(matches!(trace.verify(verifier, .., None), Err(TraceError::Proof { .. })));
    let wrong = Rollup::of(&trace, 0, 4, keys.verifying(), &contracts).unwrap();
    assert!(matches!(wrong.verify(trusted, None), Err(RollupError::Proof(VerifyError::Refused))));
    let proof_of = |number: u64| folder.path().join(format!("{number:08}.proof"));
    fs::copy(proof_of(2), proof_of(1)).unwrap();
    assert!(matches!(trace.proof(1), Err(TraceError::Proof { .. })));
    fs::remove_file(proof_of(1)).unwrap();
    assert_eq!(trace.unproved(), [1]);
}
