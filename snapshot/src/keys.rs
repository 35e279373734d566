//! Secret keys in files, and the machine's: what its snapshots are signed with.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use rustix::fs::OFlags;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::hash::{hex, parse_hex};

/// Where the key lies in a machine's folder.
pub const KEY_FILE: &str = ".auth/machine.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{} has mode {mode:o}, so that others may have read it; make a new key, or run `chmod 600 {}` if you \
         know that nobody did", path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is not a secret key: that has 64 hexadecimal digits and a line end; restore it from a copy", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// An ed25519 key pair. Shows and prints nothing of the secret half.
pub struct MachineKey {
    signing: SigningKey,
}

impl std::fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MachineKey(public {})", self.public_hex())
    }
}

impl MachineKey {
    /// The key of a secret: 32 random bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(secret) }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The same as people write it: 64 hexadecimal digits.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(&self.public())
    }

    /// A signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The key of the machine in `folder`; makes one if there is none.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and [`KeyError::Io`].
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        secret_or_new(&folder.join(KEY_FILE)).map(|secret| Self::from_secret(&secret))
    }

    /// The key in a file.
    ///
    /// # Errors
    ///
    /// As [`secret`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        secret(path).map(|secret| Self::from_secret(&secret))
    }
}

/// The secret in a file: 64 hexadecimal digits and a line end, for nobody but its owner.
///
/// # Errors
///
/// [`KeyError::Open`] if group or others may read or write it, [`KeyError::Content`] if it is
/// something else, [`KeyError::Io`].
pub fn secret(path: &Path) -> Result<[u8; 32], KeyError> {
    let refused = |what| move |source| KeyError::Io { what, path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(refused("open"))?;
    let metadata = file.metadata().map_err(refused("look at"))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    let mut text = String::new();
    let content = || KeyError::Content { path: path.to_owned() };
    if !metadata.is_file() || file.take(66).read_to_string(&mut text).is_err() {
        return Err(content());
    }
    text.strip_suffix('\n').and_then(parse_hex).ok_or_else(content)
}

/// The secret in a file; makes one of random bytes if there is none.
///
/// # Errors
///
/// As [`secret`], and [`KeyError::Io`].
pub fn secret_or_new(path: &Path) -> Result<[u8; 32], KeyError> {
    match secret(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(path),
        other => other,
    }
}

/// Makes a secret and its file. If another process makes one at the same time, both use the first.
fn create(path: &Path) -> Result<[u8; 32], KeyError> {
    let refused = |what| move |source| KeyError::Io { what, path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refused("make the folder of"))?;
    let mut random = [0; 32];
    let mut filled = 0;
    while let Some(room) = random.get_mut(filled..).filter(|room| !room.is_empty()) {
        filled += getrandom(room, GetRandomFlags::empty())
            .map_err(|error| refused("get random bytes for")(error.into()))?;
    }
    // Whole under a name of its own first, then linked: the key is there whole or not at all.
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(refused("write"))?;
    draft.write_all(format!("{}\n", hex(&random)).as_bytes()).map_err(refused("write"))?;
    draft.as_file().sync_all().map_err(refused("sync"))?;
    match fs::hard_link(draft.path(), path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return secret(path),
        Err(error) => return Err(refused("make")(error)),
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused("sync the folder of"))?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_loaded_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = MachineKey::load_or_create(folder.path()).unwrap();
        let second = MachineKey::load_or_create(folder.path()).unwrap();
        assert_eq!(first.public(), second.public());
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(MachineKey::load_or_create(other.path()).unwrap().public(), first.public());
        assert!(!format!("{first:?}").contains(fs::read_to_string(path).unwrap().trim()));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        MachineKey::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        for mode in [0o640, 0o604, 0o660, 0o622, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(MachineKey::load_or_create(folder.path()), Err(KeyError::Open { .. })),
                "{mode:o}"
            );
        }
    }

    #[test]
    fn other_files_and_links_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        MachineKey::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(MachineKey::load(&link).is_err());
        for content in ["", "00\n", &"0".repeat(64), &format!("{}\n\n", "0".repeat(64)), &"g".repeat(65)] {
            fs::write(&path, content).unwrap();
            assert!(matches!(MachineKey::load(&path), Err(KeyError::Content { .. })), "{content:?}");
        }
    }
}
