//! `wasi:filesystem`.

use super::MAX_BYTES;
use super::errors::code;
use super::listing::Listing;
use super::resources::{Failed, Input, Open, Output};
use super::scratch::{Place, Scratch};
use super::stat::{self, STATUS_LEN, Status};
use super::wasi::filesystem::preopens;
use super::wasi::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue,
    NewTimestamp, OpenFlags, PathFlags,
};
use crate::container::State;
use crate::host::Streams;
use alloc::string::String;
use alloc::vec::Vec;
use sentient_wasi::{Outcome, Wasi, rights};
use wasmtime::component::Resource;

/// What a function of this interface gives.
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

type Handle = Resource<Open>;

/// Longest target of a symbolic link that is read, in bytes (`PATH_MAX` of Linux).
const LINK_MAX: usize = 4096;

/// Bytes of an `fdstat` and of a `prestat` (`typenames.witx`).
const FDSTAT_LEN: usize = 24;
const PRESTAT_LEN: usize = 8;

/// `fdflags`.
const FD_DSYNC: u16 = 1 << 1;
const FD_RSYNC: u16 = 1 << 3;
const FD_SYNC: u16 = 1 << 4;

/// Preview 1's bit for each flag of a list that is set.
fn bits<const N: usize>(flags: [(bool, u16); N]) -> u32 {
    flags.into_iter().filter(|(set, _)| *set).map(|(_, bit)| u32::from(bit)).sum()
}

fn lookup(flags: PathFlags) -> u32 {
    flags.contains(PathFlags::SYMLINK_FOLLOW).into()
}

/// `oflags`.
fn open_bits(flags: OpenFlags) -> u32 {
    let bit = |flag, bit| (flags.contains(flag), bit);
    bits([
        bit(OpenFlags::CREATE, 1 << 0),
        bit(OpenFlags::DIRECTORY, 1 << 1),
        bit(OpenFlags::EXCLUSIVE, 1 << 2),
        bit(OpenFlags::TRUNCATE, 1 << 3),
    ])
}

fn sync_bits(flags: DescriptorFlags) -> u32 {
    let bit = |flag, bit| (flags.contains(flag), bit);
    bits([
        bit(DescriptorFlags::DATA_INTEGRITY_SYNC, FD_DSYNC),
        bit(DescriptorFlags::REQUESTED_WRITE_SYNC, FD_RSYNC),
        bit(DescriptorFlags::FILE_INTEGRITY_SYNC, FD_SYNC),
    ])
}

/// The rights that a descriptor has by its flags. A directory's lets be done what its container may do, also without
/// `mutate-directory`, which programs do not ask for.
fn rights_of(flags: DescriptorFlags) -> u64 {
    let reads = rights::FD_READ | rights::FD_READDIR;
    let writes = rights::FD_WRITE | rights::FD_ALLOCATE | rights::FD_FILESTAT_SET_SIZE;
    let mut all = rights::FILE | rights::DIRECTORY;
    if !flags.contains(DescriptorFlags::READ) {
        all &= !reads;
    }
    if !flags.contains(DescriptorFlags::WRITE) {
        all &= !writes;
    }
    all
}

