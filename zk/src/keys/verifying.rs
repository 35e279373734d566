//! The key that proofs are checked with.
//!
//! ```text
//! "SENTZKVK" | format u32 = 1 | origin u8 | circuit 32
//! alpha G1 | beta G2 | gamma G2 | delta G2 | one G1 for the constant and each public input (6)
//! ```

use std::fmt;

use ark_bn254::{Bn254, G1Affine, G2Affine};
use sentient_snapshot::hash::hex;
use sha3::{Digest, Sha3_256};

use super::KeyError;
use super::points::{self, G1_LEN, G2_LEN, Place};
use crate::circuit::{PUBLIC, Shape};

const MAGIC: &[u8; 8] = b"SENTZKVK";
const FORMAT: u32 = 1;
const HEADER: usize = 8 + 4 + 1 + 32;
/// Bytes of a verifying key.
pub const LEN: usize = HEADER + G1_LEN + 3 * G2_LEN + (1 + PUBLIC) * G1_LEN;
const NAME: &str = "verifying key";

/// SHA3-256 of a verifying key's bytes: what a proof was made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyDigest({self})")
    }
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Made on one machine, that could have kept its randomness: proofs mean nothing to others.
    Development,
    /// Made by a ceremony, and good if one of its participants was honest.
    Ceremony,
}

impl KeyOrigin {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Ceremony => "ceremony",
        }
    }
}

/// A verifying key; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifyingKey {
    origin: KeyOrigin,
    points: ark_groth16::VerifyingKey<Bn254>,
    digest: KeyDigest,
}

impl VerifyingKey {
    /// The key of these points, for our circuit.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn new(origin: KeyOrigin, points: ark_groth16::VerifyingKey<Bn254>) -> Result<Self, KeyError> {
        Self::decode(&encode(origin, &points))
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> KeyOrigin {
        self.origin
    }

    /// Its points.
    #[must_use]
    pub fn points(&self) -> &ark_groth16::VerifyingKey<Bn254> {
        &self.points
    }

    /// SHA3-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.origin, &self.points)
    }

    /// The key of these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] for another length or format, [`KeyError::Circuit`] for other constraints,
    /// [`KeyError::Point`] for a point off its curve, outside of its subgroup, or at infinity.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let wrong = |problem: String| KeyError::encoding(NAME, problem);
        if bytes.len() != LEN {
            return Err(wrong(format!("has {} bytes, and format {FORMAT} has {LEN}", bytes.len())));
        }
        let cut = || wrong("is cut short".to_owned());
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        let (format, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        if magic != MAGIC || u32::from_le_bytes(*format) != FORMAT {
            return Err(wrong(format!("does not begin as one of format {FORMAT}")));
        }
        let (origin, rest) = rest.split_first().ok_or_else(cut)?;
        let origin = match origin {
            0 => KeyOrigin::Development,
            1 => KeyOrigin::Ceremony,
            other => return Err(wrong(format!("has the origin {other}, and there are 0 and 1"))),
        };
        let (circuit, mut rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
        let expected = Shape::transition_digest();
        if *circuit != expected {
            return Err(KeyError::Circuit { key: NAME, found: hex(circuit), expected: hex(&expected) });
        }
        let place = |part| Place { key: NAME, part };
        let alpha: Vec<G1Affine> = points::read(&mut rest, 1, place("alpha"))?;
        let others: Vec<G2Affine> = points::read(&mut rest, 3, place("beta, gamma, delta"))?;
        let inputs: Vec<G1Affine> = points::read(&mut rest, 1 + PUBLIC, place("public inputs"))?;
        let alpha = points::finite(alpha, place("alpha"))?;
        let others = points::finite(others, place("beta, gamma, delta"))?;
        let gamma_abc_g1 = points::finite(inputs, place("public inputs"))?;
        let ([alpha_g1], [beta_g2, gamma_g2, delta_g2]) = (alpha.as_slice(), others.as_slice()) else {
            return Err(cut());
        };
        let points = ark_groth16::VerifyingKey {
            alpha_g1: *alpha_g1,
            beta_g2: *beta_g2,
            gamma_g2: *gamma_g2,
            delta_g2: *delta_g2,
            gamma_abc_g1,
        };
        Ok(Self { origin, points, digest: KeyDigest(Sha3_256::digest(bytes).into()) })
    }
}

fn encode(origin: KeyOrigin, key: &ark_groth16::VerifyingKey<Bn254>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.push(match origin {
        KeyOrigin::Development => 0,
        KeyOrigin::Ceremony => 1,
    });
    bytes.extend(Shape::transition_digest());
    points::write(&mut bytes, &[key.alpha_g1]);
    points::write(&mut bytes, &[key.beta_g2, key.gamma_g2, key.delta_g2]);
    points::write(&mut bytes, &key.gamma_abc_g1);
    bytes
}
