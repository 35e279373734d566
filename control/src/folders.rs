//! Folders of the host that containers are given, as users write them: `FOLDER:PATH`, and `:ro` behind it for one that is
//! only to be read.

use sentient_abi::mounts::MAX_MOUNTS;
use sentient_vmm::volumes::Mounting;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// A folder of the host, and where a container finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderMapping {
    /// The host's folder.
    pub host: PathBuf,
    /// The container's path.
    pub path: String,
    /// It is only to be read.
    pub read_only: bool,
}

impl FromStr for FolderMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no folder: {why}; write FOLDER:PATH[:ro]");
        let (rest, read_only) = match text.rsplit_once(':') {
            Some((rest, "ro")) => (rest, true),
            Some((rest, "rw")) => (rest, false),
            _ => (text, false),
        };
        // From the end: the host's may have colons of its own.
        let (host, path) =
            rest.rsplit_once(':').ok_or_else(|| wrong("a path in the container is missing"))?;
        if host.is_empty() || !path.starts_with('/') {
            return Err(wrong("a folder of this host, and an absolute path in the container, are wanted"));
        }
        Ok(Self { host: host.into(), path: path.to_owned(), read_only })
    }
}

impl TryFrom<String> for FolderMapping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for FolderMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = if self.read_only { "ro" } else { "rw" };
        write!(f, "{}:{}:{only}", self.host.display(), self.path)
    }
}

impl From<FolderMapping> for String {
    fn from(mapping: FolderMapping) -> Self {
        mapping.to_string()
    }
}

impl FolderMapping {
    /// The same, of the folder that the path leads to from here.
    ///
    /// # Errors
    /// The error of finding it; of kind `NotADirectory` for anything else, and `InvalidFilename` for one that is not
    /// UTF-8.
    pub fn found(self) -> io::Result<Self> {
        let host = self.host.canonicalize()?;
        if !host.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if host.to_str().is_none() {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        Ok(Self { host, ..self })
    }
}

/// The number of the first volume of a container.
#[must_use]
pub const fn first_volume(container: u32) -> u32 {
    container * MAX_MOUNTS as u32
}

/// Gives a container folders: all of them, or none. They are to be [served](Mounting::serve) then.
///
/// # Errors
/// The one that it could not be given, and why.
pub fn mount<'a>(
    mounting: &Mounting,
    container: u32,
    mappings: &'a [FolderMapping],
) -> Result<(), (&'a FolderMapping, io::Error)> {
    for (number, mapping) in (first_volume(container)..).zip(mappings) {
        if let Err(error) = mounting.add(number, &mapping.host, mapping.read_only) {
            unmount(mounting, container);
            return Err((mapping, error));
        }
    }
    Ok(())
}

/// Takes a container's folders away.
pub fn unmount(mounting: &Mounting, container: u32) {
    let first = first_volume(container);
    (first..first + MAX_MOUNTS as u32).for_each(|number| mounting.remove(number));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_as_users_write_them() {
        for (text, host, path, read_only) in [
            ("data:/data", "data", "/data", false),
            ("/a/b:/:ro", "/a/b", "/", true),
            ("/a:b:/c:rw", "/a:b", "/c", false),
            (".:/here/:ro", ".", "/here/", true),
        ] {
            let mapping: FolderMapping = text.parse().unwrap();
            assert_eq!(mapping, FolderMapping { host: host.into(), path: path.into(), read_only }, "{text}");
            assert_eq!(mapping.to_string().parse::<FolderMapping>().unwrap(), mapping, "{text}");
        }
        for text in ["", "data", "/data", ":/data", "data:", "data:relative", "data:ro", "a:/b:wo"] {
            assert!(text.parse::<FolderMapping>().unwrap_err().contains("FOLDER:PATH"), "{text}");
        }
    }

    #[test]
    fn a_folder_is_found_from_here_and_anything_else_is_none() {
        let found = |text: &str| text.parse::<FolderMapping>().unwrap().found();
        assert_eq!(found(".:/x").unwrap().host, std::env::current_dir().unwrap().canonicalize().unwrap());
        assert_eq!(found("Cargo.toml:/x").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(found("none:/x").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
