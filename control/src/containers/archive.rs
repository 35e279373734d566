//! Containers' files as archives: tar, as `cp` and all its relatives have it.

use super::files::{Files, Listed};
use crate::api::{Copied, FileInfo, FileType};
use crate::error::ControlError;
use sentient_abi::container_files::{MAX_DATA, Wanted};
use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path};
use tar::{Archive, Builder, EntryType, Header};

/// Most files of one archive: more than any container has room for.
const MAX_FILES: u64 = 1 << 20;

const NS: u64 = 1_000_000_000;

/// An absolute path of a container's, without a slash at its end; people may leave out the first one.
pub(crate) fn absolute(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// The last part of a path; nothing of the root.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl Files<'_> {
    /// Writes what is at a path, with all that is in it, as an archive, in which it is called `called`. What is in a
    /// directory that is called nothing stands alone.
    ///
    /// # Errors
    /// [`ControlError`]; what was written is then not all of it.
    pub fn archive(&self, path: &str, called: &str, out: impl Write) -> Result<(), ControlError> {
        let mut builder = Builder::new(out);
        let mut count = 0;
        // What is still to be written: where it is, and what it is called in the archive.
        let mut stack = vec![(path.to_owned(), called.to_owned(), self.look(path)?)];
        while let Some((path, name, info)) = stack.pop() {
            count += 1;
            if count > MAX_FILES {
                return Err(too_many(&path));
            }
            self.append(&mut builder, &path, &name, info)?;
            if info.kind != FileType::Directory {
                continue;
            }
            let (path, name) = (path.trim_end_matches('/'), if name.is_empty() { name } else { name + "/" });
            let mut within: Vec<_> = self.all(path, count)?;
            // The first one is to come off the stack first.
            within.reverse();
            let entry =
                |Listed { name: last, info }| (format!("{path}/{last}"), format!("{name}{last}"), info);
            stack.extend(within.into_iter().map(entry));
        }
        let mut out = builder.into_inner().map_err(sending)?;
        out.flush().map_err(sending)
    }

    /// All that is in a directory, by name.
    fn all(&self, path: &str, counted: u64) -> Result<Vec<Listed>, ControlError> {
        let path = if path.is_empty() { "/" } else { path };
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let (listed, next) = self.list(path, from)?;
            if listed.is_empty() {
                break;
            }
            all.extend(listed);
            from = next;
            if counted + all.len() as u64 > MAX_FILES {
                return Err(too_many(path));
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    fn append<W: Write>(
        &self,
        builder: &mut Builder<W>,
        path: &str,
        name: &str,
        info: FileInfo,
    ) -> Result<(), ControlError> {
        let mut header = Header::new_gnu();
        header.set_mtime(info.modified_unix_ns / NS);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match info.kind {
            FileType::Directory if name.is_empty() => Ok(()),
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(0o755);
                builder.append_data(&mut header, format!("{name}/"), io::empty()).map_err(sending)
            }
            FileType::Link => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, name, self.target(path)?).map_err(sending)
            }
            FileType::File => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(0o644);
                header.set_size(info.size);
                let contents = Contents { files: self, path, at: 0, size: info.size, failed: None };
                let mut contents = BufReader::with_capacity(MAX_DATA, contents);
                let appended = builder.append_data(&mut header, name, &mut contents);
                match contents.into_inner().failed {
                    Some(error) => Err(error),
                    None => appended.map_err(sending),
                }
            }
        }
    }

    /// Puts what is in an archive into a directory.
    ///
    /// # Errors
    /// [`ControlError`]; what was put there before stays.
    pub fn extract(&self, directory: &str, archive: impl Read) -> Result<Copied, ControlError> {
        // With a slash, which follows a link.
        let look = self.look(&format!("{}/", directory.trim_end_matches('/')))?;
        if look.kind != FileType::Directory {
            return Err(ControlError::Conflict(format!("{directory} is no directory")));
        }
        let mut archive = Archive::new(archive);
        let mut made = HashSet::new();
        let mut copied = Copied { files: 0, bytes: 0 };
        for entry in archive.entries().map_err(receiving)? {
            let mut entry = entry.map_err(receiving)?;
            let name = entry.path().map_err(receiving)?.into_owned();
            let Some(path) = within(directory, &name)? else { continue };
            if copied.files >= MAX_FILES {
                return Err(ControlError::Request(format!("the archive has more than {MAX_FILES} files")));
            }
            copied.files += 1;
            self.make_parents(directory, &path, &mut made)?;
            match entry.header().entry_type() {
                EntryType::Directory => {
                    self.change(&path, Wanted::Directory)?;
                    made.insert(path);
                }
                EntryType::Symlink => {
                    let target = entry.link_name().map_err(receiving)?.unwrap_or_default().into_owned();
                    self.change(&path, Wanted::Link(target.as_os_str().as_encoded_bytes()))?;
                }
                EntryType::Regular | EntryType::Continuous => {
                    let modified = entry.header().mtime().map_err(receiving)?.saturating_mul(NS);
                    copied.bytes += self.write(&path, &mut entry)?;
                    self.change(&path, Wanted::Modified(modified))?;
                }
                other => {
                    return Err(ControlError::Request(format!(
                        "{} in the archive is neither a file nor a directory nor a symbolic link: {other:?}",
                        name.display()
                    )));
                }
            }
        }
        Ok(copied)
    }

    fn write(&self, path: &str, from: &mut impl Read) -> Result<u64, ControlError> {
        self.change(path, Wanted::Create)?;
        let (mut at, mut buffer) = (0, Vec::with_capacity(MAX_DATA));
        loop {
            buffer.clear();
            from.by_ref().take(MAX_DATA as u64).read_to_end(&mut buffer).map_err(receiving)?;
            if buffer.is_empty() {
                return Ok(at);
            }
            self.change(path, Wanted::Write(at, &buffer))?;
            at += buffer.len() as u64;
        }
    }

    /// Makes the directories below `directory` that a path leads through.
    fn make_parents(
        &self,
        directory: &str,
        path: &str,
        made: &mut HashSet<String>,
    ) -> Result<(), ControlError> {
        let start = directory.trim_end_matches('/').len() + 1;
        let below = path.get(start..).unwrap_or_default();
        for (at, _) in below.match_indices('/') {
            let parent = path.get(..start + at).unwrap_or_default();
            if !made.contains(parent) {
                self.change(parent, Wanted::Directory)?;
                made.insert(parent.to_owned());
            }
        }
        Ok(())
    }
}

