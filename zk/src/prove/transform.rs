//! From the values of a polynomial on roots of unity to those on their odd companions.
//!
//! A polynomial of degree below n = 2^13 is given by its values at the powers of a root of order n, and wanted at the odd
//! powers of one of order 2n. That is a transformation back (Gentleman and Sande), a factor for each coefficient, and a
//! transformation forth (Cooley and Tukey). The first leaves the coefficients in the order in which the second takes
//! them, so that nothing is ever put in order, and the roots are computed once for all proofs.

use ark_ff::FftField;

use super::loose::{Loose, Loosely};

/// The roots for one n.
#[derive(Debug)]
pub struct Transform<F: Loosely> {
    /// Powers of the root of order n, of which the first half is different but for the sign.
    forth: Vec<F::Loose>,
    /// Those of its inverse.
    back: Vec<F::Loose>,
    /// What each coefficient is multiplied by, in the order of reversed bits: a power of the root of order 2n, over n.
    factors: Vec<F::Loose>,
}

impl<F: FftField + Loosely> Transform<F> {
    /// That for n = 2^`log`; `None` if the field has no root of order 2n.
    #[must_use]
    pub fn new(log: u32) -> Option<Self> {
        let size = 1u64.checked_shl(log).filter(|_| (1..32).contains(&log))?;
        let odd = F::get_root_of_unity(2 * size)?;
        let root = odd.square();
        let powers = |start: F, root: F, count: u64| -> Vec<F::Loose> {
            let all = std::iter::successors(Some(start), |power| Some(*power * root));
            all.take(count as usize).map(|power| Loose::of(&power)).collect()
        };
        let ordered = powers(F::from(size).inverse()?, odd, size);
        let reversed = (0..size as u32).map(|at| at.reverse_bits() >> (32 - log));
        let factors = reversed.map(|at| ordered.get(at as usize).copied()).collect::<Option<_>>()?;
        Some(Self {
            forth: powers(F::ONE, root, size / 2),
            back: powers(F::ONE, root.inverse()?, size / 2),
            factors,
        })
    }

    /// n.
    #[must_use]
    pub fn size(&self) -> usize {
        self.factors.len()
    }

    /// Replaces the values of a polynomial at 1, w^2, w^4, ... by those at w, w^3, w^5, ..., where w is the root of order
    /// 2n. There are as many values as [`size`](Self::size) says.
    pub fn to_odd(&self, values: &mut [F]) {
        let mut loose: Vec<F::Loose> = values.iter().map(Loose::of).collect();
        self.back(&mut loose);
        loose.iter_mut().zip(&self.factors).for_each(|(value, factor)| *value = value.times(factor));
        self.forth(&mut loose);
        values.iter_mut().zip(&loose).for_each(|(value, loose)| *value = loose.exact());
    }

    /// Values to coefficients, n times as large, in the order of reversed bits.
    fn back(&self, values: &mut [F::Loose]) {
        let mut half = self.size() / 2;
        while half > 0 {
            let stride = self.back.len() / half;
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((low, high), root) in low.iter_mut().zip(high).zip(self.back.iter().step_by(stride)) {
                    let difference = low.minus(high);
                    *low = low.plus(high);
                    *high = difference.times(root);
                }
            }
            half /= 2;
        }
    }

    /// Coefficients in the order of reversed bits to values.
    fn forth(&self, values: &mut [F::Loose]) {
        let mut half = 1;
        while half < self.size() {
            let stride = self.forth.len() / half;
            for block in values.chunks_exact_mut(2 * half) {
                let (low, high) = block.split_at_mut(half);
                for ((low, high), root) in low.iter_mut().zip(high).zip(self.forth.iter().step_by(stride)) {
                    let turned = high.times(root);
                    *high = low.minus(&turned);
                    *low = low.plus(&turned);
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

    use ark_poly::{EvaluationDomain, GeneralEvaluationDomain};
    use ark_std::UniformRand;
    use ark_std::rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::scalar::Scalar;

    #[test]
    fn values_are_those_that_arkworks_finds() {
        let mut random = StdRng::seed_from_u64(5);
        for log in 1..=9 {
            let mut values: Vec<Scalar> = (0..1 << log).map(|_| Scalar::rand(&mut random)).collect();
            let domain = GeneralEvaluationDomain::<Scalar>::new(1 << log).unwrap();
            let odd = GeneralEvaluationDomain::<Scalar>::new(2 << log).unwrap().element(1);
            let expected = domain.get_coset(odd).unwrap().fft(&domain.ifft(&values));
            Transform::new(log).unwrap().to_odd(&mut values);
            assert_eq!(values, expected, "2^{log}");
        }
    }

    #[test]
    fn there_are_no_roots_of_every_order() {
        assert!(Transform::<Scalar>::new(0).is_none());
        // The order of the scalars' group is 2^28 times an odd number.
        assert!(Transform::<Scalar>::new(28).is_none());
        assert!(Transform::<Scalar>::new(64).is_none());
    }
}
