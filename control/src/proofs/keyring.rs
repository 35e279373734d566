//! The home's key sets, and which one a machine is pinned to.
//!
//! Each set has a folder, called by the digest of its verifying key. A machine's pin names both keys of one set
//! by their digests; it is made when the machine has its first transition to prove, from the home's default. If
//! there is none, keys are made here and now, marked as development keys in their bytes.

use crate::error::ControlError;
use crate::home::{Home, MachineFolder, make_folder};
use sentient_snapshot::hash::parse_hex;
use sentient_zk::chain::durable;
use sentient_zk::keys::store::load_verifying;
use sentient_zk::keys::{KeySet, Pin, VerifyingKey, development};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of a pin.
const MAX_PIN: u64 = 1024;

/// Key sets of a home.
#[derive(Clone, Debug)]
pub struct Keyring {
    folder: PathBuf,
}

impl Keyring {
    /// Those of a home, which may have none yet.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self { folder: home.keys() }
    }

    /// The set that new machines are pinned to; `None` before there is one.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] for a file that is none.
    pub fn default(&self) -> Result<Option<Pin>, ControlError> {
        read_pin(&self.folder.join("default"))
    }

    /// All sets, by digest.
    ///
    /// # Errors
    /// The error of reading the folder.
    pub fn all(&self) -> Result<Vec<Pin>, ControlError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ControlError::io(&self.folder))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(ControlError::io(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(parse_hex);
            if name.is_some() && path.is_dir() {
                found.push(Pin::load(&path)?);
            }
        }
        found.sort_by(|one, two| one.verifying.cmp(&two.verifying));
        Ok(found)
    }

    /// The set whose verifying key's digest begins with `digits`.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if there is not exactly one.
    pub fn named(&self, digits: &str) -> Result<Pin, ControlError> {
        let mut all = self.all()?;
        all.retain(|pin| !digits.is_empty() && pin.verifying.starts_with(&digits.to_ascii_lowercase()));
        match (all.pop(), all.is_empty()) {
            (Some(pin), true) => Ok(pin),
            (found, _) => Err(ControlError::NotFound(format!(
                "{} keys in {} begin with `{digits}`; `sentctl zk keys show` lists them, \
                 `sentctl zk keys import` brings others",
                if found.is_some() { "several" } else { "no" },
                self.folder.display()
            ))),
        }
    }

    /// Puts a set into the home. With `as_default`, new machines are pinned to it. Durable when it returns.
    ///
    /// # Errors
    /// [`ControlError::ZkKey`].
    pub fn add(&self, keys: &KeySet, as_default: bool) -> Result<Pin, ControlError> {
        let pin = keys.save(&self.folder.join(keys.verifying().digest().to_string()))?;
        if as_default {
            write_pin(&self.folder.join("default"), &pin)?;
        }
        Ok(pin)
    }

    /// The home's default set; made if there is none.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn default_or_made(&self) -> Result<Pin, ControlError> {
        if let Some(pin) = self.default()? {
            return Ok(pin);
        }
        make_folder(&self.folder).map_err(ControlError::io(&self.folder))?;
        let path = self.folder.join("lock");
        let lock = File::create(&path).map_err(ControlError::io(&path))?;
        lock.lock().map_err(ControlError::io(&path))?;
        // Somebody else was faster.
        if let Some(pin) = self.default()? {
            return Ok(pin);
        }
        self.add(&development::setup()?, true)
    }

    /// Both keys of a set, every point checked. Takes a tenth of a second.
    ///
    /// # Errors
    /// [`ControlError::ZkKey`] if they are not the pinned ones.
    pub fn load(&self, pin: &Pin) -> Result<KeySet, ControlError> {
        let folder = self.folder_of(pin)?;
        self.compare(&folder, pin)?;
        Ok(KeySet::load(&folder)?)
    }

    /// The verifying key of a set.
    ///
    /// # Errors
    /// [`ControlError::ZkKey`] if it is not the pinned one.
    pub fn verifying(&self, pin: &Pin) -> Result<VerifyingKey, ControlError> {
        Ok(load_verifying(&self.folder_of(pin)?, pin)?)
    }

    fn folder_of(&self, pin: &Pin) -> Result<PathBuf, ControlError> {
        let folder = self.folder.join(&pin.verifying);
        match folder.is_dir() {
            true => Ok(folder),
            false => Err(ControlError::NotFound(format!(
                "the keys {} are not in {}; bring them back with `sentctl zk keys import`, or use others with \
                 `sentctl zk keys pin`",
                pin.verifying,
                self.folder.display()
            ))),
        }
    }

    /// The folder's own pin is what its files are compared with.
    fn compare(&self, folder: &Path, pin: &Pin) -> Result<(), ControlError> {
        let found = Pin::load(folder)?;
        if found == *pin {
            return Ok(());
        }
        Err(ControlError::Damaged(format!(
            "{} has the proving key {}, and the machine is pinned to {}; bring the pinned one back, or use others \
             with `sentctl zk keys pin`",
            folder.display(),
            found.proving,
            pin.proving
        )))
    }
}