/// Where a name of an archive is in a directory; `None` for the directory itself.
fn within(directory: &str, name: &Path) -> Result<Option<String>, ControlError> {
    let refused = |why| Err(ControlError::Request(format!("{} in the archive {why}", name.display())));
    let mut path = directory.trim_end_matches('/').to_owned();
    let mut is_itself = true;
    for component in name.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => match part.to_str() {
                Some(part) => {
                    path.push('/');
                    path.push_str(part);
                    is_itself = false;
                }
                None => return refused("is not UTF-8"),
            },
            _ => return refused("leads out of where it is to go"),
        }
    }
    Ok((!is_itself).then_some(path))
}

/// A file's bytes: as many as its size was, whatever has become of it meanwhile.
struct Contents<'a> {
    files: &'a Files<'a>,
    path: &'a str,
    at: u64,
    size: u64,
    failed: Option<ControlError>,
}

impl Read for Contents<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(into.len());
        let Some(into) = into.get_mut(..left).filter(|into| !into.is_empty()) else { return Ok(0) };
        let read = match self.files.read(self.path, self.at) {
            Ok(bytes) => bytes,
            Err(error) => {
                let told = io::Error::other(error.to_string());
                self.failed = Some(error);
                return Err(told);
            }
        };
        // One that has become shorter goes on with zeros.
        let len = if read.is_empty() { into.len() } else { read.len().min(into.len()) };
        for (at, to) in into.iter_mut().take(len).enumerate() {
            *to = read.get(at).copied().unwrap_or(0);
        }
        self.at += len as u64;
        Ok(len)
    }
}

fn too_many(path: &str) -> ControlError {
    ControlError::Conflict(format!("there are more than {MAX_FILES} files in {path}"))
}

fn sending(error: io::Error) -> ControlError {
    ControlError::io("writing an archive")(error)
}

fn receiving(error: io::Error) -> ControlError {
    ControlError::Request(format!("the archive cannot be read: {error}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_stay_within_their_directory() {
        let within = |name: &str| within("/d/", Path::new(name)).map_err(|error| error.to_string());
        assert_eq!(within("a/b").unwrap().as_deref(), Some("/d/a/b"));
        assert_eq!(within("./a//b/").unwrap().as_deref(), Some("/d/a/b"));
        assert_eq!(within(".").unwrap(), None);
        assert_eq!(within("./").unwrap(), None);
        for name in ["..", "a/../b", "/etc/passwd", "../x"] {
            assert!(within(name).unwrap_err().contains("leads out"), "{name}");
        }
        assert_eq!(super::within("/", Path::new("a")).unwrap().as_deref(), Some("/a"));
    }

    #[test]
    fn paths_are_absolute_and_end_in_a_name() {
        for (given, meant) in [("a", "/a"), ("/a/b/", "/a/b"), ("/", "/"), ("", "/"), ("//x", "/x")] {
            assert_eq!(absolute(given), meant);
        }
        assert_eq!((base("/a/b"), base("/")), ("b", ""));
    }
}