impl State {
    /// Makes a call that gives nothing, on a path from a directory on.
    fn by_path(
        &mut self,
        handle: &Handle,
        path: &str,
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], u32, Place) -> Outcome,
    ) -> Answer<()> {
        let Open(fd) = self.held(handle)?;
        let mut scratch = Scratch::new();
        let path = scratch.put(path.as_bytes());
        Ok(self
            .call(&mut scratch, |wasi, host, memory| function(wasi, host, memory, fd, path))?
            .map_err(code))
    }

    /// The same on two paths.
    fn by_paths(
        &mut self,
        (old, new): (&str, &str),
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], Place, Place) -> Outcome,
    ) -> Answer<()> {
        let mut scratch = Scratch::new();
        let (old, new) = (scratch.put(old.as_bytes()), scratch.put(new.as_bytes()));
        Ok(self
            .call(&mut scratch, |wasi, host, memory| function(wasi, host, memory, old, new))?
            .map_err(code))
    }

    /// Makes a call that gives nothing, on a descriptor.
    fn by_descriptor(
        &mut self,
        handle: &Handle,
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], u32) -> Outcome,
    ) -> Answer<()> {
        let Open(fd) = self.held(handle)?;
        let done = self.call(&mut Scratch::new(), |wasi, host, memory| function(wasi, host, memory, fd))?;
        Ok(done.map_err(code))
    }

    fn status_of(&mut self, handle: &Handle) -> Answer<Status> {
        let open = self.held(handle)?;
        Ok(self.status(open)?.map_err(code))
    }

    fn status_at(&mut self, handle: &Handle, flags: PathFlags, path: &str) -> Answer<Status> {
        let Open(fd) = self.held(handle)?;
        let mut scratch = Scratch::new();
        let (path, status) = (scratch.put(path.as_bytes()), scratch.room(STATUS_LEN));
        let got = self.call(&mut scratch, |wasi, host, memory| {
            wasi.path_filestat_get(host, memory, fd, lookup(flags), path.at, path.len, status.at)
        })?;
        Ok(got.map(|()| Status::read(&scratch, status.at)).map_err(code))
    }

    /// A descriptor's `filetype`, `fdflags` and rights.
    fn descriptor_status(&mut self, handle: &Handle) -> Answer<(u8, u16, u64)> {
        let Open(fd) = self.held(handle)?;
        let mut scratch = Scratch::new();
        let status = scratch.room(FDSTAT_LEN);
        let got =
            self.call(&mut scratch, |wasi, host, memory| wasi.fd_fdstat_get(host, memory, fd, status.at))?;
        let read = |()| (scratch.u8(status.at), scratch.u16(status.at + 2), scratch.u64(status.at + 8));
        Ok(got.map(read).map_err(code))
    }

    /// The path of a preopened directory; `None` if the descriptor is none.
    fn preopened_path(&mut self, fd: u32) -> wasmtime::Result<Option<String>> {
        let mut scratch = Scratch::new();
        let prestat = scratch.room(PRESTAT_LEN);
        let got =
            self.call(&mut scratch, |wasi, host, memory| wasi.fd_prestat_get(host, memory, fd, prestat.at))?;
        if got.is_err() {
            return Ok(None);
        }
        let path = scratch.room(scratch.u32(prestat.at + 4) as usize);
        let got = self.call(&mut scratch, |wasi, host, memory| {
            wasi.fd_prestat_dir_name(host, memory, fd, path.at, path.len)
        })?;
        Ok(got.ok().map(|()| String::from_utf8_lossy(scratch.get(path)).into_owned()))
    }

    /// A stream over an open file, if its descriptor may do that.
    fn stream_over(&mut self, handle: &Handle, right: u64) -> Answer<Open> {
        Ok(match self.descriptor_status(handle)? {
            Ok((filetype, _, _)) if stat::descriptor_type(filetype) == DescriptorType::Directory => {
                Err(ErrorCode::IsDirectory)
            }
            Ok((_, _, rights)) if rights & right == 0 => Err(ErrorCode::BadDescriptor),
            Ok(_) => {
                let open = self.held(handle)?;
                Ok(self.share(open))
            }
            Err(error) => Err(error),
        })
    }
}

impl types::Host for State {
    fn filesystem_error_code(&mut self, error: Resource<Failed>) -> wasmtime::Result<Option<ErrorCode>> {
        let Failed(errno) = self.resources.table.get(&error)?;
        Ok(Some(code(*errno)))
    }
}

impl types::HostDescriptor for State {
    fn read_via_stream(&mut self, handle: Handle, offset: u64) -> Answer<Resource<Input>> {
        let open = self.stream_over(&handle, rights::FD_READ)?;
        open.map_or_else(|error| Ok(Err(error)), |open| self.give(Input::File(open, offset)).map(Ok))
    }

    fn write_via_stream(&mut self, handle: Handle, offset: u64) -> Answer<Resource<Output>> {
        let open = self.stream_over(&handle, rights::FD_WRITE)?;
        open.map_or_else(|error| Ok(Err(error)), |open| self.give(Output::File(open, offset)).map(Ok))
    }

    fn append_via_stream(&mut self, handle: Handle) -> Answer<Resource<Output>> {
        let open = self.stream_over(&handle, rights::FD_WRITE)?;
        open.map_or_else(|error| Ok(Err(error)), |open| self.give(Output::End(open)).map(Ok))
    }

    fn advise(&mut self, handle: Handle, offset: u64, length: u64, advice: Advice) -> Answer<()> {
        self.by_descriptor(&handle, |wasi, host, memory, fd| {
            wasi.fd_advise(host, memory, fd, offset, length, advice as u32)
        })
    }

    fn sync_data(&mut self, handle: Handle) -> Answer<()> {
        self.by_descriptor(&handle, |wasi, host, memory, fd| wasi.fd_datasync(host, memory, fd))
    }

