//! For each family of constraints a false witness, which it alone stands against.

use ark_ff::{AdditiveGroup, Field};
use sentient_zk::circuit::{Assignment, Family, Inputs, Shape};
use sentient_zk::commitment::SLOTS;
use sentient_zk::scalar::Scalar;

use crate::{new, old, statement};

/// Where the bits of the masks lie in the private inputs.
const DIRTY: usize = 5 + 2 * SLOTS;
const FROZEN: usize = DIRTY + SLOTS;

/// `values` is refused because of `family`, and would pass without it.
fn only(family: Family, values: &[Scalar]) {
    let shape = Shape::transition();
    assert_eq!(shape.broken(values, &[]).map(|(_, found)| found), Some(family));
    assert_eq!(shape.broken(values, &[family]), None, "something else stands against it, too");
    for other in Family::ALL.into_iter().filter(|other| *other != family) {
        assert!(shape.broken(values, &[other]).is_some(), "passes without {other:?}");
    }
}

fn values(inputs: &Inputs) -> Vec<Scalar> {
    Assignment::of(inputs).values
}

#[test]
fn a_change_that_no_mask_admits() {
    let statement = statement(&[7, 9], &[9], &[]);
    only(Family::Equal, &values(&Inputs::honest(&statement, &old(), &new(&[7, 9]))));
}

#[test]
fn a_change_of_what_is_frozen() {
    let statement = statement(&[1], &[1], &[1, 5]);
    only(Family::Frozen, &values(&Inputs::honest(&statement, &old(), &new(&[1]))));
}

#[test]
fn an_old_state_of_other_slots() {
    // The prover knows what the old slots would have to be, but not how to hash them to the old state.
    let statement = statement(&[7], &[], &[7]);
    let mut inputs = Inputs::honest(&statement, &old(), &new(&[7]));
    let new = new(&[7]);
    inputs.private[5..5 + SLOTS].copy_from_slice(new.memory.slots());
    only(Family::Opening, &values(&inputs));
}

#[test]
fn a_new_state_that_does_not_follow() {
    // The new state of another history: same memory, another predecessor.
    let mut elsewhere = new(&[7]);
    elsewhere.previous = Scalar::from(4u8);
    let mut statement = statement(&[7], &[7], &[]);
    statement.new_state = elsewhere.state();
    only(Family::Chaining, &values(&Inputs::honest(&statement, &old(), &elsewhere)));
}

#[test]
fn a_dirty_bit_that_others_cancel() {
    // The mask is 0; bit 3 is 1, and bit 0 is -8. Slot 3 changes, and nobody sees it.
    let statement = statement(&[3], &[], &[]);
    let mut inputs = Inputs::honest(&statement, &old(), &new(&[3]));
    inputs.private[DIRTY + 3] = Scalar::ONE;
    inputs.private[DIRTY] = -Scalar::from(8u8);
    only(Family::Boolean, &values(&inputs));
}

#[test]
fn a_frozen_bit_that_others_cancel() {
    // The mask says that slot 3 is frozen; bit 3 is 0, and bit 0 is 8.
    let statement = statement(&[3], &[3], &[3]);
    let mut inputs = Inputs::honest(&statement, &old(), &new(&[3]));
    inputs.private[FROZEN + 3] = Scalar::ZERO;
    inputs.private[FROZEN] = Scalar::from(8u8);
    only(Family::Boolean, &values(&inputs));
}

#[test]
fn masks_other_than_the_public_ones() {
    let dirty = statement(&[3], &[], &[]);
    let mut inputs = Inputs::honest(&dirty, &old(), &new(&[3]));
    inputs.private[DIRTY + 3] = Scalar::ONE;
    only(Family::Packing, &values(&inputs));

    let frozen = statement(&[3], &[3], &[3]);
    let mut inputs = Inputs::honest(&frozen, &old(), &new(&[3]));
    inputs.private[FROZEN + 3] = Scalar::ZERO;
    only(Family::Packing, &values(&inputs));
}

#[test]
fn a_hash_that_is_not_computed() {
    // The last S-boxes of both hashes are chosen so that any states come out.
    let shape = Shape::transition();
    let mut statement = statement(&[7], &[7], &[]);
    statement.old_state = Scalar::from(11u8);
    statement.new_state = Scalar::from(12u8);
    let mut values = values(&Inputs::honest(&statement, &old(), &new(&[7])));
    for family in [Family::Opening, Family::Chaining] {
        let row = shape.families.iter().position(|here| *here == family).unwrap();
        let sum: Scalar = shape.left[row].iter().map(|(factor, wire)| values[*wire] * factor).sum();
        let wanted = values[shape.product[row][0].1];
        let (factor, wire) = *shape.left[row].last().unwrap();
        values[wire] += (wanted - sum) * factor.inverse().unwrap();
    }
    only(Family::Permutation, &values);
}

#[test]
fn every_wire_of_the_witness_is_in_a_constraint() {
    let shape = Shape::transition();
    let mut used = vec![false; shape.wires()];
    for sum in shape.left.iter().chain(&shape.right).chain(&shape.product) {
        sum.iter().for_each(|(_, wire)| used[*wire] = true);
    }
    // The contract's digest is bound by the reduction alone: `a_proof_is_of_its_contract`.
    let unused: Vec<usize> = (0..used.len()).filter(|wire| !used[*wire]).collect();
    assert_eq!(unused, [5]);
}

#[test]
fn one_wrong_wire_is_enough_to_be_refused() {
    let shape = Shape::transition();
    let statement = statement(&[7], &[7], &[1]);
    let good = values(&Inputs::honest(&statement, &old(), &new(&[7])));
    for wire in (0..good.len()).step_by(97).filter(|wire| *wire != 5) {
        let mut bad = good.clone();
        bad[wire] += Scalar::ONE;
        assert!(shape.broken(&bad, &[]).is_some(), "wire {wire}");
    }
}
