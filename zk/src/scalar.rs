//! Elements of BN254's scalar field: from hashes, and as 32 bytes.

use ark_ff::{BigInteger, PrimeField};

/// An element of the scalar field of BN254, the field that circuits compute in. Its order `r` is
/// 21888242871839275222246405745257275088548364400416034343698204186575808495617 (EIP-196), above 2^253.
pub type Scalar = ark_bn254::Fr;

/// Bytes of a hash that go into a scalar: 248 bits, the most whole bytes that are below the order.
pub const TRUNCATED: usize = 31;

/// Bytes that are no scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not below the order of BN254's scalar field; it was changed, or is of another curve")]
pub struct ScalarError {
    /// What was to be one.
    pub what: &'static str,
}

/// The scalar of a 32-byte hash: its first 31 bytes, little-endian. The last byte is dropped, which
/// leaves 124 bits against collisions.
#[must_use]
pub fn truncated(hash: &[u8; 32]) -> Scalar {
    let (low, _) = hash.split_at(TRUNCATED);
    // 248 bits: never reduced.
    Scalar::from_le_bytes_mod_order(low)
}

/// A scalar as 32 bytes, little-endian.
#[must_use]
pub fn to_bytes(scalar: &Scalar) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&scalar.into_bigint().to_bytes_le());
    bytes
}

/// The scalar of 32 bytes, little-endian.
///
/// # Errors
///
/// [`ScalarError`] for numbers from the order on: each scalar has one encoding.
pub fn from_bytes(bytes: &[u8; 32], what: &'static str) -> Result<Scalar, ScalarError> {
    let scalar = Scalar::from_le_bytes_mod_order(bytes);
    if to_bytes(&scalar) == *bytes { Ok(scalar) } else { Err(ScalarError { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_has_one_encoding() {
        let order = Scalar::MODULUS.to_bytes_le();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&order);
        assert!(from_bytes(&bytes, "x").is_err());
        assert!(from_bytes(&[0xff; 32], "x").is_err());
        bytes[0] -= 1;
        assert_eq!(from_bytes(&bytes, "x"), Ok(-Scalar::from(1u8)));
        assert_eq!(to_bytes(&-Scalar::from(1u8)), bytes);
    }

    #[test]
    fn a_hash_loses_its_last_byte_only() {
        let mut hash = [7; 32];
        let scalar = truncated(&hash);
        hash[31] = 9;
        assert_eq!(truncated(&hash), scalar);
        hash[30] = 9;
        assert_ne!(truncated(&hash), scalar);
        assert_eq!(to_bytes(&truncated(&[0xff; 32]))[..31], [0xff; 31]);
    }
}