    fn get_flags(&mut self, handle: Handle) -> Answer<DescriptorFlags> {
        Ok(self.descriptor_status(&handle)?.map(|(_, flags, rights)| {
            let mut all = DescriptorFlags::empty();
            let mut set = |flag, is_set: bool| all |= if is_set { flag } else { DescriptorFlags::empty() };
            set(DescriptorFlags::READ, rights & (rights::FD_READ | rights::FD_READDIR) != 0);
            set(DescriptorFlags::WRITE, rights & rights::FD_WRITE != 0);
            set(DescriptorFlags::MUTATE_DIRECTORY, rights & rights::PATH_CREATE_FILE != 0);
            set(DescriptorFlags::DATA_INTEGRITY_SYNC, flags & FD_DSYNC != 0);
            set(DescriptorFlags::REQUESTED_WRITE_SYNC, flags & FD_RSYNC != 0);
            set(DescriptorFlags::FILE_INTEGRITY_SYNC, flags & FD_SYNC != 0);
            all
        }))
    }

    fn get_type(&mut self, handle: Handle) -> Answer<DescriptorType> {
        Ok(self.descriptor_status(&handle)?.map(|(filetype, _, _)| stat::descriptor_type(filetype)))
    }

    fn set_size(&mut self, handle: Handle, size: u64) -> Answer<()> {
        self.by_descriptor(&handle, |wasi, host, memory, fd| {
            wasi.fd_filestat_set_size(host, memory, fd, size)
        })
    }

    fn set_times(&mut self, handle: Handle, accessed: NewTimestamp, modified: NewTimestamp) -> Answer<()> {
        let (atim, mtim, flags) = stat::new_times(accessed, modified);
        self.by_descriptor(&handle, |wasi, host, memory, fd| {
            wasi.fd_filestat_set_times(host, memory, fd, atim, mtim, flags)
        })
    }

    fn read(&mut self, handle: Handle, length: u64, offset: u64) -> Answer<(Vec<u8>, bool)> {
        let open = self.held(&handle)?;
        let len = usize::try_from(length).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let read = self.read_at(open, len, offset)?;
        Ok(read
            .map(|bytes| {
                let is_end = bytes.is_empty() && len > 0;
                (bytes, is_end)
            })
            .map_err(code))
    }

    fn write(&mut self, handle: Handle, contents: Vec<u8>, offset: u64) -> Answer<u64> {
        let open = self.held(&handle)?;
        let bytes = Place { at: 0, len: contents.len() as u32 };
        let written = self.write_at(open, (&mut Scratch::of(contents), bytes), offset)?;
        Ok(written.map(u64::from).map_err(code))
    }

