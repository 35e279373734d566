//! Checking proofs: one, or many at once.

use ark_bn254::{Bn254, Fr, G1Affine, G1Projective, g1};
use ark_ec::pairing::{MillerLoopOutput, Pairing};
use ark_ec::{AffineRepr, CurveGroup, VariableBaseMSM};
use ark_ff::Field;
use ark_groth16::{Groth16, PreparedVerifyingKey};
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use ark_std::rand::RngCore;
use ark_std::rand::rngs::OsRng;
use rayon::prelude::*;

use crate::circuit::{PUBLIC, Statement};
use crate::keys::VerifyingKey;
use crate::prove::multiples::Multiples;

type G2Prepared = <Bn254 as Pairing>::G2Prepared;

/// Bytes of a proof: A and C in G1, B in G2 between them; compressed, in arkworks' encoding.
pub const PROOF_LEN: usize = 32 + 64 + 32;

/// Most proofs that are checked at once.
pub const MAX_BATCH: usize = 64;

/// A proof: three points, on their curves and in their subgroups, none at infinity. It names nothing:
/// anybody can make another of the same statement from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    points: ark_groth16::Proof<Bn254>,
}

/// Why a proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Bytes that are no proof.
    #[error("the proof {0}; it was changed, or is of another kind: prove the transition again")]
    Encoding(&'static str),
    /// A proof of something else.
    #[error("the proof is not one of this statement under this key; the transition is not proved")]
    Refused,
    /// Too many at once.
    #[error("{0} proofs were to be checked at once, and at most {MAX_BATCH} are; split them up")]
    Batch(usize),
}

impl Proof {
    /// The proof of these points.
    #[must_use]
    pub(crate) fn from_points(points: ark_groth16::Proof<Bn254>) -> Self {
        Self { points }
    }

    /// Its points.
    #[must_use]
    pub fn points(&self) -> &ark_groth16::Proof<Bn254> {
        &self.points
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PROOF_LEN] {
        let mut bytes = [0; PROOF_LEN];
        // There is room for all three.
        let _ = self.points.serialize_compressed(bytes.as_mut_slice());
        bytes
    }

    /// The proof of these bytes.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Encoding`] for another length, coordinates from the field's order on, points off
    /// their curve, outside of their subgroup or at infinity, and anything but the one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, VerifyError> {
        if bytes.len() != PROOF_LEN {
            return Err(VerifyError::Encoding("does not have 128 bytes"));
        }
        let points = ark_groth16::Proof::<Bn254>::deserialize_compressed(bytes)
            .map_err(|_| VerifyError::Encoding("has a point that is not on its curve"))?;
        if points.a.is_zero() || points.b.is_zero() || points.c.is_zero() {
            return Err(VerifyError::Encoding("has a point at infinity"));
        }
        let proof = Self { points };
        if proof.encode() == bytes {
            Ok(proof)
        } else {
            Err(VerifyError::Encoding("is not in its one encoding"))
        }
    }
}

/// Checks proofs against one key.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: VerifyingKey,
    prepared: PreparedVerifyingKey<Bn254>,
    /// Of the key's points for the public inputs, without the constant's.
    inputs: Multiples<g1::Config>,
}

impl Verifier {
    /// A verifier with this key.
    #[must_use]
    pub fn new(key: VerifyingKey) -> Self {
        let prepared = PreparedVerifyingKey::from(key.points().clone());
        let inputs = Multiples::new(key.points().gamma_abc_g1.get(1..).unwrap_or_default());
        Self { key, prepared, inputs }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The key's point for the constant 1.
    fn constant(&self) -> G1Affine {
        self.key.points().gamma_abc_g1.first().copied().unwrap_or_default()
    }

    /// `Ok` if the statement is proved. Costs a millisecond.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Refused`].
    pub fn verify(&self, statement: &Statement, proof: &Proof) -> Result<(), VerifyError> {
        let inputs = self.constant() + self.inputs.sum(&statement.public());
        match Groth16::<Bn254>::verify_proof_with_prepared_inputs(&self.prepared, proof.points(), &inputs) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(VerifyError::Refused),
        }
    }

    /// `Ok` if all statements are proved. A random linear combination of the equations is checked, with
    /// 128-bit factors that nobody knew beforehand: if one equation does not hold, this passes with a
    /// probability of at most 2^-127.
    ///
    /// Which one fails, [`verify`](Self::verify) tells.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Batch`], [`VerifyError::Refused`].
    pub fn verify_batch(&self, proofs: &[(Statement, Proof)]) -> Result<(), VerifyError> {
        match proofs {
            [] => return Ok(()),
            [(statement, proof)] => return self.verify(statement, proof),
            many if many.len() > MAX_BATCH => return Err(VerifyError::Batch(many.len())),
            _ => {}
        }
        let factors: Vec<Fr> = proofs.iter().map(|_| factor()).collect();
        let total: Fr = factors.iter().sum();
        let key = &self.prepared;
        // e(f1 A1, B1) ... e(fn An, Bn) = e(alpha, beta)^sum(f) e(sum(f IC), gamma) e(sum(f C), delta)
        let (scaled, points): (Vec<G1Projective>, Vec<G2Prepared>) = (proofs, &factors)
            .into_par_iter()
            .map(|((_, proof), factor)| (proof.points.a * factor, proof.points.b.into()))
            .unzip();
        let mut left = G1Projective::normalize_batch(&scaled);
        let mut sums = [Fr::default(); PUBLIC];
        for ((statement, _), factor) in proofs.iter().zip(&factors) {
            sums.iter_mut().zip(statement.public()).for_each(|(sum, input)| *sum += input * factor);
        }
        let inputs = self.constant() * total + self.inputs.sum(&sums);
        let c: Vec<G1Affine> = proofs.iter().map(|(_, proof)| proof.points.c).collect();
        let c = G1Projective::msm_unchecked(&c, &factors);
        left.extend([inputs.into_affine(), c.into_affine()]);
        let right = points.into_iter().chain([key.gamma_g2_neg_pc.clone(), key.delta_g2_neg_pc.clone()]);
        let product: MillerLoopOutput<Bn254> = Bn254::multi_miller_loop(left, right);
        let expected = key.alpha_g1_beta_g2.pow(ark_ff::PrimeField::into_bigint(total));
        match Bn254::final_exponentiation(product) {
            Some(product) if product.0 == expected => Ok(()),
            _ => Err(VerifyError::Refused),
        }
    }
}

/// 128 random bits, not all 0.
fn factor() -> Fr {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    Fr::from(u128::from_le_bytes(bytes).max(1))
}
