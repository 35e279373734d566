//! The key that proofs are made with. All its lengths follow from the circuit.
//!
//! ```text
//! "SENTZKPK" | format u32 = 1 | digest of the verifying key 32
//! beta G1 | delta G1
//! A: G1 for each wire | B: G1 for each wire | B: G2 for each wire
//! L: G1 for each wire of the witness | H: G1, 8192 of them
//! ```
//!
//! It is for the reduction of snarkjs ([`crate::prove::reduction`]), wherever it comes from.

use ark_bn254::{Bn254, G1Affine};
use sha3::{Digest, Sha3_256};

use super::points::{self, G1_LEN, G2_LEN, Place};
use super::verifying::VerifyingKey;
use super::{KeyDigest, KeyError};
use crate::circuit::Shape;
use crate::circuit::shape::DOMAIN;

const MAGIC: &[u8; 8] = b"SENTZKPK";
const FORMAT: u32 = 1;
const HEADER: usize = 8 + 4 + 32;
const NAME: &str = "proving key";

/// A proving key; checked.
#[derive(Clone, Debug)]
pub struct ProvingKey {
    verifying: VerifyingKey,
    points: ark_groth16::ProvingKey<Bn254>,
}

impl ProvingKey {
    /// The key of these points, which go with that verifying key.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn new(verifying: VerifyingKey, points: ark_groth16::ProvingKey<Bn254>) -> Result<Self, KeyError> {
        Self::decode(&encode(verifying.digest(), &points), verifying)
    }

    /// The key that its proofs are checked with.
    #[must_use]
    pub fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// Its points.
    #[must_use]
    pub fn points(&self) -> &ark_groth16::ProvingKey<Bn254> {
        &self.points
    }

    /// Its bytes: 3.1 MB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.verifying.digest(), &self.points)
    }

    /// SHA3-256 of a proving key's bytes.
    #[must_use]
    pub fn digest_of(bytes: &[u8]) -> [u8; 32] {
        Sha3_256::digest(bytes).into()
    }

    /// Bytes of a proving key for our circuit.
    #[must_use]
    pub fn encoded_len() -> usize {
        let shape = Shape::transition();
        let (wires, witness) = (shape.wires(), shape.witness);
        HEADER + 2 * G1_LEN + wires * (2 * G1_LEN + G2_LEN) + (witness + DOMAIN) * G1_LEN
    }

    /// The key of these bytes, that go with `verifying`.
    ///
    /// That a proving key is the right one cannot be seen from it. One that is wrong makes no proof that
    /// passes, which the prover finds out before it hands one out.
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] for another length, before anything is allocated, and for a key that goes
    /// with another one; [`KeyError::Point`].
    pub fn decode(bytes: &[u8], verifying: VerifyingKey) -> Result<Self, KeyError> {
        let wrong = |problem: String| KeyError::encoding(NAME, problem);
        let len = Self::encoded_len();
        if bytes.len() != len {
            return Err(wrong(format!("has {} bytes, and one for this circuit has {len}", bytes.len())));
        }
        let cut = || wrong("is cut short".to_owned());
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        let (format, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        if magic != MAGIC || u32::from_le_bytes(*format) != FORMAT {
            return Err(wrong(format!("does not begin as one of format {FORMAT}")));
        }
        let (of, mut rest) = rest.split_first_chunk().ok_or_else(cut)?;
        if *of != verifying.digest().0 {
            let of = KeyDigest(*of);
            return Err(wrong(format!("goes with the verifying key {of}, and not {}", verifying.digest())));
        }
        let shape = Shape::transition();
        let place = |part| Place { key: NAME, part };
        let ends: Vec<G1Affine> = points::read(&mut rest, 2, place("beta and delta"))?;
        let ends = points::finite(ends, place("beta and delta"))?;
        let [beta_g1, delta_g1] = ends.as_slice() else { return Err(cut()) };
        let points = ark_groth16::ProvingKey {
            vk: verifying.points().clone(),
            beta_g1: *beta_g1,
            delta_g1: *delta_g1,
            a_query: points::read(&mut rest, shape.wires(), place("A"))?,
            b_g1_query: points::read(&mut rest, shape.wires(), place("B in G1"))?,
            b_g2_query: points::read(&mut rest, shape.wires(), place("B in G2"))?,
            l_query: points::read(&mut rest, shape.witness, place("L"))?,
            h_query: points::read(&mut rest, DOMAIN, place("H"))?,
        };
        Ok(Self { verifying, points })
    }
}

fn encode(verifying: KeyDigest, key: &ark_groth16::ProvingKey<Bn254>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ProvingKey::encoded_len());
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend(verifying.0);
    points::write(&mut bytes, &[key.beta_g1, key.delta_g1]);
    points::write(&mut bytes, &key.a_query);
    points::write(&mut bytes, &key.b_g1_query);
    points::write(&mut bytes, &key.b_g2_query);
    points::write(&mut bytes, &key.l_query);
    points::write(&mut bytes, &key.h_query);
    bytes
}
