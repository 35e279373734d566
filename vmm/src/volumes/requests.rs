//! What is done for each request.

use super::folder::{Folder, Name, attributes, kind};
use super::open_files::OpenFiles;
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, Timespec, Timestamps, UTIME_OMIT, fallocate, fstat, fsync, ftruncate,
    futimens, linkat, mkdirat, readlinkat, renameat, symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2};
use sentient_abi::volumes::{Handle, Kind, Listed, MAX_DATA, Place, Wanted, flags};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Modes of folders that are made, before the process' umask.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

const NS: u64 = 1_000_000_000;

/// Does it; gives what is answered.
///
/// # Errors
/// Linux's error number.
pub fn serve(
    folder: &Folder,
    open: &mut OpenFiles,
    volume: u32,
    wanted: &Wanted<'_>,
) -> Result<Vec<u8>, Errno> {
    let nothing = |()| Vec::new();
    match wanted {
        Wanted::Look(place, how) => {
            let named = folder.named(place, how & flags::FOLLOW != 0)?;
            Ok(attributes(&fstat(named)?).encode())
        }
        Wanted::Open(handle) => {
            let opened = open.open(folder, volume, handle)?;
            Ok(attributes(&fstat(opened)?).encode())
        }
        Wanted::Stat(handle) => {
            let stat = fstat(open.get(folder, volume, handle)?)?;
            Ok(attributes(&stat).encode())
        }
        Wanted::Read(handle, at, most) => {
            let most = usize::try_from(*most).unwrap_or(MAX_DATA).min(MAX_DATA);
            let mut bytes = vec![0; most];
            let read = pread(open.get(folder, volume, handle)?, &mut bytes[..], *at)?;
            bytes.truncate(read);
            Ok(bytes)
        }
        Wanted::Write(handle, at, bytes) => {
            folder.writable()?;
            write(open.get(folder, volume, handle)?, handle.flags & flags::APPEND != 0, *at, bytes)
        }
        Wanted::List(handle, from, most) => list(folder, open, volume, handle, *from, *most),
        Wanted::Resize(handle, size) => {
            folder.writable()?;
            ftruncate(open.get(folder, volume, handle)?, *size).map(nothing)
        }
        Wanted::Allocate(handle, at, len) => {
            folder.writable()?;
            fallocate(open.get(folder, volume, handle)?, FallocateFlags::empty(), *at, *len).map(nothing)
        }
        Wanted::Sync(handle) => fsync(open.get(folder, volume, handle)?).map(nothing),
        Wanted::SetTimes(handle, accessed, modified) => {
            folder.writable()?;
            let times = times(handle.flags, *accessed, *modified);
            futimens(open.get(folder, volume, handle)?, &times).map(nothing)
        }
        Wanted::Close(handle) => {
            open.close(volume, handle.number);
            Ok(Vec::new())
        }
        Wanted::Target(place) => {
            let named = folder.named(place, false)?;
            // Of what is no link, the kernel says that it is not there (readlinkat(2), for an empty path).
            let target = readlinkat(&named, c"", Vec::new()).map_err(|error| match error {
                Errno::NOENT => Errno::INVAL,
                error => error,
            })?;
            Ok(target.into_bytes())
        }
        Wanted::SetTimesAt(place, how, accessed, modified) => {
            folder.writable()?;
            let named = folder.named(place, how & flags::FOLLOW != 0)?;
            let times = times(*how, *accessed, *modified);
            // By the kernel's link to what is open, because what is only named takes no times itself.
            match kind(&fstat(&named)?) {
                Kind::Link => {
                    let Name { parent, name, .. } = folder.name(place, Errno::INVAL)?;
                    utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map(nothing)
                }
                _ => utimensat(rustix::fs::CWD, proc_link(named.as_fd()), &times, AtFlags::empty())
                    .map(nothing),
            }
        }
        Wanted::MakeDirectory(place) => {
            let Name { parent, name, .. } = folder.name(place, Errno::EXIST)?;
            mkdirat(parent, name, FOLDER_MODE).map(nothing)
        }
        Wanted::MakeLink(place, target) => make_link(folder, place, target).map(nothing),
        Wanted::RemoveDirectory(place) => {
            let Name { parent, name, .. } = folder.name(place, Errno::INVAL)?;
            unlinkat(parent, name, AtFlags::REMOVEDIR).map(nothing)
        }
        Wanted::Unlink(place) => {
            let name = folder.name(place, Errno::ISDIR)?;
            name.no_folder()?;
            unlinkat(&name.parent, name.name, AtFlags::empty()).map(nothing)
        }
        Wanted::Rename(from, to) => rename(folder, from, to).map(nothing),
        Wanted::Name(from, how, to) => name(folder, from, how & flags::FOLLOW != 0, to).map(nothing),
    }
}

