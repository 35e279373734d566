//! What each wire carries: the witness of one proof.

use ark_ff::AdditiveGroup;

use super::shape::DOMAIN;
use super::transition::{self, Inputs, PUBLIC};
use super::wires::{Family, Wires};
use crate::commitment::poseidon::sum_of_products;
use crate::scalar::Scalar;

/// The value of every wire, and of both sides of every constraint.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// 1, the public inputs, then the witness in the order in which [`Shape`](super::Shape) numbers it.
    pub values: Vec<Scalar>,
    /// What the left side of each constraint comes to. It is known once the wires are: the prover has no rows of a
    /// matrix to evaluate.
    pub left: Vec<Scalar>,
    /// What the right side comes to.
    pub right: Vec<Scalar>,
}

impl Assignment {
    /// Computes all wires from the inputs. Whether they fit, is the constraints' matter.
    #[must_use]
    pub fn of(inputs: &Inputs) -> Self {
        let [witness, left, right] = [(); 3].map(|()| Vec::with_capacity(DOMAIN));
        let mut wires = Values { inputs, witness, left, right };
        transition::constrain(&mut wires);
        let mut values = Vec::with_capacity(1 + PUBLIC + wires.witness.len());
        values.push(Scalar::from(1u8));
        values.extend(inputs.public);
        values.append(&mut wires.witness);
        Self { values, left: wires.left, right: wires.right }
    }
}

struct Values<'a> {
    inputs: &'a Inputs,
    witness: Vec<Scalar>,
    left: Vec<Scalar>,
    right: Vec<Scalar>,
}

impl Wires for Values<'_> {
    type Sum = Scalar;

    fn public(&mut self, index: usize) -> Scalar {
        self.inputs.public.get(index).copied().unwrap_or(Scalar::ZERO)
    }

    fn private(&mut self, index: usize) -> Scalar {
        let value = self.inputs.private.get(index).copied().unwrap_or(Scalar::ZERO);
        self.witness.push(value);
        value
    }

    fn constant(&self, value: Scalar) -> Scalar {
        value
    }

    fn add_constant(&self, sum: &mut Scalar, constant: Scalar) {
        *sum += constant;
    }

    fn combination(&self, terms: &[Scalar], factors: &[Scalar]) -> Scalar {
        sum_of_products(terms, factors)
    }

    fn add(&self, sum: &mut Scalar, term: &Scalar, factor: Scalar) {
        *sum += *term * factor;
    }

    fn product(&mut self, family: Family, left: &Scalar, right: &Scalar) -> Scalar {
        let value = *left * right;
        self.witness.push(value);
        self.demand(family, left, right, &value);
        value
    }

    fn demand(&mut self, _: Family, left: &Scalar, right: &Scalar, _: &Scalar) {
        self.left.push(*left);
        self.right.push(*right);
    }
}
