//! The one digest type of this crate, and what each kind of thing is hashed under.

use std::fmt;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use borsh::{BorshDeserialize, BorshSerialize};

/// 32 bytes that name a content: BLAKE3 of a page, a tree node, a region or a state.
///
/// SHA3-256 identities of records ([`SnapshotId`](crate::record::SnapshotId)) are a type of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
pub struct Hash(pub [u8; 32]);

/// The hash of a page; [`Hash::ZERO`] for the page of zeros.
pub type PageHash = Hash;

impl Hash {
    /// Stands for "nothing but zeros": the zero page, and every subtree over zero pages. Never stored.
    pub const ZERO: Self = Self([0; 32]);

    /// Whether this is [`ZERO`](Self::ZERO).
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// What is hashed: each kind has a BLAKE3 context of its own, so that no content of one kind can be
/// passed off as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A page's 4096 bytes.
    Page,
    /// A tree node: its level and 64 hashes.
    Node,
    /// A region's place and its tree's root.
    Region,
    /// The state of vCPUs and devices, whose layout is the machine's business.
    State,
}

static KEYS: LazyLock<[ContextKey; 4]> = LazyLock::new(|| {
    [Domain::Page, Domain::Node, Domain::Region, Domain::State]
        .map(|domain| hash_derive_key_context(domain.context()))
});

impl Domain {
    /// The context of BLAKE3's `derive_key` mode.
    #[must_use]
    pub const fn context(self) -> &'static str {
        match self {
            Self::Page => "SentientOS 2026 page v1",
            Self::Node => "SentientOS 2026 tree node v1",
            Self::Region => "SentientOS 2026 region v1",
            Self::State => "SentientOS 2026 state v1",
        }
    }

    /// The hash of `bytes` in this domain.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> Hash {
        let [page, node, region, state] = &*KEYS;
        let key = match self {
            Self::Page => page,
            Self::Node => node,
            Self::Region => region,
            Self::State => state,
        };
        Hash(blake3::Hasher::new_from_context_key(key).update(bytes).finalize().into())
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('?'));
        }
    }
    text
}

/// 32 bytes from exactly 64 hexadecimal digits of either case; `None` for anything else.
#[must_use]
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in digits {
            let value = char::from(*digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_derive_key_mode() {
        for domain in [Domain::Page, Domain::Node, Domain::Region, Domain::State] {
            assert_eq!(domain.hash(b"bytes").0, blake3::derive_key(domain.context(), b"bytes"));
        }
    }

    #[test]
    fn the_same_bytes_have_another_hash_in_every_domain() {
        let hashes = [Domain::Page, Domain::Node, Domain::Region, Domain::State].map(|d| d.hash(b"x"));
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(hashes.iter().position(|other| other == hash), Some(at));
        }
    }

    #[test]
    fn hexadecimal_digits_go_there_and_back() {
        let hash = Domain::Page.hash(b"x");
        assert_eq!(parse_hex(&hash.to_string()), Some(hash.0));
        assert_eq!(parse_hex(&hash.to_string().to_uppercase()), Some(hash.0));
        assert_eq!(parse_hex(&hash.to_string()[1..]), None);
        assert_eq!(parse_hex(&format!("+{}", &hash.to_string()[1..])), None);
        assert_eq!(parse_hex(&"é".repeat(32)), None);
    }
}
