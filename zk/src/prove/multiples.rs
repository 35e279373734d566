//! Sums of multiples of points that stay the same: s1*P1 + s2*P2 + ...
//!
//! Pippenger's method puts each point into a bucket for each window of its scalar's digits, and adds up the
//! buckets once for each window. The points of a key are known beforehand, so we keep P, 2^12 P, 2^24 P, ...
//! for each: then all windows share one set of buckets, and no doubling is left. Within a bucket, points are
//! added in pairs in affine coordinates, with one inversion for many pairs (Montgomery's trick): 6
//! multiplications an addition instead of 10.
//!
//! Measured against `ark-ec`'s general method: docs/decisions/0023.

use ark_ec::short_weierstrass::{Affine, Projective, SWCurveConfig};
use ark_ec::{AffineRepr, CurveGroup};
use ark_ff::{AdditiveGroup, BigInteger, Field, PrimeField, Zero, serial_batch_inversion_and_mul};
use rayon::prelude::*;

/// Bits of a digit.
const WINDOW: usize = 12;
/// Digits are from -HALF to HALF.
const HALF: u64 = 1 << (WINDOW - 1);
/// Digits of a scalar of 254 bits; the last one takes the carry.
const WINDOWS: usize = 254usize.div_ceil(WINDOW);
/// Pairs that share an inversion: their points stay in the second-level cache.
const BATCH: usize = 1024;

/// Multiples of points.
#[derive(Debug)]
pub struct Multiples<P: SWCurveConfig> {
    /// For each window 2^(12 w) times each point.
    multiples: Vec<Vec<Affine<P>>>,
    /// Which scalar each point goes with: points at infinity are left out.
    scalars: Vec<usize>,
}

/// A point's place in the buckets.
#[derive(Clone, Copy)]
struct Digit {
    bucket: u16,
    window: u8,
    negative: bool,
    point: u32,
}

impl<P: SWCurveConfig> Multiples<P> {
    /// Those of `points`. Costs 254 doublings a point.
    #[must_use]
    pub fn new(points: &[Affine<P>]) -> Self {
        let finite = points.iter().enumerate().filter(|(_, point)| !point.is_zero());
        let (scalars, mut row): (Vec<usize>, Vec<Affine<P>>) = finite.map(|(at, point)| (at, *point)).unzip();
        let mut multiples = Vec::with_capacity(WINDOWS);
        for _ in 1..WINDOWS {
            let next = row.par_chunks(BATCH).flat_map_iter(|points| {
                let mut doubled: Vec<Projective<P>> = points.iter().map(|point| point.into_group()).collect();
                for point in &mut doubled {
                    for _ in 0..WINDOW {
                        point.double_in_place();
                    }
                }
                Projective::normalize_batch(&doubled)
            });
            let next = next.collect();
            multiples.push(std::mem::replace(&mut row, next));
        }
        multiples.push(row);
        Self { multiples, scalars }
    }

    /// The sum of the points, each times its scalar.
    pub fn sum<S: PrimeField>(&self, scalars: &[S]) -> Projective<P> {
        let digits = self.digits(scalars);
        let mut ends = vec![0usize; HALF as usize + 1];
        for digit in &digits {
            if let Some(end) = ends.get_mut(usize::from(digit.bucket) + 1) {
                *end += 1;
            }
        }
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total;
        }
        // Sorted by bucket, by counting.
        let mut next = ends.clone();
        let mut sorted = vec![Affine::<P>::zero(); digits.len()];
        for digit in &digits {
            let found = self.multiples.get(usize::from(digit.window));
            let Some(point) = found.and_then(|row| row.get(digit.point as usize)) else { continue };
            let Some(place) = next.get_mut(usize::from(digit.bucket)) else { continue };
            if let Some(to) = sorted.get_mut(*place) {
                *to = if digit.negative { -*point } else { *point };
            }
            *place += 1;
        }
        weigh(&add_buckets(sorted, ends))
    }

    fn digits<S: PrimeField>(&self, scalars: &[S]) -> Vec<Digit> {
        let mut digits = Vec::with_capacity(self.scalars.len() * WINDOWS);
        for (point, scalar) in self.scalars.iter().enumerate() {
            let Some(scalar) = scalars.get(*scalar) else { continue };
            let mut scalar = scalar.into_bigint();
            let mut carry = 0;
            for window in 0..WINDOWS {
                if carry == 0 && scalar.is_zero() {
                    break;
                }
                let low = scalar.as_ref().first().copied().unwrap_or(0) & (2 * HALF - 1);
                let value = low + carry;
                scalar >>= WINDOW as u32;
                carry = u64::from(value > HALF);
                let size = if carry == 1 { 2 * HALF - value } else { value };
                if size > 0 {
                    digits.push(Digit {
                        bucket: (size - 1) as u16,
                        window: window as u8,
                        negative: carry == 1,
                        point: point as u32,
                    });
                }
            }
        }
        digits
    }
}

