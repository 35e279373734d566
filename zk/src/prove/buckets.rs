//! Many sums of a few points each.
//!
//! Points are added in pairs in affine coordinates, with one inversion for many pairs (Montgomery's trick): 6
//! multiplications an addition instead of 10. A group of buckets is worked through at a time, so that its points stay in
//! the second-level cache until one is left of each bucket; groups are shared out among threads.

use std::ops::Range;

use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::{Affine, SWCurveConfig};
use rayon::prelude::*;

use super::loose::{Loose, Loosely, invert_all};

/// Points of a group: 128 KiB of G1, 256 KiB of G2.
const GROUP: usize = 2048;

/// The sum of each bucket. Bucket `b` has the points that `point` gives for the items `ends[b]` to `ends[b + 1]`.
///
/// The curve is one with a = 0, as both of BN254's are.
pub fn sums<P: SWCurveConfig<BaseField: Loosely>>(
    point: impl Fn(u32) -> Affine<P> + Sync,
    items: &[u32],
    ends: &[usize],
) -> Vec<Affine<P>> {
    let loose = |item: &u32| {
        let point = point(*item);
        Point { x: Loose::of(&point.x), y: Loose::of(&point.y) }
    };
    let affine = |point: &Point<<P::BaseField as Loosely>::Loose>| {
        if point.y.is_zero() {
            Affine::zero()
        } else {
            Affine::new_unchecked(point.x.exact(), point.y.exact())
        }
    };
    let group = |buckets: Range<usize>| {
        let ends = ends.get(buckets.start..=buckets.end).unwrap_or_default();
        let (first, last) = (ends.first().copied().unwrap_or(0), ends.last().copied().unwrap_or(0));
        let points = items.get(first..last).unwrap_or_default().iter().map(loose).collect();
        let lengths = ends.iter().zip(ends.iter().skip(1)).map(|(start, end)| end - start).collect();
        Group { points, lengths }.sums().iter().map(affine).collect::<Vec<_>>()
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

/// A point; both coordinates are 0 at infinity, and y nowhere else: the groups' orders are odd.
#[derive(Clone, Copy)]
struct Point<L> {
    x: L,
    y: L,
}

impl<L: Loose> Point<L> {
    const INFINITY: Self = Self { x: L::ZERO, y: L::ZERO };

    /// What the slope of the line through two points is divided by: 0 if a point is at infinity, or if they are opposite.
    #[inline(always)]
    fn divisor(&self, other: &Self) -> L {
        let difference = other.x.minus(&self.x);
        if self.y.is_zero() || other.y.is_zero() {
            L::ZERO
        } else if difference.is_zero() {
            self.y.plus(&other.y)
        } else {
            difference
        }
    }

    /// The sum of two points of a curve y^2 = x^3 + b. `inverse` is that of their [`divisor`](Self::divisor), or 0.
    #[inline(always)]
    fn plus(&self, other: &Self, inverse: &L) -> Self {
        if inverse.is_zero() {
            return match (self.y.is_zero(), other.y.is_zero()) {
                (true, _) => *other,
                (_, true) => *self,
                _ => Self::INFINITY,
            };
        }
        let rise = if self.x.minus(&other.x).is_zero() {
            let square = self.x.squared();
            square.plus(&square).plus(&square)
        } else {
            other.y.minus(&self.y)
        };
        let slope = rise.times(inverse);
        let x = slope.squared().minus(&self.x).minus(&other.x);
        Self { x, y: slope.times(&self.x.minus(&x)).minus(&self.y) }
    }
}

/// Some buckets: their points, one bucket after the other, and how many each has.
struct Group<L> {
    points: Vec<Point<L>>,
    lengths: Vec<usize>,
}

impl<L: Loose> Group<L> {
    fn sums(mut self) -> Vec<Point<L>> {
        let mut halved = Vec::with_capacity(self.points.len());
        let mut inverses = Vec::with_capacity(self.points.len() / 2);
        let mut products = Vec::with_capacity(self.points.len() / 2);
        while self.halve(&mut halved, &mut inverses, &mut products) {}
        let mut points = self.points.into_iter();
        let one = |length| if length == 0 { None } else { points.next() };
        self.lengths.into_iter().map(one).map(|point| point.unwrap_or(Point::INFINITY)).collect()
    }

    /// Of each bucket's points, neighbours become one. `false` if there was nothing to add.
    fn halve(&mut self, halved: &mut Vec<Point<L>>, inverses: &mut Vec<L>, products: &mut Vec<L>) -> bool {
        inverses.clear();
        let mut rest = self.points.as_slice();
        for length in &self.lengths {
            let Some((bucket, after)) = rest.split_at_checked(*length) else { break };
            let (pairs, _) = bucket.as_chunks();
            inverses.extend(pairs.iter().map(|[one, two]| one.divisor(two)));
            rest = after;
        }
        if inverses.is_empty() {
            return false;
        }
        // A divisor of 0 stays 0.
        invert_all(inverses, products);
        halved.clear();
        let mut rest = self.points.as_slice();
        let mut inverse = inverses.iter();
        for length in &mut self.lengths {
            let Some((bucket, after)) = rest.split_at_checked(*length) else { break };
            let (pairs, single) = bucket.as_chunks();
            let pairs = pairs.iter().zip(inverse.by_ref());
            halved.extend(pairs.map(|([one, two], inverse)| one.plus(two, inverse)));
            halved.extend_from_slice(single);
            *length = length.div_ceil(2);
            rest = after;
        }
        std::mem::swap(&mut self.points, halved);
        true
    }
}
