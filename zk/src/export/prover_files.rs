//! What snarkjs' prover takes: keys as a `.zkey`, a witness as a `.wtns`.
//!
//! With both, its prover makes the proof that ours makes, and a ceremony can go on from our keys. Forms as in
//! [`crate::keys::zkey`], which reads the first.

use ark_bn254::{Fq, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::{BigInteger, PrimeField};

use crate::circuit::shape::DOMAIN;
use crate::circuit::{Assignment, PUBLIC, Shape};
use crate::keys::{KeySet, binfile};
use crate::scalar::{Scalar, to_bytes};

/// A `.zkey` with these keys, to which nobody has contributed yet.
#[must_use]
pub fn zkey(keys: &KeySet) -> Vec<u8> {
    let shape = Shape::transition();
    let key = keys.proving().points();
    let mut header = Vec::new();
    for order in [Fq::MODULUS.to_bytes_le(), Scalar::MODULUS.to_bytes_le()] {
        header.extend(32u32.to_le_bytes());
        header.extend(order);
    }
    for number in [shape.wires(), PUBLIC, DOMAIN] {
        header.extend((number as u32).to_le_bytes());
    }
    header.extend(all(&[key.vk.alpha_g1, key.beta_g1], g1));
    header.extend(all(&[key.vk.beta_g2, key.vk.gamma_g2], g2));
    header.extend(g1(&key.delta_g1));
    header.extend(g2(&key.vk.delta_g2));
    let sections = [
        // Groth16's number.
        (1, 1u32.to_le_bytes().to_vec()),
        (2, header),
        (3, all(&key.vk.gamma_abc_g1, g1)),
        (4, factors(shape)),
        (5, all(&key.a_query, g1)),
        (6, all(&key.b_g1_query, g1)),
        (7, all(&key.b_g2_query, g2)),
        (8, all(&key.l_query, g1)),
        (9, all(&key.h_query, g1)),
        // The hash of the constraints as a coordinator makes it, which is not known here, and no contributions.
        (10, vec![0; 64 + 4]),
    ];
    binfile::write(*b"zkey", 1, &sections)
}

/// A `.wtns` with the value of every wire.
#[must_use]
pub fn witness(assignment: &Assignment) -> Vec<u8> {
    let mut header = 32u32.to_le_bytes().to_vec();
    header.extend(Scalar::MODULUS.to_bytes_le());
    header.extend((assignment.values.len() as u32).to_le_bytes());
    let values = assignment.values.iter().flat_map(to_bytes).collect();
    binfile::write(*b"wtns", 2, &[(1, header), (2, values)])
}

/// Matrix, constraint, wire and factor, for the left sides and the right ones, and for what binds the public inputs.
fn factors(shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut count = 0u32;
    let mut push = |matrix: u32, row: u32, wire: u32, factor: &Scalar| {
        for number in [matrix, row, wire] {
            bytes.extend(number.to_le_bytes());
        }
        // Multiplied by 2^256 twice: what is there already is taken for a number, and brought into Montgomery's form.
        let twice = Scalar::from_bigint(factor.0).unwrap_or_default();
        bytes.extend(twice.0.to_bytes_le());
        count += 1;
    };
    for (matrix, rows) in [(0, &shape.left), (1, &shape.right)] {
        for (row, sum) in (0..).zip(rows) {
            sum.iter().for_each(|(factor, wire)| push(matrix, row, *wire as u32, factor));
        }
    }
    for (row, input) in (shape.constraints() as u32..).zip(0..=PUBLIC as u32) {
        push(0, row, input, &Scalar::from(1u8));
    }
    [count.to_le_bytes().as_slice(), &bytes].concat()
}

fn all<P>(points: &[P], bytes: impl Fn(&P) -> Vec<u8>) -> Vec<u8> {
    points.iter().flat_map(bytes).collect()
}

/// Coordinates in Montgomery's form, which is how they are kept; zeros for infinity.
fn coordinates<const N: usize>(coordinates: [Fq; N]) -> Vec<u8> {
    coordinates.iter().flat_map(|coordinate| coordinate.0.to_bytes_le()).collect()
}

fn g1(point: &G1Affine) -> Vec<u8> {
    let (x, y) = point.xy().unwrap_or_default();
    coordinates([x, y])
}

fn g2(point: &G2Affine) -> Vec<u8> {
    let (x, y) = point.xy().unwrap_or_default();
    coordinates([x.c0, x.c1, y.c0, y.c1])
}
