//! A folder with a machine's keys: `verifying.key`, `proving.key`, and `pin.json`, which names both.
//!
//! The pin is made when keys are put there, and all that is read is compared with it. It guards against
//! keys that were changed or mixed up; somebody who can write to the folder can write another pin. So
//! verifiers name the key that they trust by its digest, and do not take it from the machine.

use std::fs;
use std::io::Read;
use std::path::Path;

use sentient_snapshot::hash::{hex, parse_hex};
use serde::{Deserialize, Serialize};

use super::proving::ProvingKey;
use super::verifying::{self, VerifyingKey};
use super::{KeyDigest, KeyError};
use crate::chain::durable;

/// The verifying key's file.
pub const VERIFYING_FILE: &str = "verifying.key";
/// The proving key's file.
pub const PROVING_FILE: &str = "proving.key";
/// The pin's file.
pub const PIN_FILE: &str = "pin.json";
/// Most bytes of a pin.
const MAX_PIN: usize = 1024;

/// Both keys.
#[derive(Clone, Debug)]
pub struct KeySet {
    proving: ProvingKey,
}

/// Which keys a machine uses, by their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// 1.
    pub format: u32,
    /// SHA3-256 of the verifying key, in hexadecimal digits.
    pub verifying: String,
    /// SHA3-256 of the proving key, in hexadecimal digits.
    pub proving: String,
    /// `development` or `ceremony`.
    pub origin: String,
}

impl KeySet {
    /// The set of this key and of the one that goes with it.
    #[must_use]
    pub fn new(proving: ProvingKey) -> Self {
        Self { proving }
    }

    /// The proving key.
    #[must_use]
    pub fn proving(&self) -> &ProvingKey {
        &self.proving
    }

    /// The verifying key.
    #[must_use]
    pub fn verifying(&self) -> &VerifyingKey {
        self.proving.verifying()
    }

    /// Puts the keys into a folder, and pins them. Durable when it returns. The pin comes last: a folder
    /// whose writer died has the pin of before, which the files do not fit, or none.
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`].
    pub fn save(&self, folder: &Path) -> Result<Pin, KeyError> {
        let proving = self.proving.encode();
        let pin = Pin {
            format: 1,
            verifying: self.verifying().digest().to_string(),
            proving: hex(&ProvingKey::digest_of(&proving)),
            origin: self.verifying().origin().name().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&pin).map_err(|error| KeyError::Setup(error.to_string()))?;
        let files = [(VERIFYING_FILE, self.verifying().encode()), (PROVING_FILE, proving), (PIN_FILE, text)];
        for (name, bytes) in files {
            let path = folder.join(name);
            durable::replace(&path, &bytes).map_err(|source| KeyError::Io { what: "write", path, source })?;
        }
        Ok(pin)
    }

    /// The keys of a folder, as pinned there; every point checked.
    ///
    /// # Errors
    ///
    /// [`KeyError`] by the first file that is not what it has to be.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let pin = Pin::load(folder)?;
        let verifying = load_verifying(folder, &pin)?;
        let bytes = read(&folder.join(PROVING_FILE), ProvingKey::encoded_len())?;
        same("proving key", &hex(&ProvingKey::digest_of(&bytes)), &pin.proving)?;
        Ok(Self { proving: ProvingKey::decode(&bytes, verifying)? })
    }
}

impl Pin {
    /// The pin of a folder.
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`], and [`KeyError::Encoding`] for one that is none.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let bytes = read(&folder.join(PIN_FILE), MAX_PIN)?;
        let wrong = |problem: String| KeyError::encoding("pin", problem);
        let pin: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if pin.format != 1 {
            return Err(wrong(format!("has the format {}, and this build reads 1", pin.format)));
        }
        match parse_hex(&pin.verifying).and(parse_hex(&pin.proving)) {
            Some(_) => Ok(pin),
            None => Err(wrong("has a digest that is not 64 hexadecimal digits".to_owned())),
        }
    }
}

/// The verifying key of a folder alone: what a verifier needs.
///
/// # Errors
///
/// As [`KeySet::load`].
pub fn load_verifying(folder: &Path, pin: &Pin) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::decode(&read(&folder.join(VERIFYING_FILE), verifying::LEN)?)?;
    same("verifying key", &key.digest().to_string(), &pin.verifying)?;
    Ok(key)
}

/// `Ok` if a key is the one that somebody trusts.
///
/// # Errors
///
/// [`KeyError::Pinned`].
pub fn pinned(key: &VerifyingKey, expected: KeyDigest) -> Result<(), KeyError> {
    same("verifying key", &key.digest().to_string(), &expected.to_string())
}

fn same(key: &'static str, found: &str, expected: &str) -> Result<(), KeyError> {
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(KeyError::Pinned { key, found: found.to_owned(), expected: expected.to_owned() })
}

/// A file's bytes, and no more than one over `most`, which is refused by its length afterwards.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, KeyError> {
    let refused = |source| KeyError::Io { what: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(refused)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}
