//! Points as bytes: uncompressed, in arkworks' encoding.
//!
//! Coordinates are little-endian, 32 bytes each (G2: the real part first); the top two bits of the last
//! byte are flags. Every point that is read is on its curve and in its subgroup, and has been encoded as
//! it would be again.

use ark_bn254::{Fq, Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ec::short_weierstrass::Affine;
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use rayon::prelude::*;

use super::KeyError;

/// Bytes of a point of G1.
pub const G1_LEN: usize = 64;
/// Bytes of a point of G2.
pub const G2_LEN: usize = 128;

/// A point of one of the two groups.
pub trait Point: AffineRepr + CanonicalSerialize + CanonicalDeserialize {
    /// Its bytes.
    const LEN: usize;

    /// Whether it is on the curve, and in the subgroup of the scalars' order.
    fn is_good(&self) -> bool;
}

// Not by their aliases, which the compiler cannot tell apart here.
impl Point for Affine<ark_bn254::g1::Config> {
    const LEN: usize = G1_LEN;

    fn is_good(&self) -> bool {
        // G1's cofactor is 1: the curve is the subgroup.
        self.is_on_curve()
    }
}

impl Point for Affine<ark_bn254::g2::Config> {
    const LEN: usize = G2_LEN;

    fn is_good(&self) -> bool {
        self.is_on_curve() && self.is_in_correct_subgroup_assuming_on_curve()
    }
}

/// Where points are read from, for errors.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which key.
    pub key: &'static str,
    /// Which part of it.
    pub part: &'static str,
}

/// Appends points to bytes.
pub fn write<P: Point>(bytes: &mut Vec<u8>, points: &[P]) {
    bytes.reserve(points.len() * P::LEN);
    for point in points {
        // Writing to memory does not fail.
        let _ = point.serialize_uncompressed(&mut *bytes);
    }
}

/// Takes `count` points off the front of `bytes`.
///
/// # Errors
///
/// [`KeyError::Encoding`] if there are fewer, before anything is allocated; [`KeyError::Point`].
pub fn read<P: Point>(bytes: &mut &[u8], count: usize, place: Place) -> Result<Vec<P>, KeyError> {
    let Place { key, part } = place;
    let split = count.checked_mul(P::LEN).and_then(|len| bytes.split_at_checked(len));
    let (ours, rest) = split.ok_or_else(|| KeyError::encoding(key, format!("ends within its {part}")))?;
    *bytes = rest;
    let point = |(index, bytes): (usize, &[u8])| {
        let refused = |problem| KeyError::Point { key, part, index, problem };
        let point = P::deserialize_uncompressed_unchecked(bytes)
            .map_err(|_| refused("has a coordinate that is not below the field's order"))?;
        let mut again = Vec::with_capacity(P::LEN);
        write(&mut again, &[point]);
        if again != bytes {
            return Err(refused("is not in its one encoding"));
        }
        checked(point, place, index)
    };
    ours.par_chunks(P::LEN).enumerate().map(point).collect()
}

/// The point, if it is on its curve and in its subgroup.
///
/// # Errors
///
/// [`KeyError::Point`].
pub fn checked<P: Point>(point: P, place: Place, index: usize) -> Result<P, KeyError> {
    if point.is_good() {
        return Ok(point);
    }
    let problem = "is not on its curve, or outside of its subgroup";
    Err(KeyError::Point { key: place.key, part: place.part, index, problem })
}

/// Points none of which is at infinity.
///
/// # Errors
///
/// [`KeyError::Point`].
pub fn finite<P: Point>(points: Vec<P>, place: Place) -> Result<Vec<P>, KeyError> {
    match points.iter().position(AffineRepr::is_zero) {
        Some(index) => {
            Err(KeyError::Point { key: place.key, part: place.part, index, problem: "is at infinity" })
        }
        None => Ok(points),
    }
}

/// The point of two coordinates; infinity if both are 0, as other programs write it.
pub fn g1(x: Fq, y: Fq) -> G1Affine {
    if x == Fq::default() && y == Fq::default() { G1Affine::zero() } else { G1Affine::new_unchecked(x, y) }
}

/// As [`g1`].
pub fn g2(x: Fq2, y: Fq2) -> G2Affine {
    if x == Fq2::default() && y == Fq2::default() { G2Affine::zero() } else { G2Affine::new_unchecked(x, y) }
}
