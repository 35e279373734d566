//! What the host does with a container's files (`sentient_abi::container_files`), while its thread is stopped.

use crate::clock;
use alloc::vec::Vec;
use sentient_abi::container_files::{Entry, Failure, Kind, MAX_DATA, Request, Wanted};
use sentient_wasi::{Errno, FileInfo, FileKind, Files};

/// Does what is asked; gives what is to be answered.
///
/// # Errors
/// Why it was not done.
pub fn serve(mut files: Files<'_>, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
    let (path, now) = (request.path, clock::wall_ns());
    let done = match request.wanted {
        Wanted::Look => files.look(path).map(|info| {
            let mut bytes = Vec::new();
            entry(info, &[], 0).append(&mut bytes);
            bytes
        }),
        Wanted::List(from) => files.list(path, from).map(|listed| {
            let mut bytes = Vec::new();
            for listed in listed {
                if !entry(listed.info, listed.name, listed.next).append(&mut bytes) {
                    break;
                }
            }
            bytes
        }),
        Wanted::Read(at) => files.read(path, at, MAX_DATA),
        Wanted::Target => files.target(path).map(<[u8]>::to_vec),
        Wanted::Create => files.create(path, now).map(nothing),
        Wanted::Write(at, bytes) => files.write(path, at, bytes, now).map(nothing),
        Wanted::Directory => files.make_directory(path, now).map(nothing),
        Wanted::Link(target) => files.make_link(path, target, now).map(nothing),
        Wanted::Modified(time) => files.set_modified(path, time, now).map(nothing),
    };
    done.map_err(failure)
}

fn nothing((): ()) -> Vec<u8> {
    Vec::new()
}

fn entry(info: FileInfo, name: &[u8], next: u64) -> Entry<'_> {
    let kind = match info.kind {
        FileKind::File => Kind::File,
        FileKind::Directory => Kind::Directory,
        FileKind::Link => Kind::Link,
    };
    Entry { next, size: info.size, modified: info.modified_ns, kind, name }
}

fn failure(errno: Errno) -> Failure {
    match errno {
        Errno::Noent => Failure::NotFound,
        Errno::Notdir => Failure::NotADirectory,
        Errno::Isdir => Failure::IsADirectory,
        Errno::Exist => Failure::Exists,
        Errno::Nospc | Errno::Nomem | Errno::Fbig => Failure::NoSpace,
        Errno::Perm => Failure::Outside,
        Errno::Nametoolong | Errno::Ilseq | Errno::Inval => Failure::Name,
        Errno::Loop => Failure::Links,
        _ => Failure::Other,
    }
}
