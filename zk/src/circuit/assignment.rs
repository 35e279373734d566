//! What each wire carries: the witness of one proof.

use ark_ff::AdditiveGroup;

use super::transition::{self, Inputs, PUBLIC};
use super::wires::{Family, Wires};
use crate::scalar::Scalar;

/// The value of every wire: 1, the public inputs, then the witness in the order in which
/// [`Shape`](super::Shape) numbers it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The values.
    pub values: Vec<Scalar>,
}

impl Assignment {
    /// Computes all wires from the inputs. Whether they fit, is the constraints' matter.
    #[must_use]
    pub fn of(inputs: &Inputs) -> Self {
        let mut wires = Values { inputs, witness: Vec::with_capacity(1 << 13) };
        transition::constrain(&mut wires);
        let mut values = Vec::with_capacity(1 + PUBLIC + wires.witness.len());
        values.push(Scalar::from(1u8));
        values.extend(inputs.public);
        values.append(&mut wires.witness);
        Self { values }
    }
}

struct Values<'a> {
    inputs: &'a Inputs,
    witness: Vec<Scalar>,
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

    fn add(&self, sum: &mut Scalar, term: &Scalar, factor: Scalar) {
        *sum += *term * factor;
    }

    fn product(&mut self, _: Family, left: &Scalar, right: &Scalar) -> Scalar {
        let value = *left * right;
        self.witness.push(value);
        value
    }

    fn demand(&mut self, _: Family, _: &Scalar, _: &Scalar, _: &Scalar) {}
}
