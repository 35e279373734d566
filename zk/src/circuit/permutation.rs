//! Poseidon in constraints: three for each S-box.
//!
//! The other operations are linear and cost none. The first S-box of a hash is on a constant, and costs
//! none either: 402 constraints for 8 inputs, 297 for 4.

use ark_ff::{AdditiveGroup, Field};

use super::wires::{Family, Wires};
use crate::commitment::poseidon::Parameters;
use crate::scalar::Scalar;

/// The hash of `inputs`, of which there are one fewer than `parameters` has columns.
pub fn hash<W: Wires>(wires: &mut W, parameters: &Parameters, inputs: &[W::Sum]) -> W::Sum {
    let mut state = vec![wires.constant(Scalar::ZERO)];
    state.extend_from_slice(inputs);
    for (round, constants) in parameters.constants.iter().enumerate() {
        for (element, constant) in state.iter_mut().zip(constants) {
            wires.add_constant(element, *constant);
        }
        let boxes = if parameters.is_full(round) { state.len() } else { 1 };
        for (at, element) in state.iter_mut().enumerate().take(boxes) {
            *element = match (round, at, constants.first()) {
                (0, 0, Some(constant)) => wires.constant(constant.pow([5])),
                _ => fifth_power(wires, element),
            };
        }
        // What is not the first element of the last round's result is never used.
        let last = round + 1 == parameters.constants.len();
        let rows = parameters.matrix.iter().take(if last { 1 } else { usize::MAX });
        state = rows.map(|row| wires.combination(&state, row)).collect();
    }
    state.into_iter().next().unwrap_or_else(|| wires.constant(Scalar::ZERO))
}

/// On each side stand the long sum `x` and one wire more: the left side of a constraint costs the prover additions in G1,
/// the right one in G2, for each wire that is ever there. x^5 = x^4 x would have a wire more on one of them.
fn fifth_power<W: Wires>(wires: &mut W, x: &W::Sum) -> W::Sum {
    let square = wires.product(Family::Permutation, x, x);
    let cube = wires.product(Family::Permutation, x, &square);
    wires.product(Family::Permutation, &cube, &square)
}
