//! `signatures.yaml`: who answers for a package.
//!
//! ```yaml
//! version: 1
//! signatures:
//! - { algorithm: ed25519, key: d75a..., signature: e556... }
//! - { algorithm: ml-dsa-65, key: 1483..., signature: a7e1... }
//! ```
//!
//! What is signed is [`DOMAIN`] and the digest of `meta.yaml`: with ed25519 (RFC 8032) one behind the other, with
//! ML-DSA-65 (FIPS 204) the digest with that context. Both are deterministic, so that the same contents signed with
//! the same keys are the same bytes.

use super::digest::{Digest, from_hex, hex};
use super::{SIGNATURES, TsoError, yaml};
use ed25519_dalek::Signer;
use ml_dsa::{ExpandedSigningKey, MlDsa65};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the signed message begins with, so that no signature of something else is one of a package.
pub const DOMAIN: &[u8] = b"SentientOS 2026 tso v1";
/// The version of the list's format.
const VERSION: u64 = 1;
/// Most signatures of a package.
const MAX_SIGNATURES: usize = 8;
/// Most bytes of the list: an ML-DSA-65 key and signature are 10,522 digits.
const MAX_LEN: usize = 128 << 10;

/// How it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// Edwards-curve signatures (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// Signatures that a quantum computer does not forge (FIPS 204).
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
}

impl Algorithm {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::MlDsa65 => "ml-dsa-65",
        }
    }
}

/// Who has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerKey {
    /// A key itself.
    Ed25519([u8; 32]),
    /// The digest of a key, which is too long for people.
    MlDsa65(Digest),
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => write!(f, "ed25519:{}", hex(key)),
            Self::MlDsa65(digest) => write!(f, "ml-dsa-65:{digest}"),
        }
    }
}

/// A signature of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// How it was made.
    pub algorithm: Algorithm,
    #[serde(with = "digits")]
    key: Vec<u8>,
    #[serde(with = "digits")]
    signature: Vec<u8>,
}

/// Secret keys that packages are signed with.
pub enum Key {
    /// For [`Algorithm::Ed25519`].
    Ed25519(Box<ed25519_dalek::SigningKey>),
    /// For [`Algorithm::MlDsa65`].
    MlDsa65(Box<ExpandedSigningKey<MlDsa65>>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the secret.
        write!(f, "Key({})", self.public())
    }
}

impl Key {
    /// The key of a secret: 32 random bytes (RFC 8032 section 5.1.5; FIPS 204 algorithm 1, the seed).
    #[must_use]
    pub fn new(algorithm: Algorithm, secret: &[u8; 32]) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(secret))),
            Algorithm::MlDsa65 => Self::MlDsa65(Box::new(ExpandedSigningKey::from_seed(&(*secret).into()))),
        }
    }

    /// The public half, as it is shown.
    #[must_use]
    pub fn public(&self) -> SignerKey {
        match self {
            Self::Ed25519(key) => SignerKey::Ed25519(key.verifying_key().to_bytes()),
            Self::MlDsa65(key) => SignerKey::MlDsa65(Digest::of(&key.verifying_key().encode())),
        }
    }

    /// Signs a message that says by itself that it is no package's: key and signature, of ed25519 only.
    #[must_use]
    pub fn seal(&self, message: &[u8]) -> Option<[u8; 96]> {
        let Self::Ed25519(key) = self else { return None };
        let mut seal = [0; 96];
        let (to_key, to_signature) = seal.split_at_mut(32);
        to_key.copy_from_slice(key.verifying_key().as_bytes());
        to_signature.copy_from_slice(&key.sign(message).to_bytes());
        Some(seal)
    }

    /// Signs the package of this digest.
    ///
    /// # Errors
    /// [`TsoError::Text`] if the algorithm fails, which none does for a digest.
    pub fn sign(&self, digest: &Digest) -> Result<Signature, TsoError> {
        Ok(match self {
            Self::Ed25519(key) => Signature {
                algorithm: Algorithm::Ed25519,
                key: key.verifying_key().to_bytes().to_vec(),
                signature: key.sign(&[DOMAIN, &digest.0].concat()).to_bytes().to_vec(),
            },
            Self::MlDsa65(key) => {
                let signed = key.sign_deterministic(&digest.0, DOMAIN);
                let signed = signed.map_err(|error| TsoError::in_text(SIGNATURES, error.to_string()))?;
                Signature {
                    algorithm: Algorithm::MlDsa65,
                    key: key.verifying_key().encode().to_vec(),
                    signature: signed.encode().to_vec(),
                }
            }
        })
    }
}

