//! How large the circuit is.

use sentient_zk::circuit::shape::DOMAIN;
use sentient_zk::circuit::{Assignment, Family, Inputs, PUBLIC, Shape};

use crate::{new, old, statement};

#[test]
fn constraints_and_public_inputs_fit_the_domain() {
    let shape = Shape::transition();
    let sizes =
        Family::ALL.map(|family| (family, shape.families.iter().filter(|here| **here == family).count()));
    println!("{} constraints, {} wires: {sizes:?}", shape.constraints(), shape.wires());
    assert!(shape.constraints() + PUBLIC < DOMAIN, "{} constraints", shape.constraints());
    assert_eq!(shape.constraints(), 18 * 402 + 2 * 297 + 128 + 2 + 64 + 64 + 2);
}

#[test]
fn an_honest_transition_fits() {
    let shape = Shape::transition();
    let cases: [(&[usize], &[usize], &[usize]); 5] = [
        (&[], &[], &[]),
        (&[3], &[3], &[1, 5]),
        (&[0, 63], &[0, 62, 63], &[1]),
        (&[], &[], &(0..64).collect::<Vec<_>>()),
        (&(0..64).collect::<Vec<_>>(), &(0..64).collect::<Vec<_>>(), &[]),
    ];
    for (changed, dirty, frozen) in cases {
        let statement = statement(changed, dirty, frozen);
        let assignment = Assignment::of(&Inputs::honest(&statement, &old(), &new(changed)));
        assert_eq!(assignment.values.len(), shape.wires());
        assert_eq!(shape.broken(&assignment.values, &[]), None, "{changed:?} {dirty:?} {frozen:?}");
    }
}

#[test]
fn the_digest_names_the_constraints() {
    let shape = Shape::transition();
    let mut other = shape.clone();
    other.left[100][0].0 += sentient_zk::scalar::Scalar::from(1u8);
    assert_ne!(shape.digest(), other.digest());
    // A change here makes all keys useless: it is a new version of the proof system.
    assert_eq!(
        sentient_snapshot::hash::hex(&shape.digest()),
        "bd7010c8d78a5840b32eb30a873e66307b20c673e25e470734fca1b4f9e8e4cd"
    );
}
