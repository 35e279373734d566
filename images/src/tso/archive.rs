//! The archive: POSIX ustar, in one form only.
//!
//! Files have fixed owners, modes and times, stand in one order, and end with two blocks of zeros. [`read`] takes
//! headers apart with the `tar` crate, and then packs what it found again: what does not come out byte for byte the
//! same has something in it that nobody has looked at.

use super::{ASSETS, MAX_LEN, META, PERMISSIONS, PROGRAM, SIGNATURES, TsoError};
use std::collections::HashSet;
use std::io::Cursor;
use tar::{Archive, EntryType, Header};

/// A block of an archive, in bytes.
const BLOCK: usize = 512;
/// Two empty blocks end an archive.
const END: usize = 2 * BLOCK;
/// Most files of a package.
pub const MAX_FILES: usize = 4096;
/// Most bytes of one name in a path (Linux's `NAME_MAX`).
const MAX_NAME: usize = 255;

/// A file in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Where it is; parts are separated by `/`, and there is none at the beginning.
    pub path: String,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Where a file stands among the others. The description comes first, so that a package is known by its start, and the
/// signatures last, so that one is added by writing at the end.
fn rank(path: &str) -> Option<u8> {
    match path {
        META => Some(0),
        PROGRAM => Some(1),
        PERMISSIONS => Some(2),
        SIGNATURES => Some(4),
        _ => path.starts_with(ASSETS).then_some(3),
    }
}

fn place<'a>(file: &'a File<'_>) -> (Option<u8>, &'a str) {
    (rank(&file.path), &file.path)
}

/// Whether these paths may be those of a package's files.
///
/// # Errors
/// [`TsoError::Archive`], with the path that is not allowed, is missing or is there twice.
fn check(files: &[&File<'_>]) -> Result<(), TsoError> {
    if files.len() > MAX_FILES {
        return Err(TsoError::archive(format!(
            "it has {} files, and at most {MAX_FILES} are allowed",
            files.len()
        )));
    }
    for File { path, .. } in files {
        let refused = |why: &str| Err(TsoError::archive(format!("it has a file {path:?}, {why}")));
        if rank(path).is_none() {
            return refused(&format!(
                "and there are only {META}, {PROGRAM}, {PERMISSIONS}, {SIGNATURES} and what is below {ASSETS}"
            ));
        }
        if path.chars().any(char::is_control) {
            return refused("whose name has control characters in it");
        }
        for name in path.split('/') {
            match name {
                "" | "." | ".." => return refused("whose path has an empty part, `.` or `..` in it"),
                name if name.len() > MAX_NAME => {
                    return refused("part of whose path is longer than 255 bytes");
                }
                _ => {}
            }
        }
    }
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    for pair in paths.windows(2) {
        let [first, second] = pair else { continue };
        if first == second {
            return Err(TsoError::archive(format!("{first} is in it twice")));
        }
    }
    // A file cannot be a folder, too. Between `a` and `a/b` others may stand, as `a-b`.
    let is_file: HashSet<&str> = paths.iter().copied().collect();
    for path in &paths {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(both) = folders.into_iter().find(|folder| is_file.contains(folder)) {
            return Err(TsoError::archive(format!("{both} is a file in it, and {path} lies below that")));
        }
    }
    match [META, PROGRAM, PERMISSIONS].iter().find(|name| !is_file.contains(**name)) {
        Some(missing) => Err(TsoError::archive(format!("it has no {missing}"))),
        None => Ok(()),
    }
}

/// Files into an archive. They come in any order.
///
/// # Errors
/// [`TsoError::Archive`] if a path is not allowed or there twice, or if it is all too much.
pub fn write(files: &[File<'_>]) -> Result<Vec<u8>, TsoError> {
    let mut files: Vec<&File<'_>> = files.iter().collect();
    files.sort_by(|one, other| place(one).cmp(&place(other)));
    check(&files)?;
    let blocks = |file: &&File<'_>| (file.bytes.len() as u64).next_multiple_of(BLOCK as u64) + BLOCK as u64;
    let len: u64 = files.iter().map(blocks).sum::<u64>() + END as u64;
    if len > MAX_LEN {
        return Err(TsoError::archive(format!("it has {len} bytes, and at most {MAX_LEN} are allowed")));
    }
    let mut archive = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    for file in files {
        archive.extend_from_slice(header(file)?.as_bytes());
        archive.extend_from_slice(file.bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + END, 0);
    Ok(archive)
}

fn header(file: &File<'_>) -> Result<Header, TsoError> {
    let mut header = Header::new_ustar();
    header.set_path(&file.path).map_err(|_| {
        TsoError::archive(format!(
            "the path {:?} does not fit a tar header: at most 100 bytes behind one of its `/`, and 155 before it",
            file.path
        ))
    })?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(file.bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// An archive into its files, whose contents lie in it.
///
/// # Errors
/// [`TsoError::Archive`], with the file that is at fault.
pub fn read(bytes: &[u8]) -> Result<Vec<File<'_>>, TsoError> {
    if bytes.len() as u64 > MAX_LEN {
        let len = bytes.len();
        return Err(TsoError::archive(format!("it has {len} bytes, and at most {MAX_LEN} are allowed")));
    }
    let broken = |error: std::io::Error| TsoError::archive(error.to_string());
    let mut archive = Archive::new(Cursor::new(bytes));
    let mut files = Vec::new();
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        if files.len() == MAX_FILES {
            return Err(TsoError::archive(format!("it has more than {MAX_FILES} files")));
        }
        files.push(file(bytes, &entry)?);
    }
    check(&files.iter().collect::<Vec<_>>())?;
    for pair in files.windows(2) {
        if let [first, second] = pair
            && place(first) > place(second)
        {
            let problem = format!("{} stands before {}, and belongs behind it", first.path, second.path);
            return Err(TsoError::archive(problem));
        }
    }
    if write(&files)? != bytes {
        return Err(TsoError::archive(
            "there is something in it that a package has not, such as owners or times of files, or more behind the \
             end; pack it with `sentctl pack`, and not with tar",
        ));
    }
    Ok(files)
}

fn file<'a>(bytes: &'a [u8], entry: &tar::Entry<'_, Cursor<&[u8]>>) -> Result<File<'a>, TsoError> {
    let name = entry.path_bytes();
    let path = std::str::from_utf8(&name).map_err(|_| {
        TsoError::archive(format!("the name {:?} of a file is not UTF-8", String::from_utf8_lossy(&name)))
    })?;
    let kind = entry.header().entry_type();
    if kind != EntryType::Regular {
        return Err(TsoError::archive(format!(
            "{path:?} is of the kind {kind:?}, and only plain files are allowed"
        )));
    }
    // The crate lends contents for less long than they live.
    let start = usize::try_from(entry.raw_file_position()).ok();
    let len = usize::try_from(entry.size()).ok();
    let content = start.zip(len).and_then(|(start, len)| bytes.get(start..start.checked_add(len)?));
    let content = content.ok_or_else(|| {
        let len = entry.size();
        TsoError::archive(format!("{path:?} has {len} bytes by its header, and the archive ends before that"))
    })?;
    Ok(File { path: path.to_owned(), bytes: content })
}
