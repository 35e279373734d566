//! Sums of multiples of points that stay the same: s1*P1 + s2*P2 + ...
//!
//! Pippenger's method puts each point into a bucket for each window of its scalar's digits, and adds up the
//! buckets once for each window. The points of a key are known beforehand, so we keep P, 2^w P, 2^2w P, ...
//! for each: then all windows share one set of buckets, and no doubling is left. That set is so cheap that windows are
//! wide.
//!
//! Measured against `ark-ec`'s general method: docs/decisions/0023 and 0027.

use std::fmt;

use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{AdditiveGroup, PrimeField, Zero};
use rayon::prelude::*;

use super::buckets;
use super::loose::Loosely;

/// Bits of a scalar.
const BITS: usize = 254;
/// Points that are brought back to affine coordinates together.
const BATCH: usize = 1024;
/// The bit of an item that says that its point is subtracted.
const NEGATIVE: u32 = 1 << 31;

/// Multiples of points.
#[derive(Clone)]
pub struct Multiples<P: SWCurveConfig> {
    /// Bits of a digit; digits are from -2^(window - 1) to 2^(window - 1).
    window: usize,
    /// 2^(window w) times each point: all of w = 0 first.
    multiples: Vec<Affine<P>>,
    /// Which scalar each point goes with: points at infinity are left out.
    scalars: Vec<usize>,
}

impl<P: SWCurveConfig> fmt::Debug for Multiples<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiples").field("points", &self.scalars.len()).finish_non_exhaustive()
    }
}

/// Digits of a scalar. The last one takes the carry: no width from 4 to 16 divides BITS, so that it has a bit to spare.
const fn digits_of(window: usize) -> usize {
    BITS.div_ceil(window)
}

/// The width of digits for which sums of `points` points take the fewest additions: one for each digit, and two for each
/// bucket.
fn best_window(points: usize) -> usize {
    (4..=16).min_by_key(|window| points * digits_of(*window) + (2 << (window - 1))).unwrap_or(4)
}

impl<P: SWCurveConfig<BaseField: Loosely>> Multiples<P> {
    /// Those of `points`. Costs 254 doublings a point.
    #[must_use]
    pub fn new(points: &[Affine<P>]) -> Self {
        let finite = points.iter().enumerate().filter(|(_, point)| !point.is_zero());
        let (scalars, mut row): (Vec<usize>, Vec<Affine<P>>) = finite.map(|(at, point)| (at, *point)).unzip();
        let window = best_window(row.len());
        let mut multiples = Vec::with_capacity(digits_of(window) * row.len());
        multiples.extend_from_slice(&row);
        for _ in 1..digits_of(window) {
            let next = row.par_chunks(BATCH).flat_map_iter(|points| {
                let mut doubled: Vec<Projective<P>> = points.iter().map(|point| point.into_group()).collect();
                for point in &mut doubled {
                    for _ in 0..window {
                        point.double_in_place();
                    }
                }
                Projective::normalize_batch(&doubled)
            });
            row = next.collect();
            multiples.extend_from_slice(&row);
        }
        Self { window, multiples, scalars }
    }

    /// The sum of the points, each times its scalar. Scalars that are missing are 0.
    pub fn sum<S: PrimeField>(&self, scalars: &[S]) -> Projective<P> {
        let (items, ends) = self.sorted(&self.digits(scalars));
        let point = |item: u32| {
            let point = self.multiples.get((item & !NEGATIVE) as usize).copied().unwrap_or_default();
            if item & NEGATIVE == 0 { point } else { -point }
        };
        weigh(&buckets::sums(point, &items, &ends))
    }

    /// A digit for each of [`multiples`](Self::multiples).
    fn digits<S: PrimeField>(&self, scalars: &[S]) -> Vec<i32> {
        let (points, half, mask) = (self.scalars.len(), 1 << (self.window - 1), (1 << self.window) - 1);
        let mut digits = vec![0; self.multiples.len()];
        for (point, scalar) in self.scalars.iter().enumerate() {
            let Some(scalar) = scalars.get(*scalar) else { continue };
            let scalar = scalar.into_bigint();
            let mut carry = 0;
            let digits = digits.iter_mut().skip(point).step_by(points);
            for (digit, bit) in digits.zip((0..).step_by(self.window)) {
                let value = bits_from(scalar.as_ref(), bit) & mask;
                let value = value as i32 + carry;
                carry = i32::from(value > half);
                *digit = value - (carry << self.window);
            }
        }
        digits
    }

