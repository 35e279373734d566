//! Files that the guest has open, by its numbers.

use super::folder::{Folder, of_type};
use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;
use sentient_abi::volumes::{Handle, Kind, flags};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most files that are kept open: of those that nobody has asked for lately, the path is opened anew.
const MAX_OPEN: usize = 256;

/// Most entries of a folder that is listed.
const MAX_ENTRIES: usize = 1 << 18;

/// Which open file: the volume, and the guest's number.
type Key = (u32, u64);

/// All of them.
#[derive(Debug, Default)]
pub struct OpenFiles {
    files: HashMap<Key, Open>,
    /// Counts what is asked, to know which was not asked for lately.
    clock: u64,
}

/// One of them.
#[derive(Debug)]
struct Open {
    file: OwnedFd,
    /// What was in the folder when it was listed from its start.
    listing: Option<Vec<Entry>>,
    used: u64,
}

/// What is in a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its number.
    pub inode: u64,
}

impl OpenFiles {
    /// Opens a file of a volume, as its guest wants it.
    ///
    /// # Errors
    /// Those of [`Folder::opened`].
    pub fn open(
        &mut self,
        folder: &Folder,
        volume: u32,
        handle: &Handle<'_>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        let file = folder.opened(&handle.place, handle.flags)?;
        Ok(self.insert((volume, handle.number), file).file.as_fd())
    }

    /// The file of a handle. Whoever does not know it opens its path.
    ///
    /// # Errors
    /// Those of [`Folder::opened`].
    pub fn get(
        &mut self,
        folder: &Folder,
        volume: u32,
        handle: &Handle<'_>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        Ok(self.find(folder, volume, handle)?.file.as_fd())
    }

    /// What is in an open folder: from its start on, what is there now.
    ///
    /// # Errors
    /// Those of [`Folder::opened`] and getdents64(2); `EOVERFLOW` if there is too much.
    pub fn list(
        &mut self,
        folder: &Folder,
        volume: u32,
        handle: &Handle<'_>,
        from_start: bool,
    ) -> Result<&[Entry], Errno> {
        let open = self.find(folder, volume, handle)?;
        if from_start || open.listing.is_none() {
            open.listing = Some(entries(open.file.as_fd())?);
        }
        Ok(open.listing.as_deref().unwrap_or_default())
    }

    /// Nobody asks for it any more.
    pub fn close(&mut self, volume: u32, number: u64) {
        self.files.remove(&(volume, number));
    }

    /// Nobody asks for anything of a volume any more.
    pub fn close_all_of(&mut self, volume: u32) {
        self.files.retain(|(of, _), _| *of != volume);
    }

    fn find(&mut self, folder: &Folder, volume: u32, handle: &Handle<'_>) -> Result<&mut Open, Errno> {
        let key = (volume, handle.number);
        if !self.files.contains_key(&key) {
            // A link was followed then, and the path is the one that was given.
            let again = handle.flags & flags::AGAIN | flags::FOLLOW;
            let file = folder.opened(&handle.place, again)?;
            return Ok(self.insert(key, file));
        }
        self.clock += 1;
        let clock = self.clock;
        let open = self.files.get_mut(&key).ok_or(Errno::BADF)?;
        open.used = clock;
        Ok(open)
    }

    fn insert(&mut self, key: Key, file: OwnedFd) -> &mut Open {
        if self.files.len() >= MAX_OPEN && !self.files.contains_key(&key) {
            let idle = self.files.iter().min_by_key(|(_, open)| open.used).map(|(key, _)| *key);
            if let Some(idle) = idle {
                self.files.remove(&idle);
            }
        }
        self.clock += 1;
        let open = Open { file, listing: None, used: self.clock };
        self.files.entry(key).insert_entry(open).into_mut()
    }
}

fn entries(folder: BorrowedFd<'_>) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if entries.len() >= MAX_ENTRIES {
            return Err(Errno::OVERFLOW);
        }
        let file_type = match entry.file_type() {
            FileType::Unknown => match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // It went away meanwhile.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            },
            known => known,
        };
        entries.push(Entry { name: name.to_vec(), kind: of_type(file_type), inode: entry.ino() });
    }
    Ok(entries)
}
