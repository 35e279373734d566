//! Repositories of a home: where packages are installed from.
//!
//! `.repo/NAME/`: `repository.json` says where one is and whose it is, `registry.yaml` and `signatures.yaml` are what it
//! had when it was last asked. They are checked whenever they are read. A registry that is older than one that was seen
//! is refused: who can put files into a repository could offer again what its owner has withdrawn.

use crate::error::ControlError;
use crate::home::{Home, make_folder};
use sentient_images::registry::{self, REGISTRY, Registry, Signed};
use sentient_images::tso::SIGNATURES;
use sentient_images::tso::meta::check_name;
use sentient_zk::chain::durable;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The file that says what a repository is.
const FILE: &str = "repository.json";

/// The repositories.
#[derive(Clone, Debug)]
pub struct Repositories(PathBuf);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// What it is called here.
    pub name: String,
    /// Where it is: a folder, or a place in an OCI registry.
    pub place: String,
    /// The public key of who must have signed its registry.
    pub key: String,
    /// Whether it is spoken to without TLS.
    pub plain_http: bool,
    /// The newest registry that was seen; 0 before the first.
    pub serial: u64,
}

impl Repositories {
    /// Those of a home.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self(home.path().join(".repo"))
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// The error of reading; [`ControlError::Damaged`].
    pub fn list(&self) -> Result<Vec<Repository>, ControlError> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ControlError::io(&self.0))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(ControlError::io(&self.0))?.path().join(FILE);
            let text = match fs::read(&path) {
                // One that is being made or removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.map_err(ControlError::io(&path))?,
            };
            all.push(serde_json::from_slice::<Repository>(&text).map_err(|error| {
                ControlError::Damaged(format!(
                    "{}: {error}; remove its folder and add it again",
                    path.display()
                ))
            })?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn find(&self, name: &str) -> Result<Repository, ControlError> {
        let found = self.list()?.into_iter().find(|repository| repository.name == name);
        found.ok_or_else(|| {
            ControlError::NotFound(format!("there is no repository `{name}`; `sentctl repo ls` lists them"))
        })
    }

    /// Adds one, with what it has.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if there is one of its name, and those of [`take`](Self::take).
    pub fn add(&self, repository: &Repository, signed: &Signed) -> Result<Registry, ControlError> {
        check_name(&repository.name)?;
        if self.folder(&repository.name).join(FILE).exists() {
            let problem = format!("there is a repository `{}` already; remove it first", repository.name);
            return Err(ControlError::Conflict(problem));
        }
        self.take(repository, signed)
    }

    /// Removes one. Images from it stay.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn remove(&self, name: &str) -> Result<Repository, ControlError> {
        let found = self.find(name)?;
        let folder = self.folder(name);
        // First what makes it one.
        fs::remove_file(folder.join(FILE)).map_err(ControlError::io(&folder))?;
        fs::remove_dir_all(&folder).map_err(ControlError::io(&folder))?;
        Ok(found)
    }

    /// Takes what a repository has now, if it is its owner's, and not older than what was seen.
    ///
    /// # Errors
    /// [`ControlError::Request`] if not; the error of writing.
    pub fn take(&self, repository: &Repository, signed: &Signed) -> Result<Registry, ControlError> {
        let registry = signed.open(&repository.key)?;
        let (name, seen) = (&repository.name, repository.serial);
        if registry.serial < seen {
            return Err(ControlError::Request(format!(
                "the registry of `{name}` has serial {}, and {seen} was seen before: somebody offers an old one",
                registry.serial
            )));
        }
        let folder = self.folder(name);
        make_folder(&folder).map_err(ControlError::io(&folder))?;
        let now = Repository { serial: registry.serial, ..repository.clone() };
        let now = serde_json::to_vec_pretty(&now).map_err(|error| ControlError::Bug(error.to_string()))?;
        // The serial first: whatever of the others is lost, an older registry is not taken afterwards.
        for (file, bytes) in [
            (FILE, now.as_slice()),
            (SIGNATURES, signed.signatures.as_bytes()),
            (REGISTRY, signed.registry.as_bytes()),
        ] {
            let path = folder.join(file);
            durable::replace(&path, bytes).map_err(ControlError::io(&path))?;
        }
        Ok(registry)
    }

    /// What a repository had when it was last asked.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] if that was changed, or only half written.
    pub fn registry(&self, repository: &Repository) -> Result<Registry, ControlError> {
        let name = &repository.name;
        let again = |problem: String| {
            ControlError::Damaged(format!(
                "what is known of the repository `{name}`: {problem}; `sentctl update` asks it again"
            ))
        };
        let signed = read(&self.folder(name)).map_err(|error| again(error.to_string()))?;
        let registry = signed.open(&repository.key).map_err(|error| again(error.to_string()))?;
        match registry.serial == repository.serial {
            true => Ok(registry),
            false => {
                Err(again(format!("it has serial {}, and {} was seen", registry.serial, repository.serial)))
            }
        }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A registry and its signatures in a folder; nothing of them is checked.
///
/// # Errors
/// That of reading; `InvalidData` for what is too long to be one, or no text.
pub fn read(folder: &Path) -> io::Result<Signed> {
    let text = |file: &str, most: usize| -> io::Result<String> {
        let path = folder.join(file);
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(most as u64 + 1).read_to_string(&mut text));
        match read.map_err(failed)? {
            len if len > most => Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it has more than {most} bytes, which no such file has"),
            ))),
            _ => Ok(text),
        }
    };
    Ok(Signed {
        registry: text(REGISTRY, registry::MAX_LEN)?,
        signatures: text(SIGNATURES, registry::MAX_SIGNATURES)?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use sentient_images::tso::signature::{Algorithm, Key};

    fn signed(serial: u64, key: &Key) -> Signed {
        let registry = Registry::new("main", serial, Vec::new()).unwrap();
        Signed::make(&registry, std::slice::from_ref(key)).unwrap()
    }

    fn new() -> (tempfile::TempDir, Repositories, Key, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::find(Some(folder.path().to_owned())).unwrap();
        let key = Key::new(Algorithm::Ed25519, &[7; 32]);
        let repository = Repository {
            name: "main".into(),
            place: "/srv/packages".into(),
            key: key.public().to_string(),
            plain_http: false,
            serial: 0,
        };
        (folder, Repositories::of(&home), key, repository)
    }

    #[test]
    fn an_older_registry_and_a_strangers_are_refused() {
        let (_folder, all, key, repository) = new();
        assert_eq!(all.list().unwrap(), []);
        all.add(&repository, &signed(5, &key)).unwrap();
        assert!(matches!(all.add(&repository, &signed(6, &key)), Err(ControlError::Conflict(_))));
        let known = all.find("main").unwrap();
        assert_eq!((known.serial, all.registry(&known).unwrap().serial), (5, 5));
        for bad in [signed(4, &key), signed(6, &Key::new(Algorithm::Ed25519, &[8; 32]))] {
            assert!(matches!(all.take(&known, &bad), Err(ControlError::Request(_))));
            assert_eq!(all.find("main").unwrap(), known);
        }
        all.take(&known, &signed(5, &key)).unwrap();
        all.take(&known, &signed(6, &key)).unwrap();
        assert_eq!(all.find("main").unwrap().serial, 6);
        assert_eq!(all.remove("main").unwrap().name, "main");
        assert!(matches!(all.remove("main"), Err(ControlError::NotFound(_))));
        let elsewhere = Repository { name: "../main".into(), ..repository };
        assert!(all.add(&elsewhere, &signed(1, &key)).is_err());
    }

    #[test]
    fn half_of_an_update_is_told_and_done_again() {
        let (folder, all, key, repository) = new();
        all.add(&repository, &signed(5, &key)).unwrap();
        let (old, new) = (signed(5, &key), signed(6, &key));
        // Killed behind the second file, and behind the first.
        all.take(&all.find("main").unwrap(), &new).unwrap();
        let place = folder.path().join(".repo/main");
        for file in [REGISTRY, SIGNATURES] {
            let old = if file == REGISTRY { &old.registry } else { &old.signatures };
            fs::write(place.join(file), old).unwrap();
            let known = all.find("main").unwrap();
            let told = all.registry(&known).unwrap_err().to_string();
            assert!(told.contains("sentctl update"), "{told}");
            assert!(all.take(&known, &signed(5, &key)).is_err());
        }
        all.take(&all.find("main").unwrap(), &new).unwrap();
        assert_eq!(all.registry(&all.find("main").unwrap()).unwrap().serial, 6);
        fs::write(place.join(FILE), "{}").unwrap();
        assert!(matches!(all.list(), Err(ControlError::Damaged(_))));
    }
}
