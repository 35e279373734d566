//! Files that are there whole, or not at all, at whatever instant the process dies.
//!
//! Written under another name, synced, moved to its place; then the folder is synced, once for all that were moved.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts a file in place of what may be there.
///
/// # Errors
///
/// What the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes)?;
    sync(folder(path))
}

/// As [`replace`], but its name is durable only when the folder is [synced](sync). File systems that keep a journal,
/// and those that copy on write, keep the order in which names came: a later one that survives has the earlier ones.
///
/// # Errors
///
/// What the system says.
pub fn place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    draft(folder(path), bytes)?.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// As [`place`], where there is no such file. The first one stays if two try.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`], and what the system says.
pub fn place_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    draft(folder(path), bytes)?.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes durable which names are in a folder.
///
/// # Errors
///
/// What the system says.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, for its owner alone.
///
/// # Errors
///
/// What the system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync(folder(path))
}

/// The file's drafts begin with a dot, which readers of the folders here pass over.
fn draft(folder: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    make_folder(folder)?;
    let mut draft = tempfile::Builder::new().prefix(".draft-").tempfile_in(folder)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    Ok(draft)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
