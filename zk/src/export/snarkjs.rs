//! The files of `snarkjs groth16 verify verification_key.json public.json proof.json`.
//!
//! Numbers are decimal strings, points have a third coordinate, and BN254 is called `bn128`.

use ark_bn254::{Fq2, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use serde_json::{Value, json};

use crate::circuit::{PUBLIC, Statement};
use crate::keys::VerifyingKey;
use crate::verify::Proof;

/// `proof.json`.
#[must_use]
pub fn proof(proof: &Proof) -> Value {
    let points = proof.points();
    json!({
        "pi_a": g1(&points.a),
        "pi_b": g2(&points.b),
        "pi_c": g1(&points.c),
        "protocol": "groth16",
        "curve": "bn128",
    })
}

/// `public.json`: the old state, the new state, the dirty mask, the frozen mask, the contract.
#[must_use]
pub fn public(statement: &Statement) -> Value {
    Value::from(statement.public().map(|scalar| scalar.to_string()).to_vec())
}

/// `verification_key.json`.
#[must_use]
pub fn verification_key(key: &VerifyingKey) -> Value {
    let points = key.points();
    json!({
        "protocol": "groth16",
        "curve": "bn128",
        "nPublic": PUBLIC,
        "vk_alpha_1": g1(&points.alpha_g1),
        "vk_beta_2": g2(&points.beta_g2),
        "vk_gamma_2": g2(&points.gamma_g2),
        "vk_delta_2": g2(&points.delta_g2),
        "IC": points.gamma_abc_g1.iter().map(g1).collect::<Vec<_>>(),
    })
}

fn g1(point: &G1Affine) -> Value {
    match point.xy() {
        Some((x, y)) => json!([x.to_string(), y.to_string(), "1"]),
        None => json!(["0", "1", "0"]),
    }
}

fn g2(point: &G2Affine) -> Value {
    let pair = |value: Fq2| json!([value.c0.to_string(), value.c1.to_string()]);
    match point.xy() {
        Some((x, y)) => json!([pair(x), pair(y), ["1", "0"]]),
        None => json!([["0", "0"], ["1", "0"], ["0", "0"]]),
    }
}
