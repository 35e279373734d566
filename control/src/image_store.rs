//! Images of a home: packages that are run by their names.
//!
//! `images/NAME/VERSION.tso`, each a package as `sentctl pack` makes it, and checked whenever it is read. A file is
//! written under another name, synced and moved, so that there is all of it or nothing.

use crate::error::ControlError;
use crate::home::Home;
use semver::Version;
use sentient_images::program::Identity;
use sentient_images::tso::meta::check_name;
use sentient_images::tso::{Package, TsoError};
use sentient_zk::chain::durable;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the files' names end with.
const EXTENSION: &str = "tso";

/// The images.
#[derive(Clone, Debug)]
pub struct ImageStore(PathBuf);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// What it is called.
    pub name: String,
    /// Which of them.
    pub version: Version,
    /// Its file.
    pub path: PathBuf,
    /// The file's length.
    pub bytes: u64,
    /// What it says of itself, and who signed it; `None` if it is damaged.
    pub package: Option<Identity>,
}

/// A name, and perhaps a version: `greeter` or `greeter:1.2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    name: String,
    version: Option<Version>,
}

impl Reference {
    /// Reads one; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = match text.split_once(':') {
            Some((name, version)) => (name, Some(Version::parse(version).ok()?)),
            None => (text, None),
        };
        check_name(name).ok()?;
        Some(Self { name: name.to_owned(), version })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, if there is one.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }
}

impl ImageStore {
    /// Those of a home.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self(home.images())
    }

    /// All of them, by name, the newest of each first.
    ///
    /// # Errors
    /// The error of reading the folders.
    pub fn list(&self) -> Result<Vec<Stored>, ControlError> {
        let mut found = Vec::new();
        for name in names(&self.0)? {
            for version in self.versions(&name)? {
                let path = self.path(&name, &version);
                let bytes = fs::read(&path).map_err(ControlError::io(&path))?;
                let package = Package::open(&bytes).ok().map(|package| package.identity());
                let package =
                    package.filter(|package| package.name == name && package.version == version.to_string());
                found.push(Stored { name: name.clone(), version, path, bytes: bytes.len() as u64, package });
            }
        }
        Ok(found)
    }

    /// The file of an image, of the newest one if there is no version; `None` if there is none of that name.
    ///
    /// # Errors
    /// The error of reading the folder.
    pub fn find(&self, reference: &Reference) -> Result<Option<PathBuf>, ControlError> {
        let wanted = |version: &Version| reference.version.as_ref().is_none_or(|wanted| wanted == version);
        let found = self.versions(&reference.name)?.into_iter().find(wanted);
        Ok(found.map(|version| self.path(&reference.name, &version)))
    }

    /// Adds a package. One that is there already is left as it is; another one of its name and version is only replaced
    /// if that is wanted.
    ///
    /// # Errors
    /// [`TsoError`] for what is no package; [`ControlError::Conflict`] for another one.
    pub fn add(&self, bytes: &[u8], replace: bool) -> Result<Stored, ControlError> {
        let package = Package::open(bytes)?;
        let identity = package.identity();
        let (name, version) = (package.meta.name.clone(), package.meta.version.clone());
        let path = self.path(&name, &version);
        match fs::read(&path) {
            Ok(there) if there == bytes => {}
            Ok(_) if !replace => {
                return Err(ControlError::Conflict(format!(
                    "there is another image {name}:{version}; give the package another version, or replace it with \
                     --replace"
                )));
            }
            _ => durable::replace(&path, bytes).map_err(ControlError::io(&path))?,
        }
        Ok(Stored { name, version, path, bytes: bytes.len() as u64, package: Some(identity) })
    }

    /// Removes an image, or all versions of one; gives which.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn remove(&self, reference: &Reference) -> Result<Vec<(String, Version)>, ControlError> {
        let Reference { name, version } = reference;
        let wanted = |there: &Version| version.as_ref().is_none_or(|wanted| wanted == there);
        let versions: Vec<Version> = self.versions(name)?.into_iter().filter(wanted).collect();
        if versions.is_empty() {
            let version = version.as_ref().map(|version| format!(":{version}")).unwrap_or_default();
            return Err(ControlError::NotFound(format!("there is no image {name}{version}")));
        }
        for version in &versions {
            let path = self.path(name, version);
            fs::remove_file(&path).map_err(ControlError::io(&path))?;
        }
        // Stays, if there are others.
        let _ = fs::remove_dir(self.0.join(name));
        Ok(versions.into_iter().map(|version| (name.clone(), version)).collect())
    }

    fn path(&self, name: &str, version: &Version) -> PathBuf {
        self.0.join(name).join(format!("{version}.{EXTENSION}"))
    }

    /// The versions there are of one, newest first.
    fn versions(&self, name: &str) -> Result<Vec<Version>, ControlError> {
        let suffix = format!(".{EXTENSION}");
        let files = names(&self.0.join(name))?;
        let version = |file: &String| Version::parse(file.strip_suffix(&suffix)?).ok();
        let mut versions: Vec<Version> = files.iter().filter_map(version).collect();
        versions.sort_unstable_by(|one, two| two.cmp(one));
        Ok(versions)
    }
}

/// Names of what is in a folder, in order; none, if there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, ControlError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(ControlError::io(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(ControlError::io(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

impl From<TsoError> for ControlError {
    fn from(error: TsoError) -> Self {
        Self::Request(error.to_string())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn references_are_names_with_or_without_a_version() {
        let parse = |text: &str| Reference::parse(text).map(|found| (found.name, found.version));
        assert_eq!(parse("greeter"), Some(("greeter".into(), None)));
        assert_eq!(parse("greeter:1.2.0"), Some(("greeter".into(), Some(Version::new(1, 2, 0)))));
        for bad in ["", "../greeter", "a/b", ":1.0.0", "greeter:", "greeter:1", "greeter:../1.0.0", "Greeter"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_package_is_not_taken_and_a_folder_that_is_not_there_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore(folder.path().join("images"));
        assert_eq!(store.list().unwrap(), []);
        assert_eq!(store.find(&Reference::parse("greeter").unwrap()).unwrap(), None);
        assert!(store.add(b"\0asm\x01\0\0\0", false).is_err());
        assert!(!folder.path().join("images").exists());
        // Neither a stray file nor one that was being written is an image; a damaged one is listed as that.
        fs::create_dir_all(folder.path().join("images/greeter")).unwrap();
        fs::write(folder.path().join("images/README"), b"").unwrap();
        fs::write(folder.path().join("images/greeter/.tmp123"), b"").unwrap();
        assert_eq!(store.list().unwrap(), []);
        fs::write(folder.path().join("images/greeter/1.0.0.tso"), b"cut").unwrap();
        let listed = store.list().unwrap();
        assert_eq!((listed.len(), &listed[0].package), (1, &None));
        let reference = Reference::parse("greeter:1.0.0").unwrap();
        assert_eq!(store.remove(&reference).unwrap().len(), 1);
        assert!(matches!(store.remove(&reference), Err(ControlError::NotFound(_))));
    }
}