fn write(file: BorrowedFd<'_>, append: bool, at: u64, bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let done = if append {
            pwritev2(file, &[IoSlice::new(rest)], 0, ReadWriteFlags::APPEND)
        } else {
            pwrite(file, rest, at.saturating_add(written as u64))
        };
        match done {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(Errno::INTR) => {}
            Err(error) if written == 0 => return Err(error),
            Err(_) => break,
        }
    }
    let end = if append { u64::try_from(fstat(file)?.st_size).unwrap_or(0) } else { at + written as u64 };
    Ok([(written as u64).to_le_bytes(), end.to_le_bytes()].concat())
}

fn list(
    folder: &Folder,
    open: &mut OpenFiles,
    volume: u32,
    handle: &Handle<'_>,
    from: u64,
    most: u32,
) -> Result<Vec<u8>, Errno> {
    let most = usize::try_from(most).unwrap_or(MAX_DATA);
    let entries = open.list(folder, volume, handle, from == 0)?;
    let mut bytes = Vec::new();
    let start = usize::try_from(from).unwrap_or(usize::MAX);
    for (at, entry) in entries.iter().enumerate().skip(start) {
        let listed = Listed { next: at as u64 + 1, inode: entry.inode, kind: entry.kind, name: &entry.name };
        if !listed.append(&mut bytes) || bytes.len() >= most {
            break;
        }
    }
    Ok(bytes)
}

/// A link within the guest's own files leads to a relative path, and so it does here.
fn make_link(folder: &Folder, place: &Place<'_>, target: &[u8]) -> Result<(), Errno> {
    match target.first() {
        None => return Err(Errno::NOENT),
        Some(b'/') => return Err(Errno::PERM),
        Some(_) => {}
    }
    let Name { parent, name, slash } = folder.name(place, Errno::EXIST)?;
    if slash {
        return Err(Errno::NOENT);
    }
    symlinkat(target, parent, name)
}

fn rename(folder: &Folder, from: &Place<'_>, to: &Place<'_>) -> Result<(), Errno> {
    let from = folder.name(from, Errno::INVAL)?;
    let to = folder.name(to, Errno::INVAL)?;
    if (from.slash || to.slash) && kind(&from.stat()?) != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    renameat(&from.parent, from.name, &to.parent, to.name)
}

fn name(folder: &Folder, from: &Place<'_>, follow: bool, to: &Place<'_>) -> Result<(), Errno> {
    folder.writable()?;
    let named = folder.named(from, follow)?;
    if kind(&fstat(&named)?) == Kind::Directory {
        return Err(Errno::PERM);
    }
    let to = folder.name(to, Errno::EXIST)?;
    if to.slash {
        return Err(Errno::NOENT);
    }
    // What was found is what is named, whatever has the path by now.
    linkat(rustix::fs::CWD, proc_link(named.as_fd()), &to.parent, to.name, AtFlags::SYMLINK_FOLLOW)
}

/// Where the kernel has a link to what is open (proc(5)).
fn proc_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn times(how: u32, accessed: u64, modified: u64) -> Timestamps {
    let time = |flag: u32, ns: u64| match how & flag {
        0 => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        _ => Timespec { tv_sec: (ns / NS).cast_signed(), tv_nsec: (ns % NS).cast_signed() },
    };
    Timestamps {
        last_access: time(flags::ACCESSED, accessed),
        last_modification: time(flags::MODIFIED, modified),
    }
}
