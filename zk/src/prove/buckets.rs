//! Many sums of a few points each.
//!
//! Points are added in pairs in affine coordinates, with one inversion for many pairs (Montgomery's trick): 6
//! multiplications an addition instead of 10. A group of buckets is worked through at a time, so that its points stay in
//! the second-level cache until one is left of each bucket; groups are shared out among threads.

use std::ops::Range;

use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use ark_ff::{AdditiveGroup, Field, Zero, serial_batch_inversion_and_mul};
use rayon::prelude::*;

/// Points of a group: 128 KiB of G1, 256 KiB of G2.
const GROUP: usize = 2048;

/// The sum of each bucket. Bucket `b` has the points that `point` gives for the items `ends[b]` to `ends[b + 1]`.
pub fn sums<P: SWCurveConfig>(
    point: impl Fn(u32) -> Affine<P> + Sync,
    items: &[u32],
    ends: &[usize],
) -> Vec<Affine<P>> {
    let group = |buckets: Range<usize>| {
        let ends = ends.get(buckets.start..=buckets.end).unwrap_or_default();
        let (first, last) = (ends.first().copied().unwrap_or(0), ends.last().copied().unwrap_or(0));
        let points = items.get(first..last).unwrap_or_default().iter().map(|item| point(*item)).collect();
        let lengths = ends.iter().zip(ends.iter().skip(1)).map(|(start, end)| end - start).collect();
        Group { points, lengths }.sums()
    };
    groups(ends).into_par_iter().map(group).collect::<Vec<_>>().concat()
}

/// Buckets in a row that have [`GROUP`] points together, or a few more.
fn groups(ends: &[usize]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut first) = (0, 0);
    for (bucket, end) in ends.iter().skip(1).enumerate() {
        if end - first >= GROUP {
            groups.push(start..bucket + 1);
            (start, first) = (bucket + 1, *end);
        }
    }
    let buckets = ends.len().saturating_sub(1);
    if start < buckets {
        groups.push(start..buckets);
    }
    groups
}

/// Some buckets: their points, one bucket after the other, and how many each has.
struct Group<P: SWCurveConfig> {
    points: Vec<Affine<P>>,
    lengths: Vec<usize>,
}

impl<P: SWCurveConfig> Group<P> {
    fn sums(mut self) -> Vec<Affine<P>> {
        let mut halved = Vec::with_capacity(self.points.len());
        let mut inverses = Vec::with_capacity(self.points.len() / 2);
        while self.halve(&mut halved, &mut inverses) {}
        let mut points = self.points.into_iter();
        let one = |length| if length == 0 { None } else { points.next() };
        self.lengths.into_iter().map(one).map(Option::unwrap_or_default).collect()
    }

    /// Of each bucket's points, neighbours become one. `false` if there was nothing to add.
    fn halve(&mut self, halved: &mut Vec<Affine<P>>, inverses: &mut Vec<P::BaseField>) -> bool {
        inverses.clear();
        let mut rest = self.points.as_slice();
        for length in &self.lengths {
            let Some((bucket, after)) = rest.split_at_checked(*length) else { break };
            inverses.extend(bucket.chunks_exact(2).map(divisor));
            rest = after;
        }
        if inverses.is_empty() {
            return false;
        }
        // A divisor of 0 stays 0.
        serial_batch_inversion_and_mul(inverses, &P::BaseField::ONE);
        halved.clear();
        let mut rest = self.points.as_slice();
        let mut inverse = inverses.iter();
        for length in &mut self.lengths {
            let Some((bucket, after)) = rest.split_at_checked(*length) else { break };
            let pairs = bucket.chunks_exact(2);
            let single = pairs.remainder();
            halved.extend(pairs.zip(inverse.by_ref()).map(|(pair, inverse)| sum(pair, inverse)));
            halved.extend_from_slice(single);
            *length = length.div_ceil(2);
            rest = after;
        }
        std::mem::swap(&mut self.points, halved);
        true
    }
}

/// What the slope of the line through two points is divided by: 0 if a point is at infinity, or if they are opposite.
fn divisor<P: SWCurveConfig>(pair: &[Affine<P>]) -> P::BaseField {
    let [one, two] = pair else { return P::BaseField::ZERO };
    let difference = two.x - one.x;
    if one.is_zero() || two.is_zero() {
        P::BaseField::ZERO
    } else if difference.is_zero() {
        one.y + two.y
    } else {
        difference
    }
}

/// The sum of two points. `inverse` is that of their [`divisor`], or 0.
fn sum<P: SWCurveConfig>(pair: &[Affine<P>], inverse: &P::BaseField) -> Affine<P> {
    let [one, two] = pair else { return Affine::zero() };
    if inverse.is_zero() {
        return match (one.is_zero(), two.is_zero()) {
            (true, _) => *two,
            (_, true) => *one,
            _ => Affine::zero(),
        };
    }
    let rise = if one.x == two.x {
        let square = one.x.square();
        square.double() + square + P::COEFF_A
    } else {
        two.y - one.y
    };
    let slope = rise * inverse;
    let x = slope.square() - one.x - two.x;
    Affine::new_unchecked(x, slope * (one.x - x) - one.y)
}
