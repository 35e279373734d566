//! A contract for Ethereum that checks proofs with one key, and the bytes of a call of it.
//!
//! The contract uses the precompiles 6, 7 and 8 (EIP-196, EIP-197), which check that coordinates are below
//! the field's order and that points are on their curve and in their subgroup.

use ark_bn254::{Fq, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_ff::{BigInteger, PrimeField};
use sha3::{Digest, Keccak256};

use crate::circuit::Statement;
use crate::keys::VerifyingKey;
use crate::scalar::Scalar;
use crate::verify::Proof;

const TEMPLATE: &str = include_str!("verifier.sol");

/// The name of the contract.
pub const CONTRACT: &str = "TransitionVerifier";

/// The contract's source, for `solc` from 0.8.20 on.
#[must_use]
pub fn verifier(key: &VerifyingKey) -> String {
    let points = key.points();
    let words = |words: Vec<Fq>| words.iter().map(Fq::to_string).collect::<Vec<_>>().join(", ");
    let mut inputs = String::new();
    for (at, point) in points.gamma_abc_g1.iter().skip(1).enumerate() {
        let point = words(g1(point));
        inputs.push_str(&format!("        good = good && add(sum, {point}, input[{at}]);\n"));
    }
    let constant = points.gamma_abc_g1.first().map(g1).unwrap_or_default();
    let coordinate = |at: usize| constant.get(at).map(Fq::to_string).unwrap_or_default();
    [
        ("@KEY@", key.digest().to_string()),
        ("@ORIGIN@", key.origin().name().to_owned()),
        ("@R@", Scalar::MODULUS.to_string()),
        ("@Q@", Fq::MODULUS.to_string()),
        ("@IC0X@", coordinate(0)),
        ("@IC0Y@", coordinate(1)),
        ("@INPUTS@", inputs),
        ("@ALPHA@", words(g1(&points.alpha_g1))),
        ("@BETA@", words(g2(&points.beta_g2))),
        ("@GAMMA@", words(g2(&points.gamma_g2))),
        ("@DELTA@", words(g2(&points.delta_g2))),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |source, (name, value)| source.replace(name, &value))
}

/// The bytes of a call of `verifyProof`: the selector, then 13 words, big-endian.
#[must_use]
pub fn call(statement: &Statement, proof: &Proof) -> Vec<u8> {
    let signature = "verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[5])";
    let selector = Keccak256::digest(signature.as_bytes());
    let mut bytes = selector.iter().take(4).copied().collect::<Vec<u8>>();
    let points = proof.points();
    for word in [g1(&points.a), g2(&points.b), g1(&points.c)].concat() {
        bytes.extend(word.into_bigint().to_bytes_be());
    }
    for scalar in statement.public() {
        bytes.extend(scalar.into_bigint().to_bytes_be());
    }
    bytes
}

/// Coordinates; zeros for infinity.
fn g1(point: &G1Affine) -> Vec<Fq> {
    point.xy().map_or(vec![Fq::default(); 2], |(x, y)| vec![x, y])
}

/// Coordinates, the imaginary parts first.
fn g2(point: &G2Affine) -> Vec<Fq> {
    point.xy().map_or(vec![Fq::default(); 4], |(x, y)| vec![x.c1, x.c0, y.c1, y.c0])
}
