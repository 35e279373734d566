//! Whose signatures count.

use crate::hash::parse_hex;

/// Public keys, ed25519.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: Vec<[u8; 32]>,
}

impl Trust {
    /// Trusts one key: as a rule the machine's own.
    #[must_use]
    pub fn only(key: [u8; 32]) -> Self {
        Self { keys: vec![key] }
    }

    /// Trusts another key too.
    #[must_use]
    pub fn and(mut self, key: [u8; 32]) -> Self {
        self.keys.push(key);
        self
    }

    /// Trusts the keys of the given texts too, each 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`KeyTextError`] by the first that is something else.
    pub fn and_hex<'a>(self, texts: impl IntoIterator<Item = &'a str>) -> Result<Self, KeyTextError> {
        texts.into_iter().try_fold(self, |trust, text| {
            parse_hex(text).map(|key| trust.and(key)).ok_or_else(|| KeyTextError { text: text.to_owned() })
        })
    }

    /// Whether a key is trusted.
    #[must_use]
    pub fn trusts(&self, key: &[u8; 32]) -> bool {
        self.keys.contains(key)
    }
}

/// A text that is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no public key; one has 64 hexadecimal digits")]
pub struct KeyTextError {
    /// The text.
    pub text: String,
}