impl Signature {
    /// Who has made it.
    #[must_use]
    pub fn key(&self) -> SignerKey {
        match (self.algorithm, <[u8; 32]>::try_from(self.key.as_slice())) {
            (Algorithm::Ed25519, Ok(key)) => SignerKey::Ed25519(key),
            // One of the wrong length is refused with the signature.
            _ => SignerKey::MlDsa65(Digest::of(&self.key)),
        }
    }

    fn holds(&self, digest: &Digest) -> bool {
        match self.algorithm {
            Algorithm::Ed25519 => {
                let key = self.key.as_slice().try_into().ok();
                let key = key.and_then(|key| ed25519_dalek::VerifyingKey::from_bytes(key).ok());
                let signature = ed25519_dalek::Signature::from_slice(&self.signature).ok();
                key.zip(signature).is_some_and(|(key, signature)| {
                    key.verify_strict(&[DOMAIN, &digest.0].concat(), &signature).is_ok()
                })
            }
            Algorithm::MlDsa65 => {
                let key = self.key.as_slice().try_into().ok().map(ml_dsa::VerifyingKey::<MlDsa65>::decode);
                let signature = ml_dsa::Signature::<MlDsa65>::try_from(self.signature.as_slice()).ok();
                key.zip(signature)
                    .is_some_and(|(key, signature)| key.verify_with_context(&digest.0, DOMAIN, &signature))
            }
        }
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    version: u64,
    signatures: Vec<Signature>,
}

impl Signatures {
    /// Signs the package of this digest with some keys, each other than the others.
    ///
    /// # Errors
    /// [`TsoError::Text`] for no key, too many, or the same one twice.
    pub fn make(digest: &Digest, keys: &[Key]) -> Result<Self, TsoError> {
        let signatures = keys.iter().map(|key| key.sign(digest)).collect::<Result<_, _>>()?;
        let this = Self { version: VERSION, signatures };
        this.check()?;
        Ok(this)
    }

    /// Reads a list. Nothing in it is known to hold.
    ///
    /// # Errors
    /// [`TsoError::Text`], [`TsoError::Version`].
    pub fn parse(text: &str) -> Result<Self, TsoError> {
        let this: Self = yaml::read(SIGNATURES, text, MAX_LEN, ("version", VERSION))?;
        this.check()?;
        // One form only: nobody has signed these bytes themselves.
        if this.to_text()? != text {
            return Err(TsoError::in_text(SIGNATURES, "it is not written as `sentctl pack` writes it"));
        }
        Ok(this)
    }

    fn check(&self) -> Result<(), TsoError> {
        if self.signatures.is_empty() || self.signatures.len() > MAX_SIGNATURES {
            let problem = format!("{} signatures; 1 to {MAX_SIGNATURES} are allowed", self.signatures.len());
            return Err(TsoError::in_text(SIGNATURES, problem));
        }
        for (at, signature) in self.signatures.iter().enumerate() {
            let before = self.signatures.iter().take(at);
            if before.into_iter().any(|other| other.key == signature.key) {
                let problem = format!("{} has signed it twice", signature.key());
                return Err(TsoError::in_text(SIGNATURES, problem));
            }
        }
        Ok(())
    }

    /// The signatures, if all of them hold for the package of this digest.
    ///
    /// # Errors
    /// [`TsoError::Signature`] with the first that does not.
    pub fn checked(self, digest: &Digest) -> Result<Vec<Signature>, TsoError> {
        match self.signatures.iter().find(|signature| !signature.holds(digest)) {
            Some(bad) => Err(TsoError::Signature { key: bad.key().to_string() }),
            None => Ok(self.signatures),
        }
    }

    /// As text.
    ///
    /// # Errors
    /// [`TsoError::Text`].
    pub fn to_text(&self) -> Result<String, TsoError> {
        yaml::write(SIGNATURES, self)
    }
}

/// Whether the owner of this key is among those who have signed.
///
/// # Errors
/// [`TsoError::Signer`] if not.
pub fn check_signer(signatures: &[Signature], key: &str) -> Result<(), TsoError> {
    let found: Vec<String> = signatures.iter().map(|signature| signature.key().to_string()).collect();
    if found.iter().any(|signer| signer == key) {
        return Ok(());
    }
    Err(TsoError::Signer { wanted: key.to_owned(), found: found.join(", ") })
}

/// Bytes as hexadecimal digits.
mod digits {
    use super::{from_hex, hex};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .ok_or_else(|| serde::de::Error::custom("hexadecimal digits are expected, in small letters"))
    }
}
