//! The statement: between two states of a machine, nothing changed that the masks do not allow.
//!
//! Public, in this order: the old state, the new state, the mask of dirty slots, the mask of frozen
//! slots, the contract's digest. What is demanded, with the number of constraints:
//!
//! | | |
//! |---|---|
//! | bits of both masks are 0 or 1, and make up the public masks | 128 + 2 |
//! | for each slot: (1 - dirty) * (new - old) = 0 | 64 |
//! | for each slot: dirty * frozen = 0 | 64 |
//! | old state = H(its predecessor, tree of the old slots, its delta, its meta) | 9 * 402 + 297 + 1 |
//! | new state = H(old state, tree of the new slots, delta, meta) | 9 * 402 + 297 + 1 |
//!
//! The contract's digest is in no constraint of ours. It is bound by the ones that Groth16's reduction to
//! polynomials adds for each public input, and a test shows that a proof with another one is refused.

use ark_ff::{AdditiveGroup, Field};

use super::permutation;
use super::wires::{Family, Wires};
use crate::commitment::poseidon::{ARITY, NODE, Parameters, STATE};
use crate::commitment::{SLOTS, Slot, SlotSet, StateOpening};
use crate::scalar::{Scalar, truncated};

/// Public inputs.
pub const PUBLIC: usize = 5;
/// Private inputs: predecessor, delta and meta of the old state, delta and meta of the new one; then the
/// old slots, the new slots, the bits of the dirty mask and those of the frozen mask.
pub const PRIVATE: usize = 5 + 4 * SLOTS;

const OLD_STATE: usize = 0;
const NEW_STATE: usize = 1;
const DIRTY: usize = 2;
const FROZEN: usize = 3;
const CONTRACT: usize = 4;

/// What is proved of a transition: all that a verifier knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The state before.
    pub old_state: Scalar,
    /// The state after.
    pub new_state: Scalar,
    /// Slots that may differ.
    pub dirty: SlotSet,
    /// Slots that may not be dirty.
    pub frozen: SlotSet,
    /// SHA3-256 of the contract that says which slots are frozen; 248 bits of it are proved.
    pub contract: [u8; 32],
}

impl Statement {
    /// The public inputs, in the circuit's order.
    #[must_use]
    pub fn public(&self) -> [Scalar; PUBLIC] {
        [
            self.old_state,
            self.new_state,
            Scalar::from(self.dirty.0),
            Scalar::from(self.frozen.0),
            truncated(&self.contract),
        ]
    }
}

/// What the circuit is fed with. Any scalars: an honest caller uses [`Inputs::honest`], a test may not.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Public inputs.
    pub public: [Scalar; PUBLIC],
    /// Private inputs.
    pub private: [Scalar; PRIVATE],
}

impl Inputs {
    /// Those of a statement, whose states are `old`'s and `new`'s.
    #[must_use]
    pub fn honest(statement: &Statement, old: &StateOpening, new: &StateOpening) -> Self {
        let mut private = [Scalar::ZERO; PRIVATE];
        let bits = |mask: SlotSet| Slot::all().map(move |slot| Scalar::from(u8::from(mask.has(slot))));
        let values = [old.previous, old.delta, old.meta, new.delta, new.meta].into_iter();
        let slots = old.memory.slots().iter().chain(new.memory.slots()).copied();
        let all = values.chain(slots).chain(bits(statement.dirty)).chain(bits(statement.frozen));
        private.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        Self { public: statement.public(), private }
    }
}

/// Writes the statement into `wires`.
pub fn constrain<W: Wires>(wires: &mut W) {
    let mut private = (0..PRIVATE).map(|index| wires.private(index)).collect::<Vec<_>>().into_iter();
    let head: Vec<_> = private.by_ref().take(5).collect();
    let old: Vec<_> = private.by_ref().take(SLOTS).collect();
    let new: Vec<_> = private.by_ref().take(SLOTS).collect();
    let dirty: Vec<_> = private.by_ref().take(SLOTS).collect();
    let frozen: Vec<_> = private.collect();
    let [previous, old_delta, old_meta, new_delta, new_meta] = head.as_slice() else { return };
    let public: Vec<_> = [OLD_STATE, NEW_STATE, DIRTY, FROZEN, CONTRACT].map(|i| wires.public(i)).into();
    let [old_state, new_state, dirty_mask, frozen_mask, _contract] = public.as_slice() else { return };

    demand_mask(wires, &dirty, dirty_mask);
    demand_mask(wires, &frozen, frozen_mask);
    let zero = wires.constant(Scalar::ZERO);
    let one = wires.constant(Scalar::ONE);
    for ((dirty, frozen), (old, new)) in dirty.iter().zip(&frozen).zip(old.iter().zip(&new)) {
        let mut clean = one.clone();
        wires.add(&mut clean, dirty, -Scalar::ONE);
        let mut change = new.clone();
        wires.add(&mut change, old, -Scalar::ONE);
        wires.demand(Family::Equal, &change, &clean, &zero);
        wires.demand(Family::Frozen, dirty, frozen, &zero);
    }

    let root = memory_root(wires, &old);
    let parts = [previous.clone(), root, old_delta.clone(), old_meta.clone()];
    let opened = hash(wires, &STATE, &parts);
    wires.demand_equal(Family::Opening, &opened, old_state);

    let root = memory_root(wires, &new);
    let parts = [old_state.clone(), root, new_delta.clone(), new_meta.clone()];
    let chained = hash(wires, &STATE, &parts);
    wires.demand_equal(Family::Chaining, &chained, new_state);
}

fn hash<W: Wires>(wires: &mut W, parameters: &Parameters, inputs: &[W::Sum]) -> W::Sum {
    permutation::hash(wires, parameters, inputs)
}

fn memory_root<W: Wires>(wires: &mut W, slots: &[W::Sum]) -> W::Sum {
    let nodes: Vec<_> = slots.chunks(ARITY).map(|node| hash(wires, &NODE, node)).collect();
    hash(wires, &NODE, &nodes)
}

/// Demands that `bits` are bits, and make up `mask`.
fn demand_mask<W: Wires>(wires: &mut W, bits: &[W::Sum], mask: &W::Sum) {
    let zero = wires.constant(Scalar::ZERO);
    let mut packed = zero.clone();
    let mut weight = Scalar::ONE;
    for bit in bits {
        let mut less_one = bit.clone();
        wires.add(&mut less_one, &wires.constant(Scalar::ONE), -Scalar::ONE);
        wires.demand(Family::Boolean, bit, &less_one, &zero);
        wires.add(&mut packed, bit, weight);
        weight.double_in_place();
    }
    wires.demand_equal(Family::Packing, &packed, mask);
}