/// The sum of each bucket. `ends[b]` to `ends[b + 1]` is bucket `b`.
fn add_buckets<P: SWCurveConfig>(mut points: Vec<Affine<P>>, mut ends: Vec<usize>) -> Vec<Affine<P>> {
    let mut pairs: Vec<(usize, usize)> = Vec::with_capacity(points.len() / 2);
    loop {
        pairs.clear();
        // In each bucket neighbours become one, and lie where the first half of the bucket lay.
        let mut halved = Vec::with_capacity(ends.len());
        let mut singles = Vec::new();
        let mut written = 0;
        halved.push(0);
        for bucket in ends.windows(2) {
            let [start, end] = bucket else { continue };
            let mut at = *start;
            while at + 1 < *end {
                pairs.push((at, written));
                written += 1;
                at += 2;
            }
            if at < *end {
                singles.push((at, written));
                written += 1;
            }
            halved.push(written);
        }
        if pairs.is_empty() {
            break;
        }
        let mut sums = vec![Affine::<P>::zero(); written];
        for (from, to) in singles {
            if let (Some(to), Some(from)) = (sums.get_mut(to), points.get(from)) {
                *to = *from;
            }
        }
        for batch in pairs.chunks(BATCH) {
            add_pairs(&points, batch, &mut sums);
        }
        points = sums;
        ends = halved;
    }
    let bucket = |range: &[usize]| match range {
        [start, end] if start < end => points.get(*start).copied().unwrap_or_default(),
        _ => Affine::zero(),
    };
    ends.windows(2).map(bucket).collect()
}

/// Adds the points at `from` and `from + 1`, for each pair.
fn add_pairs<P: SWCurveConfig>(points: &[Affine<P>], pairs: &[(usize, usize)], sums: &mut [Affine<P>]) {
    let pair = |from: usize| match points.get(from..from + 2) {
        Some([one, two]) => (*one, *two),
        _ => (Affine::zero(), Affine::zero()),
    };
    let divisor = |(from, _): &(usize, usize)| {
        let (one, two) = pair(*from);
        match (one.is_zero() || two.is_zero(), one.x == two.x) {
            (true, _) => P::BaseField::ZERO,
            (_, true) => one.y + two.y,
            _ => two.x - one.x,
        }
    };
    // A divisor of 0 stays 0: points at infinity, or opposite ones.
    let mut inverses: Vec<P::BaseField> = pairs.iter().map(divisor).collect();
    serial_batch_inversion_and_mul(&mut inverses, &P::BaseField::ONE);
    for ((from, to), inverse) in pairs.iter().zip(&inverses) {
        let (one, two) = pair(*from);
        let sum = if one.is_zero() {
            two
        } else if two.is_zero() {
            one
        } else if inverse.is_zero() {
            Affine::zero()
        } else {
            let rise = if one.x == two.x {
                let square = one.x.square();
                square.double() + square + P::COEFF_A
            } else {
                two.y - one.y
            };
            let slope = rise * inverse;
            let x = slope.square() - one.x - two.x;
            Affine::new_unchecked(x, slope * (one.x - x) - one.y)
        };
        if let Some(to) = sums.get_mut(*to) {
            *to = sum;
        }
    }
}

/// Bucket 0 once, bucket 1 twice, and so on.
fn weigh<P: SWCurveConfig>(buckets: &[Affine<P>]) -> Projective<P> {
    let (mut running, mut total) = (Projective::zero(), Projective::zero());
    for bucket in buckets.iter().rev() {
        running += bucket;
        total += running;
    }
    total
}

#[cfg(test)]
mod tests {
    use ark_bn254::{G1Affine, G2Affine};
    use ark_ec::VariableBaseMSM;
    use ark_std::UniformRand;
    use ark_std::rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::scalar::Scalar;

    fn agrees<P: SWCurveConfig<ScalarField = Scalar>>(points: &[Affine<P>], scalars: &[Scalar]) {
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
        let edge = Scalar::from(HALF);
        for scalar in [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, edge, edge + Scalar::ONE, edge.double()] {
            agrees(&points, &[scalar; 8]);
        }
        let mixed: Vec<Scalar> = (0..8u64).map(|n| Scalar::from(n) - Scalar::from(4u8)).collect();
        agrees(&points, &mixed);
    }
}
