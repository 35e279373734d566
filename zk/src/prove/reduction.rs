//! The reduction of constraints to polynomials that snarkjs and its ceremonies use.
//!
//! With polynomials A, B, C that take the sides' values on a domain of n roots of unity, Groth16 needs
//! H = (AB - C) / Z. Arkworks' own reduction computes the coefficients of H. snarkjs' keys hold, for each
//! odd power of a root of order 2n, the point that belongs to its Lagrange polynomial: the prover
//! evaluates AB - C there, and neither divides nor transforms back. All our keys are of this kind, those
//! made here too: there is one way to prove, and a ceremony's key needs no other.
//!
//! After `ark-circom`'s `CircomReduction` (MIT or Apache-2.0), which cannot be used itself: docs/decisions/0022.

use ark_ff::{FftField, PrimeField};
use ark_groth16::r1cs_to_qap::{LibsnarkReduction, R1CSToQAP, evaluate_constraint};
use ark_poly::EvaluationDomain;
use ark_relations::gr1cs::{ConstraintSystemRef, Matrix, SynthesisError};
use rayon::prelude::*;

use super::loose::Loosely;
use super::transform::Transform;

/// What [`R1CSToQAP::instance_map_with_evaluation`] gives: the three polynomials at a point for each wire,
/// Z there, the number of wires, and the size of the domain.
type Instance<F> = (Vec<F>, Vec<F>, Vec<F>, F, usize, usize);

/// snarkjs' reduction.
#[derive(Clone, Copy, Debug)]
pub struct CircomReduction;

impl R1CSToQAP for CircomReduction {
    fn instance_map_with_evaluation<F: PrimeField, D: EvaluationDomain<F>>(
        system: ConstraintSystemRef<F>,
        at: &F,
    ) -> Result<Instance<F>, SynthesisError> {
        LibsnarkReduction::instance_map_with_evaluation::<F, D>(system, at)
    }

    fn witness_map_from_matrices<F: PrimeField, D: EvaluationDomain<F>>(
        matrices: &[Matrix<F>],
        inputs: usize,
        constraints: usize,
        values: &[F],
    ) -> Result<Vec<F>, SynthesisError> {
        let [left, right, ..] = matrices else { return Err(SynthesisError::Unsatisfiable) };
        let inputs = values.get(..inputs).ok_or(SynthesisError::AssignmentMissing)?;
        // As plainly as it can be said: our own prover, which has `quotient`, is tested against this.
        let domain = D::new(constraints + inputs.len()).ok_or(SynthesisError::PolynomialDegreeTooLarge)?;
        let odd = D::new(2 * domain.size()).ok_or(SynthesisError::PolynomialDegreeTooLarge)?.element(1);
        let odd = domain.get_coset(odd).ok_or(SynthesisError::PolynomialDegreeTooLarge)?;
        let side = |rows: &Matrix<F>| -> Vec<F> {
            rows.par_iter().take(constraints).map(|row| evaluate_constraint(row, values)).collect()
        };
        let (mut left, right) = (side(left), side(right));
        let product: Vec<F> = left.iter().zip(&right).map(|(left, right)| *left * right).collect();
        left.extend_from_slice(inputs);
        let [left, right, product] = [left, right, product].map(|side| odd.fft(&domain.ifft(&side)));
        Ok(left
            .iter()
            .zip(right)
            .zip(product)
            .map(|((left, right), product)| *left * right - product)
            .collect())
    }

    fn h_query_scalars<F: PrimeField, D: EvaluationDomain<F>>(
        most_power: usize,
        at: F,
        _: F,
        delta_inverse: F,
    ) -> Result<Vec<F>, SynthesisError> {
        // `most_power` is n - 1: the Lagrange polynomials of the domain of 2n, of which the odd ones.
        let powers = 2 * most_power + 1;
        let mut scalars: Vec<F> =
            (0..powers as u64).into_par_iter().map(|power| delta_inverse * at.pow([power])).collect();
        let domain = D::new(powers).ok_or(SynthesisError::PolynomialDegreeTooLarge)?;
        domain.ifft_in_place(&mut scalars);
        Ok(scalars.into_iter().skip(1).step_by(2).collect())
    }
}

/// AB - C at the odd powers of the root of order 2n. `left` and `right` are what the sides of the constraints come to,
/// `inputs` the public inputs, with the constant before; together they are at most n.
pub fn quotient<F: FftField + Loosely>(
    transform: &Transform<F>,
    mut left: Vec<F>,
    mut right: Vec<F>,
    inputs: &[F],
) -> Vec<F> {
    let mut product: Vec<F> = left.iter().zip(&right).map(|(left, right)| *left * right).collect();
    // One more row for each public input, which binds it: input * 0 = 0.
    left.extend_from_slice(inputs);
    [&mut left, &mut right, &mut product].into_par_iter().for_each(|side| {
        side.resize(transform.size(), F::ZERO);
        transform.to_odd(side);
    });
    let both = left.par_iter_mut().zip(&right).zip(&product);
    both.for_each(|((left, right), product)| *left = *left * right - product);
    left
}