    /// The digits that are not 0, by their size: where each is, with [`NEGATIVE`]; and where the digits of a size end,
    /// with a 0 before.
    fn sorted(&self, digits: &[i32]) -> (Vec<u32>, Vec<usize>) {
        let mut ends = vec![0; (1 << (self.window - 1)) + 1];
        let size = |digit: &i32| digit.unsigned_abs() as usize;
        for digit in digits.iter().filter(|digit| **digit != 0) {
            if let Some(end) = ends.get_mut(size(digit)) {
                *end += 1;
            }
        }
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total;
        }
        let mut next = ends.clone();
        let mut items = vec![0; total];
        for (at, digit) in (0..).zip(digits).filter(|(_, digit)| **digit != 0) {
            let Some(place) = next.get_mut(size(digit) - 1) else { continue };
            if let Some(item) = items.get_mut(*place) {
                *item = if *digit < 0 { at | NEGATIVE } else { at };
            }
            *place += 1;
        }
        (items, ends)
    }
}

/// Up to 64 bits of a number, from this one on.
fn bits_from(limbs: &[u64], bit: usize) -> u64 {
    let limb = |at: usize| limbs.get(at).copied().unwrap_or(0);
    let (at, shift) = (bit / 64, bit % 64);
    let high = if shift == 0 { 0 } else { limb(at + 1) << (64 - shift) };
    (limb(at) >> shift) | high
}

/// Bucket 0 once, bucket 1 twice, and so on. The number of buckets is a power of two.
///
/// They are laid out in rows, and their weights split up: bucket b is weighed by its row times the length of a row, and
/// by its column and 1. Sums of rows and of columns are sums of points like all others, and few are left.
fn weigh<P: SWCurveConfig<BaseField: Loosely>>(buckets: &[Affine<P>]) -> Projective<P> {
    let bits = buckets.len().max(1).ilog2();
    let row_bits = bits / 2;
    let (row, column) = (1u32 << row_bits, 1u32 << (bits - row_bits));
    let point = |item: u32| buckets.get(item as usize).copied().unwrap_or_default();
    let ends =
        |length: u32, count: u32| -> Vec<usize> { (0..=count).map(|at| (at * length) as usize).collect() };
    let by_row: Vec<u32> = (0..row * column).collect();
    let by_column: Vec<u32> =
        (0..row).flat_map(|at| (0..column).map(move |below| below * row + at)).collect();
    let rows = buckets::sums(point, &by_row, &ends(row, column));
    let columns = buckets::sums(point, &by_column, &ends(column, row));
    let mut total = running(rows.get(1..).unwrap_or_default());
    for _ in 0..row_bits {
        total.double_in_place();
    }
    total + running(&columns)
}

/// The first point once, the second one twice, and so on.
fn running<P: SWCurveConfig>(points: &[Affine<P>]) -> Projective<P> {
    let (mut running, mut total) = (Projective::zero(), Projective::zero());
    for point in points.iter().rev() {
        running += point;
        total += running;
    }
    total
}

#[cfg(test)]
mod tests {
    use ark_bn254::{G1Affine, G2Affine};
    use ark_ec::VariableBaseMSM;
    use ark_ff::Field;
    use ark_std::UniformRand;
    use ark_std::rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::scalar::Scalar;

    fn agrees<P: SWCurveConfig<ScalarField = Scalar, BaseField: Loosely>>(
        points: &[Affine<P>],
        scalars: &[Scalar],
    ) {
        let expected = Projective::<P>::msm_unchecked(points, scalars);
        assert_eq!(Multiples::new(points).sum(scalars), expected);
    }

    #[test]
    fn sums_are_those_of_the_general_method() {
        let mut random = StdRng::seed_from_u64(1);
        for count in [0, 1, 2, 33, 700] {
            let scalars: Vec<Scalar> = (0..count).map(|_| Scalar::rand(&mut random)).collect();
            let points: Vec<G1Affine> = (0..count).map(|_| G1Affine::rand(&mut random)).collect();
            agrees(&points, &scalars);
            let points: Vec<G2Affine> = (0..count.min(33)).map(|_| G2Affine::rand(&mut random)).collect();
            agrees(&points, &scalars[..points.len()]);
        }
    }

    #[test]
    fn scalars_and_points_at_the_edges_are_summed_too() {
        let mut random = StdRng::seed_from_u64(2);
        let point = G1Affine::rand(&mut random);
        // The same point in one bucket is doubled, its opposite cancels, infinity counts for nothing.
        let points = [point, point, point, -point, G1Affine::zero(), point, -point, point];
        let edge = Scalar::from(1u64 << (best_window(8) - 1));
        for scalar in [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, edge, edge + Scalar::ONE, edge.double()] {
            agrees(&points, &[scalar; 8]);
        }
        let mixed: Vec<Scalar> = (0..8u64).map(|n| Scalar::from(n) - Scalar::from(4u8)).collect();
        agrees(&points, &mixed);
    }
}
