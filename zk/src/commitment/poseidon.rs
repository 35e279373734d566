//! Poseidon over BN254, with circom's parameters.
//!
//! The parameters are those of the paper's generator (`generate_parameters_grain.sage 1 0 254 t 8 R_P r`,
//! Grassi and others, USENIX Security 2021), as circomlib and light-poseidon publish them: S-box x^5, 8
//! full rounds, width `t` = inputs + 1, capacity element first and 0, the first element is the hash.

use std::sync::LazyLock;

use ark_ff::{AdditiveGroup, Field};
use light_poseidon::parameters::bn254_x5::get_poseidon_parameters;

use crate::scalar::Scalar;

/// Children of a node of the memory tree.
pub const ARITY: usize = 8;
/// What a state is hashed from.
pub const STATE_INPUTS: usize = 4;

/// Round constants and matrix for one number of inputs.
#[derive(Debug)]
pub struct Parameters {
    /// Round constants, a row of `t` for each round.
    pub constants: Vec<Vec<Scalar>>,
    /// The MDS matrix, `t` rows of `t`.
    pub matrix: Vec<Vec<Scalar>>,
    /// Rounds with an S-box on each element, half of them before the partial ones, half after.
    pub full_rounds: usize,
    /// Rounds with an S-box on the first element alone: 63 for `t` = 9, 60 for `t` = 5.
    pub partial_rounds: usize,
}

impl Parameters {
    /// Those of `inputs` elements, 1 to 12; of width 0, which hashes nothing, for any other number.
    fn circom(inputs: usize) -> Self {
        let width = u8::try_from(inputs + 1).unwrap_or(0);
        match get_poseidon_parameters::<Scalar>(width) {
            Ok(published) => Self {
                constants: published.ark.chunks(published.width).map(<[Scalar]>::to_vec).collect(),
                matrix: published.mds,
                full_rounds: published.full_rounds,
                partial_rounds: published.partial_rounds,
            },
            Err(_) => Self { constants: vec![], matrix: vec![], full_rounds: 0, partial_rounds: 0 },
        }
    }

    /// Elements of the permutation.
    #[must_use]
    pub fn width(&self) -> usize {
        self.matrix.len()
    }

    /// Whether round `round` has an S-box on each element.
    #[must_use]
    pub fn is_full(&self, round: usize) -> bool {
        let half = self.full_rounds / 2;
        round < half || round >= half + self.partial_rounds
    }
}

/// For the nodes of the memory tree.
pub static NODE: LazyLock<Parameters> = LazyLock::new(|| Parameters::circom(ARITY));
/// For states.
pub static STATE: LazyLock<Parameters> = LazyLock::new(|| Parameters::circom(STATE_INPUTS));

/// The hash of a node's children.
#[must_use]
pub fn hash_node(children: &[Scalar; ARITY]) -> Scalar {
    let mut state = [Scalar::ZERO; ARITY + 1];
    state.iter_mut().skip(1).zip(children).for_each(|(element, child)| *element = *child);
    permuted(&NODE, state)
}

/// The hash of what a state consists of.
#[must_use]
pub fn hash_state(parts: &[Scalar; STATE_INPUTS]) -> Scalar {
    let [a, b, c, d] = *parts;
    permuted(&STATE, [Scalar::ZERO, a, b, c, d])
}

/// The first element of a permutation of `WIDTH` elements, with the parameters of that width.
fn permuted<const WIDTH: usize>(parameters: &Parameters, mut state: [Scalar; WIDTH]) -> Scalar {
    for (round, constants) in parameters.constants.iter().enumerate() {
        for (element, constant) in state.iter_mut().zip(constants) {
            *element += constant;
        }
        let boxes = if parameters.is_full(round) { WIDTH } else { 1 };
        for element in state.iter_mut().take(boxes) {
            *element *= element.square().square();
        }
        let mut next = [Scalar::ZERO; WIDTH];
        for (element, row) in next.iter_mut().zip(&parameters.matrix) {
            if let Some(row) = row.first_chunk::<WIDTH>() {
                // One reduction for a row, and not one for each product.
                *element = Scalar::sum_of_products(row, &state);
            }
        }
        state = next;
    }
    state.first().copied().unwrap_or_default()
}

/// The sum of the products of two rows, of which those as wide as our permutations cost one reduction, and not one for
/// each product.
#[must_use]
pub fn sum_of_products(left: &[Scalar], right: &[Scalar]) -> Scalar {
    const NODE_WIDTH: usize = ARITY + 1;
    const STATE_WIDTH: usize = STATE_INPUTS + 1;
    if let (Ok(left), Ok(right)) = (<&[Scalar; NODE_WIDTH]>::try_from(left), right.try_into()) {
        return Scalar::sum_of_products(left, right);
    }
    if let (Ok(left), Ok(right)) = (<&[Scalar; STATE_WIDTH]>::try_from(left), right.try_into()) {
        return Scalar::sum_of_products(left, right);
    }
    left.iter().zip(right).map(|(left, right)| *left * right).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

    use std::str::FromStr;

    use ark_std::UniformRand;
    use ark_std::rand::{SeedableRng, rngs::StdRng};
    use light_poseidon::{Poseidon, PoseidonHasher};

    use super::*;

    fn scalar(decimal: &str) -> Scalar {
        Scalar::from_str(decimal).unwrap()
    }

    #[test]
    fn the_vectors_of_circomlib_come_out() {
        // circomlibjs, test/poseidon.js: poseidon([1, 2]) and poseidon([1, 2, 3, 4]).
        let one_two = permuted(&Parameters::circom(2), [0u8, 1, 2].map(Scalar::from));
        assert_eq!(
            one_two,
            scalar("7853200120776062878684798364095072458815029376092732009249414926327459813530")
        );
        assert_eq!(
            hash_state(&[1u8, 2, 3, 4].map(Scalar::from)),
            scalar("18821383157269793795438455681495246036402687001665670618754263018637548127333")
        );
    }

    #[test]
    fn light_poseidon_agrees() {
        let mut random = StdRng::seed_from_u64(4);
        for _ in 0..20 {
            let children = [(); ARITY].map(|()| Scalar::rand(&mut random));
            let expected = Poseidon::<Scalar>::new_circom(ARITY).unwrap().hash(&children).unwrap();
            assert_eq!(hash_node(&children), expected);
            let parts = [(); STATE_INPUTS].map(|()| Scalar::rand(&mut random));
            let expected = Poseidon::<Scalar>::new_circom(STATE_INPUTS).unwrap().hash(&parts).unwrap();
            assert_eq!(hash_state(&parts), expected);
        }
    }

    #[test]
    fn the_rounds_are_those_of_the_paper() {
        assert_eq!((NODE.width(), NODE.full_rounds, NODE.partial_rounds), (9, 8, 63));
        assert_eq!((STATE.width(), STATE.full_rounds, STATE.partial_rounds), (5, 8, 60));
        assert_eq!((NODE.constants.len(), STATE.constants.len()), (71, 68));
    }
}
