//! What a circuit is written in: wires, sums of wires, products of sums.

use crate::scalar::Scalar;

/// What a constraint is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A step of a Poseidon permutation.
    Permutation,
    /// A bit of a mask is 0 or 1.
    Boolean,
    /// Bits make up the public mask.
    Packing,
    /// A slot that is not dirty is the same before and after.
    Equal,
    /// A slot that is frozen is not dirty.
    Frozen,
    /// The old state is the hash of the old slots.
    Opening,
    /// The new state is the hash of the old state and the new slots.
    Chaining,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Permutation,
        Self::Boolean,
        Self::Packing,
        Self::Equal,
        Self::Frozen,
        Self::Opening,
        Self::Chaining,
    ];
}

/// Something that a circuit can be written into.
pub trait Wires {
    /// A linear combination of wires, and a constant.
    type Sum: Clone;

    /// The public input of that index.
    fn public(&mut self, index: usize) -> Self::Sum;

    /// The next wire of the witness, carrying the private input of that index.
    fn private(&mut self, index: usize) -> Self::Sum;

    /// A constant.
    fn constant(&self, value: Scalar) -> Self::Sum;

    /// Adds `term` times `factor` to `sum`.
    fn add(&self, sum: &mut Self::Sum, term: &Self::Sum, factor: Scalar);

    /// Adds a constant to `sum`.
    fn add_constant(&self, sum: &mut Self::Sum, constant: Scalar) {
        self.add(sum, &self.constant(Scalar::from(1u8)), constant);
    }

    /// The sum of the terms, each times its factor.
    fn combination(&self, terms: &[Self::Sum], factors: &[Scalar]) -> Self::Sum {
        let mut sum = self.constant(Scalar::from(0u8));
        for (term, factor) in terms.iter().zip(factors) {
            self.add(&mut sum, term, *factor);
        }
        sum
    }

    /// The next wire of the witness, which has to carry `left * right`.
    fn product(&mut self, family: Family, left: &Self::Sum, right: &Self::Sum) -> Self::Sum;

    /// Demands `left * right = product`.
    fn demand(&mut self, family: Family, left: &Self::Sum, right: &Self::Sum, product: &Self::Sum);

    /// Demands `left = right`.
    fn demand_equal(&mut self, family: Family, left: &Self::Sum, right: &Self::Sum) {
        let one = self.constant(Scalar::from(1u8));
        self.demand(family, left, &one, right);
    }
}
