//! The entries of one directory, by name and in the order in which they were made.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::inode::InodeId;

/// The serial number of `.` in a listing; also the cookie that starts one (`$dircookie`).
const DOT: u64 = 0;
/// The serial number of `..`.
const DOT_DOT: u64 = 1;
/// The serial number of a directory's first real entry.
const FIRST: u64 = 2;

/// One entry of a listing.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) inode: InodeId,
    /// The cookie with which a listing goes on after this entry.
    pub(crate) next: u64,
}

/// Names and what they stand for.
///
/// Each entry has a serial number that is never given out again, and a listing goes by serial
/// numbers. So a cookie stays good whatever is added or removed: entries that stay are listed once.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) parent: InodeId,
    by_name: BTreeMap<Arc<[u8]>, (InodeId, u64)>,
    by_serial: BTreeMap<u64, (Arc<[u8]>, InodeId)>,
    next_serial: u64,
}

impl Directory {
    pub(crate) fn new(parent: InodeId) -> Self {
        Self { parent, by_name: BTreeMap::new(), by_serial: BTreeMap::new(), next_serial: FIRST }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.by_name.get(name).map(|(inode, _)| *inode)
    }

    /// A name of what is in it.
    pub(crate) fn name_of(&self, inode: InodeId) -> Option<&[u8]> {
        self.by_serial.values().find(|(_, listed)| *listed == inode).map(|(name, _)| &**name)
    }

    /// Adds a name, which must be free.
    pub(crate) fn insert(&mut self, name: &[u8], inode: InodeId) {
        let serial = self.next_serial;
        self.next_serial = serial.saturating_add(1);
        self.insert_as(name, inode, serial);
    }

    fn insert_as(&mut self, name: &[u8], inode: InodeId, serial: u64) {
        let name: Arc<[u8]> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), (inode, serial));
        self.by_serial.insert(serial, (name, inode));
    }

    /// Removes a name; whether it was there.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        match self.by_name.remove(name) {
            Some((_, serial)) => self.by_serial.remove(&serial).is_some(),
            None => false,
        }
    }

    /// Gives an entry another name, which must be free. It keeps its place in listings: a program
    /// that renames every entry it reads comes to an end.
    pub(crate) fn rename(&mut self, old: &[u8], new: &[u8]) {
        if let Some((inode, serial)) = self.by_name.remove(old) {
            self.insert_as(new, inode, serial);
        }
    }

    /// The entries from a cookie on, with `.` and `..` before all others.
    pub(crate) fn list(&self, this: InodeId, cookie: u64) -> impl Iterator<Item = Listed<'_>> {
        let dots = [(DOT, &b"."[..], this), (DOT_DOT, &b".."[..], self.parent)]
            .into_iter()
            .filter(move |(serial, _, _)| *serial >= cookie);
        let entries = self
            .by_serial
            .range(cookie.max(FIRST)..)
            .map(|(serial, (name, inode))| (*serial, &**name, *inode));
        dots.chain(entries).map(|(serial, name, inode)| Listed {
            name,
            inode,
            next: serial.saturating_add(1),
        })
    }
}