    fn read_directory(&mut self, handle: Handle) -> Answer<Resource<Listing>> {
        match self.get_type(Resource::new_borrow(handle.rep()))? {
            Ok(DescriptorType::Directory) => {
                let open = self.held(&handle)?;
                let open = self.share(open);
                self.give(Listing::new(open)).map(Ok)
            }
            Ok(_) => Ok(Err(ErrorCode::NotDirectory)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn sync(&mut self, handle: Handle) -> Answer<()> {
        self.by_descriptor(&handle, |wasi, host, memory, fd| wasi.fd_sync(host, memory, fd))
    }

    fn create_directory_at(&mut self, handle: Handle, path: String) -> Answer<()> {
        self.by_path(&handle, &path, |wasi, host, memory, fd, path| {
            wasi.path_create_directory(host, memory, fd, path.at, path.len)
        })
    }

    fn stat(&mut self, handle: Handle) -> Answer<DescriptorStat> {
        Ok(self.status_of(&handle)?.map(|status| status.described()))
    }

    fn stat_at(&mut self, handle: Handle, flags: PathFlags, path: String) -> Answer<DescriptorStat> {
        Ok(self.status_at(&handle, flags, &path)?.map(|status| status.described()))
    }

    fn set_times_at(
        &mut self,
        handle: Handle,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Answer<()> {
        let (atim, mtim, times) = stat::new_times(accessed, modified);
        self.by_path(&handle, &path, |wasi, host, memory, fd, path| {
            wasi.path_filestat_set_times(
                host,
                memory,
                fd,
                lookup(flags),
                path.at,
                path.len,
                atim,
                mtim,
                times,
            )
        })
    }

    fn link_at(
        &mut self,
        handle: Handle,
        flags: PathFlags,
        path: String,
        to: Handle,
        new_path: String,
    ) -> Answer<()> {
        let (Open(fd), Open(to)) = (self.held(&handle)?, self.held(&to)?);
        self.by_paths((&path, &new_path), |wasi, host, memory, old, new| {
            wasi.path_link(host, memory, fd, lookup(flags), old.at, old.len, to, new.at, new.len)
        })
    }

    fn open_at(
        &mut self,
        handle: Handle,
        flags: PathFlags,
        path: String,
        how: OpenFlags,
        access: DescriptorFlags,
    ) -> Answer<Handle> {
        let Open(fd) = self.held(&handle)?;
        let mut scratch = Scratch::new();
        let (path, opened) = (scratch.put(path.as_bytes()), scratch.room(4));
        let (base, inheriting) = (rights_of(access), rights::FILE | rights::DIRECTORY);
        let got = self.call(&mut scratch, |wasi, host, memory| {
            wasi.path_open(
                host,
                memory,
                fd,
                lookup(flags),
                path.at,
                path.len,
                open_bits(how),
                base,
                inheriting,
                sync_bits(access),
                opened.at,
            )
        })?;
        match got {
            Ok(()) => {
                let open = self.share(Open(scratch.u32(opened.at)));
                self.give(open).map(Ok)
            }
            Err(errno) => Ok(Err(code(errno))),
        }
    }

    fn readlink_at(&mut self, handle: Handle, path: String) -> Answer<String> {
        let Open(fd) = self.held(&handle)?;
        let mut scratch = Scratch::new();
        let (path, room, used) = (scratch.put(path.as_bytes()), scratch.room(LINK_MAX), scratch.room(4));
        let got = self.call(&mut scratch, |wasi, host, memory| {
            wasi.path_readlink(host, memory, fd, path.at, path.len, room.at, room.len, used.at)
        })?;
        let target = got.and_then(|()| scratch.text(Place { len: scratch.u32(used.at), ..room }));
        Ok(target.map(String::from).map_err(code))
    }

    fn remove_directory_at(&mut self, handle: Handle, path: String) -> Answer<()> {
        self.by_path(&handle, &path, |wasi, host, memory, fd, path| {
            wasi.path_remove_directory(host, memory, fd, path.at, path.len)
        })
    }

    fn rename_at(&mut self, handle: Handle, path: String, to: Handle, new_path: String) -> Answer<()> {
        let (Open(fd), Open(to)) = (self.held(&handle)?, self.held(&to)?);
        self.by_paths((&path, &new_path), |wasi, host, memory, old, new| {
            wasi.path_rename(host, memory, fd, old.at, old.len, to, new.at, new.len)
        })
    }

    fn symlink_at(&mut self, handle: Handle, target: String, path: String) -> Answer<()> {
        let Open(fd) = self.held(&handle)?;
        self.by_paths((&target, &path), |wasi, host, memory, old, new| {
            wasi.path_symlink(host, memory, old.at, old.len, fd, new.at, new.len)
        })
    }

    fn unlink_file_at(&mut self, handle: Handle, path: String) -> Answer<()> {
        self.by_path(&handle, &path, |wasi, host, memory, fd, path| {
            wasi.path_unlink_file(host, memory, fd, path.at, path.len)
        })
    }

    fn is_same_object(&mut self, handle: Handle, other: Handle) -> wasmtime::Result<bool> {
        let (one, other) = (self.status_of(&handle)?, self.status_of(&other)?);
        Ok(matches!((one, other), (Ok(one), Ok(other)) if one.is_of(&other)))
    }

    fn metadata_hash(&mut self, handle: Handle) -> Answer<MetadataHashValue> {
        Ok(self.status_of(&handle)?.map(|status| status.hash()))
    }

    fn metadata_hash_at(
        &mut self,
        handle: Handle,
        flags: PathFlags,
        path: String,
    ) -> Answer<MetadataHashValue> {
        Ok(self.status_at(&handle, flags, &path)?.map(|status| status.hash()))
    }

    fn drop(&mut self, handle: Handle) -> wasmtime::Result<()> {
        let open = self.taken(handle)?;
        self.release(open)
    }
}

impl preopens::Host for State {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        let mut directories = Vec::new();
        for fd in self.resources.preopened() {
            if let Some(path) = self.preopened_path(fd)? {
                let open = self.share(Open(fd));
                directories.push((self.give(open)?, path));
            }
        }
        Ok(directories)
    }
}
