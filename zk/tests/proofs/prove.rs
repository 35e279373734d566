//! Making and checking proofs.

use sentient_zk::commitment::SlotSet;
use sentient_zk::prove::ProveError;
use sentient_zk::scalar::Scalar;
use sentient_zk::verify::{MAX_BATCH, PROOF_LEN, Proof, VerifyError};

use crate::one_key::{PROVER, VERIFIER, proved, transition};

/// The order of the field of coordinates, little-endian (EIP-196).
const FIELD_ORDER: &str = "47fd7cd8168c203c8dca7168916a81975d588181b64550b829a031e1724e6430";

#[test]
fn a_proof_is_of_its_statement_alone() {
    let (statement, proof) = proved(9);
    assert_eq!(VERIFIER.verify(&statement, &proof), Ok(()));
    let mut others = [statement; 5];
    others[0].old_state += Scalar::from(1u8);
    others[1].new_state += Scalar::from(1u8);
    others[2].dirty = SlotSet(1 << 10);
    others[3].frozen = SlotSet::EMPTY;
    // The contract is in no constraint of ours; this is what binds it.
    others[4].contract[0] ^= 1;
    for other in others {
        assert_eq!(VERIFIER.verify(&other, &proof), Err(VerifyError::Refused), "{other:?}");
    }
}

#[test]
fn two_proofs_of_one_statement_differ_and_both_pass() {
    let (statement, one) = proved(9);
    let (_, two) = proved(9);
    let (one_points, two_points) = (one.points(), two.points());
    assert_ne!(one_points.a, two_points.a);
    assert_ne!(one_points.b, two_points.b);
    assert_ne!(one_points.c, two_points.c);
    assert_eq!(VERIFIER.verify_batch(&[(statement, one), (statement, two)]), Ok(()));
}

#[test]
fn what_is_not_so_is_not_proved() {
    let (statement, old, new) = transition(9);
    let prove = |statement| PROVER.prove(&statement, &old, &new);
    let mut others = [statement; 5];
    others[0].dirty = SlotSet::EMPTY;
    others[1].frozen = SlotSet(1 << 9);
    others[2].old_state += Scalar::from(1u8);
    others[3].new_state += Scalar::from(1u8);
    others[4].old_state = statement.new_state;
    for other in others {
        assert!(matches!(prove(other), Err(ProveError::False(_))), "{other:?}");
    }
    let mut elsewhere = new.clone();
    elsewhere.previous = Scalar::from(1u8);
    let mut other = statement;
    other.new_state = elsewhere.state();
    assert!(matches!(PROVER.prove(&other, &old, &elsewhere), Err(ProveError::False(_))));
}

#[test]
fn a_proof_has_one_encoding() {
    let (_, proof) = proved(3);
    let bytes = proof.encode();
    assert_eq!(Proof::decode(&bytes), Ok(proof));
    for len in [0, 1, PROOF_LEN - 1] {
        assert!(Proof::decode(&bytes[..len]).is_err());
    }
    assert!(Proof::decode(&[&bytes[..], &[0]].concat()).is_err());
    assert!(Proof::decode(&[0; PROOF_LEN]).is_err());
    assert!(Proof::decode(&[0xff; PROOF_LEN]).is_err());
    let order = (0..32).map(|at| u8::from_str_radix(&FIELD_ORDER[2 * at..2 * at + 2], 16).unwrap());
    let order: Vec<u8> = order.collect();
    for start in [0, 32, 64, 96] {
        // A coordinate plus the field's order, where that has room in 254 bits and a bit: another encoding
        // of the same point.
        let mut bytes = bytes;
        let mut carry = 0;
        for (byte, add) in bytes[start..start + 32].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert!(Proof::decode(&bytes).is_err(), "from {start}");
        // Infinity, with what remains of the coordinate.
        let mut bytes = proof_with_flag(&bytes, start);
        assert!(Proof::decode(&bytes).is_err());
        bytes[start..start + 31].fill(0);
        assert!(Proof::decode(&bytes).is_err());
    }
}

/// With the flag of infinity in the last byte of the coordinate at `start`.
fn proof_with_flag(bytes: &[u8; PROOF_LEN], start: usize) -> [u8; PROOF_LEN] {
    let mut bytes = *bytes;
    bytes[start + 31] |= 0x40;
    bytes
}

#[test]
fn a_point_outside_of_its_subgroup_is_refused() {
    use ark_bn254::{Fq, Fq2, G2Affine};
    use ark_serialize::CanonicalSerialize;
    let (_, proof) = proved(3);
    // The curve of G2 has a cofactor: most of its points are outside of the subgroup.
    let outside = (1u64..)
        .find_map(|x| G2Affine::get_point_from_x_unchecked(Fq2::new(Fq::from(x), Fq::from(1u8)), false))
        .unwrap();
    assert!(outside.is_on_curve() && !outside.is_in_correct_subgroup_assuming_on_curve());
    let mut bytes = proof.encode();
    outside.serialize_compressed(&mut bytes[32..96]).unwrap();
    assert!(matches!(Proof::decode(&bytes), Err(VerifyError::Encoding(_))));
}

#[test]
fn a_batch_is_as_good_as_its_worst_proof() {
    let first = proved(1 + 4);
    let mut batch: Vec<_> = (0..5).map(|at| if at == 0 { first.clone() } else { proved(10 + at) }).collect();
    assert_eq!(VERIFIER.verify_batch(&batch), Ok(()));
    assert_eq!(VERIFIER.verify_batch(&[]), Ok(()));
    for at in 0..batch.len() {
        let good = batch[at].clone();
        batch[at].0.frozen = SlotSet(4);
        assert_eq!(VERIFIER.verify_batch(&batch), Err(VerifyError::Refused), "{at}");
        batch[at] = good;
    }
    // Each proof with the other's statement.
    let (one, two) = (batch[1].0, batch[2].0);
    (batch[1].0, batch[2].0) = (two, one);
    assert_eq!(VERIFIER.verify_batch(&batch), Err(VerifyError::Refused));
    let many = vec![first.clone(); MAX_BATCH];
    assert_eq!(VERIFIER.verify_batch(&many), Ok(()));
    let many = vec![first; MAX_BATCH + 1];
    assert_eq!(VERIFIER.verify_batch(&many), Err(VerifyError::Batch(MAX_BATCH + 1)));
}
