//! Files that a command makes for its user.

use crate::errors::CommandError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file whole: what is there stays, unless `force`, and is there until the new one is.
///
/// # Errors
/// [`CommandError::Exists`], [`CommandError::Write`].
pub fn save(path: &Path, bytes: &[u8], force: bool) -> Result<(), CommandError> {
    check_free(path, force)?;
    replace(path, bytes).map_err(|source| CommandError::Write { path: path.to_owned(), source })
}

/// Whether a file may be made there, for commands that make several or take long.
///
/// # Errors
/// [`CommandError::Exists`].
pub fn check_free(path: &Path, force: bool) -> Result<(), CommandError> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(CommandError::Exists(path.to_owned()));
    }
    Ok(())
}

/// Written beside, synced, then renamed, so that a file is the old one or the new one whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
    name.push(".part");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
