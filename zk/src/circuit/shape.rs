//! The constraints, written down: three sparse matrices.

use std::sync::LazyLock;

use ark_ff::{AdditiveGroup, Field};
use ark_relations::gr1cs::{
    ConstraintSynthesizer, ConstraintSystemRef, LinearCombination, SynthesisError, Variable,
};
use sha3::{Digest, Sha3_256};

use super::transition::{self, PUBLIC};
use super::wires::{Family, Wires};
use crate::scalar::{Scalar, to_bytes};

/// A linear combination: factor and wire, ascending by wire, no factor is 0. Wire 0 carries 1, wires 1 to
/// 5 the public inputs, the others the witness.
pub type Sum = Vec<(Scalar, usize)>;

/// Most constraints and public inputs (with the wire that carries 1) together: above it the domain of the
/// polynomials doubles, and with it the time of a proof.
pub const DOMAIN: usize = 1 << 13;

/// The constraints of the circuit.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Left sides, a row for each constraint.
    pub left: Vec<Sum>,
    /// Right sides.
    pub right: Vec<Sum>,
    /// Products.
    pub product: Vec<Sum>,
    /// What each is there for.
    pub families: Vec<Family>,
    /// Wires of the witness.
    pub witness: usize,
}

static TRANSITION: LazyLock<Shape> = LazyLock::new(|| {
    let mut shape = Shape::default();
    transition::constrain(&mut shape);
    shape
});

/// Its digest, which costs a tenth of a second.
static TRANSITION_DIGEST: LazyLock<[u8; 32]> = LazyLock::new(|| TRANSITION.digest());

impl Shape {
    /// The [`digest`](Self::digest) of [`transition`](Self::transition): what keys are for.
    #[must_use]
    pub fn transition_digest() -> [u8; 32] {
        *TRANSITION_DIGEST
    }

    /// That of [`transition`]: made when first asked for, kept for good.
    #[must_use]
    pub fn transition() -> &'static Self {
        &TRANSITION
    }

    /// Number of constraints.
    #[must_use]
    pub fn constraints(&self) -> usize {
        self.left.len()
    }

    /// Number of wires, with the one that carries 1.
    #[must_use]
    pub fn wires(&self) -> usize {
        1 + PUBLIC + self.witness
    }

    /// SHA3-256 of all constraints: what a key is for. Wires u64, public u64, constraints u64; then for
    /// each constraint its three sums, each as its length u64, and wire u64 and factor (32 bytes) for
    /// each term. Numbers are little-endian.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha3_256::new();
        for number in [self.wires(), PUBLIC, self.constraints()] {
            hasher.update((number as u64).to_le_bytes());
        }
        for ((left, right), product) in self.left.iter().zip(&self.right).zip(&self.product) {
            for sum in [left, right, product] {
                hasher.update((sum.len() as u64).to_le_bytes());
                for (factor, wire) in sum {
                    hasher.update((*wire as u64).to_le_bytes());
                    hasher.update(to_bytes(factor));
                }
            }
        }
        hasher.finalize().into()
    }

    /// The first constraint that does not hold, of those that are not of a family `without`.
    #[must_use]
    pub fn broken(&self, values: &[Scalar], without: &[Family]) -> Option<(usize, Family)> {
        let value = |sum: &Sum| -> Scalar {
            sum.iter().map(|(factor, wire)| values.get(*wire).map_or(Scalar::ZERO, |v| *v * factor)).sum()
        };
        let rows = self.left.iter().zip(&self.right).zip(&self.product).zip(&self.families).enumerate();
        rows.filter(|(_, (_, family))| !without.contains(family))
            .find(|(_, (((left, right), product), _))| value(left) * value(right) != value(product))
            .map(|(at, (_, family))| (at, *family))
    }

    fn push(&mut self, family: Family, left: Sum, right: Sum, product: Sum) {
        self.left.push(left);
        self.right.push(right);
        self.product.push(product);
        self.families.push(family);
    }

    fn next_wire(&mut self) -> usize {
        let wire = self.wires();
        self.witness += 1;
        wire
    }
}

impl Wires for Shape {
    type Sum = Sum;

    fn public(&mut self, index: usize) -> Sum {
        vec![(Scalar::ONE, 1 + index)]
    }

    fn private(&mut self, _: usize) -> Sum {
        vec![(Scalar::ONE, self.next_wire())]
    }

    fn constant(&self, value: Scalar) -> Sum {
        if value == Scalar::ZERO { vec![] } else { vec![(value, 0)] }
    }

    fn add(&self, sum: &mut Sum, term: &Sum, factor: Scalar) {
        let mut merged = Vec::with_capacity(sum.len() + term.len());
        let mut ours = std::mem::take(sum).into_iter().peekable();
        for (theirs, wire) in term {
            while let Some(before) = ours.next_if(|(_, ours)| ours < wire) {
                merged.push(before);
            }
            let same = ours.next_if(|(_, ours)| ours == wire).map_or(Scalar::ZERO, |(factor, _)| factor);
            let total = same + *theirs * factor;
            if total != Scalar::ZERO {
                merged.push((total, *wire));
            }
        }
        merged.extend(ours);
        *sum = merged;
    }

    fn product(&mut self, family: Family, left: &Sum, right: &Sum) -> Sum {
        let wire = vec![(Scalar::ONE, self.next_wire())];
        self.push(family, left.clone(), right.clone(), wire.clone());
        wire
    }

    fn demand(&mut self, family: Family, left: &Sum, right: &Sum, product: &Sum) {
        self.push(family, left.clone(), right.clone(), product.clone());
    }
}

/// For the setup of `ark-groth16`, which wants to be told the constraints one by one.
impl ConstraintSynthesizer<Scalar> for &Shape {
    fn generate_constraints(self, system: ConstraintSystemRef<Scalar>) -> Result<(), SynthesisError> {
        let mut wires = vec![Variable::One];
        for _ in 0..PUBLIC {
            wires.push(system.new_input_variable(|| Ok(Scalar::ZERO))?);
        }
        for _ in 0..self.witness {
            wires.push(system.new_witness_variable(|| Ok(Scalar::ZERO))?);
        }
        let combination = |sum: &Sum| {
            let terms = sum.iter().map(|(factor, wire)| (*factor, wires.get(*wire).copied()));
            LinearCombination(terms.map(|(factor, wire)| (factor, wire.unwrap_or(Variable::Zero))).collect())
        };
        for ((left, right), product) in self.left.iter().zip(&self.right).zip(&self.product) {
            system.enforce_r1cs_constraint(
                || combination(left),
                || combination(right),
                || combination(product),
            )?;
        }
        Ok(())
    }
}