/// The set that a machine is pinned to; `None` before it has anything to prove.
///
/// # Errors
/// [`ControlError::Damaged`] for a file that is none.
pub fn pin_of(machine: &MachineFolder) -> Result<Option<Pin>, ControlError> {
    read_pin(&machine.pin())
}

/// Pins a machine. Durable when it returns.
///
/// # Errors
/// The error of writing.
pub fn pin(machine: &MachineFolder, pin: &Pin) -> Result<(), ControlError> {
    write_pin(&machine.pin(), pin)
}

fn read_pin(path: &Path) -> Result<Option<Pin>, ControlError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PIN).read_to_end(&mut bytes));
    match read.map_err(ControlError::io(path)) {
        Err(error) if error.is_absence() => return Ok(None),
        read => read?,
    };
    let damaged = |problem: &str| {
        ControlError::Damaged(format!("{}: {problem}; `sentctl zk keys pin` writes it anew", path.display()))
    };
    let pin: Pin = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    match (pin.format, parse_hex(&pin.verifying), parse_hex(&pin.proving)) {
        (1, Some(_), Some(_)) => Ok(Some(pin)),
        _ => Err(damaged("it is no pin of format 1")),
    }
}

fn write_pin<P: Serialize>(path: &Path, pin: &P) -> Result<(), ControlError> {
    let text = serde_json::to_vec_pretty(pin).map_err(|error| ControlError::Bug(error.to_string()))?;
    durable::replace(path, &text).map_err(ControlError::io(path))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_the_pinned_ones_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::find(Some(folder.path().into())).unwrap();
        let keyring = Keyring::of(&home);
        assert_eq!((keyring.default().unwrap(), keyring.all().unwrap()), (None, Vec::new()));
        let made = keyring.default_or_made().unwrap();
        assert_eq!(made.origin, "development");
        assert_eq!(keyring.default_or_made().unwrap(), made);
        assert_eq!(keyring.named(&made.verifying[..8]).unwrap(), made);
        assert!(matches!(keyring.named("zz"), Err(ControlError::NotFound(_))));
        assert!(matches!(keyring.named(""), Err(ControlError::NotFound(_))));

        let machine = home.machine("m").unwrap();
        assert_eq!(pin_of(&machine).unwrap(), None);
        pin(&machine, &made).unwrap();
        assert_eq!(pin_of(&machine).unwrap(), Some(made.clone()));
        assert_eq!(keyring.verifying(&made).unwrap().digest().to_string(), made.verifying);
        let other = Pin { proving: "ab".repeat(32), ..made.clone() };
        assert!(matches!(keyring.load(&other), Err(ControlError::Damaged(_))));
        let gone = Pin { verifying: "cd".repeat(32), ..made };
        assert!(matches!(keyring.load(&gone), Err(ControlError::NotFound(_))));
        fs::write(machine.pin(), "{}").unwrap();
        assert!(matches!(pin_of(&machine), Err(ControlError::Damaged(_))));
    }
}
