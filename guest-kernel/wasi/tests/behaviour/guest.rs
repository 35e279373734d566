//! A program's side of the layer: a memory, and each function wrapped so that a test reads like a
//! program.

use sentient_wasi::{Builder, Errno, Outcome, Wait, Wasi, rights};

use crate::fake_host::FakeHost;

/// The preopened root.
pub const ROOT: u32 = 3;
pub const FOLLOW: u32 = 1;
pub const CREAT: u32 = 1;
pub const DIRECTORY: u32 = 2;
pub const EXCL: u32 = 4;
pub const TRUNC: u32 = 8;
pub const APPEND: u32 = 1;
pub const NONBLOCK: u32 = 4;
pub const SET: u32 = 0;
pub const CUR: u32 = 1;
pub const END: u32 = 2;
/// Every right that a file or directory can have.
pub const ALL: u64 = rights::FILE | rights::DIRECTORY;

/// Where the wrappers put things in the module's memory.
const PATH: u32 = 0x1000;
const OTHER_PATH: u32 = 0x4000;
const IOVS: u32 = 0x7000;
pub const RESULT: u32 = 0x8000;
pub const DATA: u32 = 0x1_0000;
pub const MEMORY: usize = 0x10_0000;

/// `$filestat`, as a program decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub filetype: u8,
    pub nlink: u64,
    pub size: u64,
    pub atim: u64,
    pub mtim: u64,
    pub ctim: u64,
}

/// `$fdstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdStat {
    pub filetype: u8,
    pub flags: u16,
    pub base: u64,
    pub inheriting: u64,
}

/// A whole directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEnt {
    pub next: u64,
    pub ino: u64,
    pub filetype: u8,
    pub name: String,
}

/// A program.
pub struct Guest {
    pub wasi: Wasi,
    pub host: FakeHost,
    pub mem: Vec<u8>,
}

/// The error number of a call that must not block.
pub fn done(outcome: Outcome) -> Result<(), Errno> {
    match outcome {
        Outcome::Done(Errno::Success) => Ok(()),
        Outcome::Done(errno) => Err(errno),
        other => panic!("expected the call to be done, got {other:?}"),
    }
}

/// What a call that must block waits for.
pub fn blocked(outcome: Outcome) -> Wait {
    match outcome {
        Outcome::Block(wait) => wait,
        other => panic!("expected the call to block, got {other:?}"),
    }
}

impl Guest {
    pub fn new() -> Self {
        Self::with(Builder::new())
    }

    pub fn with(builder: Builder<'_>) -> Self {
        Self { wasi: builder.build().unwrap(), host: FakeHost::default(), mem: vec![0; MEMORY] }
    }

    pub fn u32_at(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub fn u64_at(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    pub fn bytes(&self, at: u32, len: u32) -> &[u8] {
        &self.mem[at as usize..(at + len) as usize]
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) {
        self.mem[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Puts a path where one goes; its pointer and length.
    fn path(&mut self, path: impl AsRef<[u8]>) -> (u32, u32) {
        self.put(PATH, path.as_ref());
        (PATH, path.as_ref().len() as u32)
    }

    fn other_path(&mut self, path: impl AsRef<[u8]>) -> (u32, u32) {
        self.put(OTHER_PATH, path.as_ref());
        (OTHER_PATH, path.as_ref().len() as u32)
    }

    /// Puts a scatter/gather list; its pointer and length.
    pub fn iovs(&mut self, buffers: &[(u32, u32)]) -> (u32, u32) {
        for (index, (at, len)) in buffers.iter().enumerate() {
            let to = IOVS + index as u32 * 8;
            self.put(to, &at.to_le_bytes());
            self.put(to + 4, &len.to_le_bytes());
        }
        (IOVS, buffers.len() as u32)
    }

    pub fn write_call(&mut self, fd: u32, bytes: &[u8]) -> Outcome {
        self.put(DATA, bytes);
        let (iovs, count) = self.iovs(&[(DATA, bytes.len() as u32)]);
        self.wasi.fd_write(&mut self.host, &mut self.mem, fd, iovs, count, RESULT)
    }

    pub fn write(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, Errno> {
        done(self.write_call(fd, bytes))?;
        Ok(self.u32_at(RESULT))
    }

    pub fn pwrite(&mut self, fd: u32, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        self.put(DATA, bytes);
        let (iovs, count) = self.iovs(&[(DATA, bytes.len() as u32)]);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.fd_pwrite(host, mem, fd, iovs, count, offset, RESULT))?;
        Ok(self.u32_at(RESULT))
    }

    pub fn read_call(&mut self, fd: u32, len: u32) -> Outcome {
        let (iovs, count) = self.iovs(&[(DATA, len)]);
        self.wasi.fd_read(&mut self.host, &mut self.mem, fd, iovs, count, RESULT)
    }

    pub fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>, Errno> {
        done(self.read_call(fd, len))?;
        Ok(self.bytes(DATA, self.u32_at(RESULT)).to_vec())
    }

    pub fn pread(&mut self, fd: u32, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
        let (iovs, count) = self.iovs(&[(DATA, len)]);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.fd_pread(host, mem, fd, iovs, count, offset, RESULT))?;
        Ok(self.bytes(DATA, self.u32_at(RESULT)).to_vec())
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64, Errno> {
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.fd_seek(host, mem, fd, offset as u64, whence, RESULT))?;
        Ok(self.u64_at(RESULT))
    }

    pub fn tell(&mut self, fd: u32) -> Result<u64, Errno> {
        done(self.wasi.fd_tell(&mut self.host, &mut self.mem, fd, RESULT))?;
        Ok(self.u64_at(RESULT))
    }

    pub fn close(&mut self, fd: u32) -> Result<(), Errno> {
        done(self.wasi.fd_close(&mut self.host, &mut self.mem, fd))
    }

    pub fn truncate(&mut self, fd: u32, size: u64) -> Result<(), Errno> {
        done(self.wasi.fd_filestat_set_size(&mut self.host, &mut self.mem, fd, size))
    }

    pub fn allocate(&mut self, fd: u32, offset: u64, len: u64) -> Result<(), Errno> {
        done(self.wasi.fd_allocate(&mut self.host, &mut self.mem, fd, offset, len))
    }

    /// `path_open` with everything to choose: (start, dirflags), path, (oflags, fdflags), (base,
    /// inheriting).
    pub fn open_as(
        &mut self,
        (fd, dirflags): (u32, u32),
        path: impl AsRef<[u8]>,
        (oflags, fdflags): (u32, u32),
        (base, inheriting): (u64, u64),
    ) -> Result<u32, Errno> {
        let (path, len) = self.path(path);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(
            self.wasi
                .path_open(host, mem, fd, dirflags, path, len, oflags, base, inheriting, fdflags, RESULT),
        )?;
        Ok(self.u32_at(RESULT))
    }

    /// Opens with flags, following links, with all rights that a read-write open asks for.
    pub fn open(&mut self, path: impl AsRef<[u8]>, oflags: u32) -> Result<u32, Errno> {
        self.open_as((ROOT, FOLLOW), path, (oflags, 0), (ALL, ALL))
    }

    /// Opens for reading alone.
    pub fn open_to_read(&mut self, path: impl AsRef<[u8]>) -> Result<u32, Errno> {
        let base = ALL & !rights::FD_WRITE;
        self.open_as((ROOT, FOLLOW), path, (0, 0), (base, ALL))
    }

    pub fn open_directory(&mut self, path: impl AsRef<[u8]>) -> Result<u32, Errno> {
        self.open(path, DIRECTORY)
    }

    /// Makes a file with these bytes.
    pub fn make(&mut self, path: &str, bytes: &[u8]) {
        let fd = self.open(path, CREAT | TRUNC).unwrap();
        assert_eq!(self.write(fd, bytes), Ok(bytes.len() as u32));
        self.close(fd).unwrap();
    }

    /// All of a file's bytes.
    pub fn slurp(&mut self, path: &str) -> Result<Vec<u8>, Errno> {
        let fd = self.open_to_read(path)?;
        let mut all = Vec::new();
        loop {
            let some = self.read(fd, 1000)?;
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        self.close(fd)?;
        Ok(all)
    }

    pub fn mkdir(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        self.mkdir_at(ROOT, path)
    }

    pub fn mkdir_at(&mut self, fd: u32, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        let (path, len) = self.path(path);
        done(self.wasi.path_create_directory(&mut self.host, &mut self.mem, fd, path, len))
    }

    pub fn rmdir(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        let (path, len) = self.path(path);
        done(self.wasi.path_remove_directory(&mut self.host, &mut self.mem, ROOT, path, len))
    }

    pub fn unlink(&mut self, path: impl AsRef<[u8]>) -> Result<(), Errno> {
        let (path, len) = self.path(path);
        done(self.wasi.path_unlink_file(&mut self.host, &mut self.mem, ROOT, path, len))
    }

    pub fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.rename_at((ROOT, old), (ROOT, new))
    }

    pub fn rename_at(&mut self, (from, old): (u32, &str), (to, new): (u32, &str)) -> Result<(), Errno> {
        let (old, old_len) = self.path(old);
        let (new, new_len) = self.other_path(new);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.path_rename(host, mem, from, old, old_len, to, new, new_len))
    }

    pub fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.link_at((ROOT, 0, old), (ROOT, new))
    }

    pub fn link_at(
        &mut self,
        (from, flags, old): (u32, u32, &str),
        (to, new): (u32, &str),
    ) -> Result<(), Errno> {
        let (old, old_len) = self.path(old);
        let (new, new_len) = self.other_path(new);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.path_link(host, mem, from, flags, old, old_len, to, new, new_len))
    }

    pub fn symlink(&mut self, target: impl AsRef<[u8]>, new: &str) -> Result<(), Errno> {
        let (target, target_len) = self.path(target);
        let (new, new_len) = self.other_path(new);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.path_symlink(host, mem, target, target_len, ROOT, new, new_len))
    }

    pub fn readlink(&mut self, path: &str, room: u32) -> Result<String, Errno> {
        let (path, len) = self.path(path);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.path_readlink(host, mem, ROOT, path, len, DATA, room, RESULT))?;
        let used = self.u32_at(RESULT);
        Ok(String::from_utf8(self.bytes(DATA, used).to_vec()).unwrap())
    }

    fn stat_at(&self, at: u32) -> Stat {
        Stat {
            dev: self.u64_at(at),
            ino: self.u64_at(at + 8),
            filetype: self.mem[at as usize + 16],
            nlink: self.u64_at(at + 24),
            size: self.u64_at(at + 32),
            atim: self.u64_at(at + 40),
            mtim: self.u64_at(at + 48),
            ctim: self.u64_at(at + 56),
        }
    }

    pub fn fstat(&mut self, fd: u32) -> Result<Stat, Errno> {
        done(self.wasi.fd_filestat_get(&mut self.host, &mut self.mem, fd, RESULT))?;
        Ok(self.stat_at(RESULT))
    }

    /// `stat`: follows.
    pub fn stat(&mut self, path: impl AsRef<[u8]>) -> Result<Stat, Errno> {
        self.stat_as(ROOT, FOLLOW, path)
    }

    /// `lstat`: does not.
    pub fn lstat(&mut self, path: impl AsRef<[u8]>) -> Result<Stat, Errno> {
        self.stat_as(ROOT, 0, path)
    }

    pub fn stat_as(&mut self, fd: u32, flags: u32, path: impl AsRef<[u8]>) -> Result<Stat, Errno> {
        let (path, len) = self.path(path);
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.path_filestat_get(host, mem, fd, flags, path, len, RESULT))?;
        Ok(self.stat_at(RESULT))
    }

    pub fn fdstat(&mut self, fd: u32) -> Result<FdStat, Errno> {
        done(self.wasi.fd_fdstat_get(&mut self.host, &mut self.mem, fd, RESULT))?;
        Ok(FdStat {
            filetype: self.mem[RESULT as usize],
            flags: u16::from_le_bytes(self.bytes(RESULT + 2, 2).try_into().unwrap()),
            base: self.u64_at(RESULT + 8),
            inheriting: self.u64_at(RESULT + 16),
        })
    }

    pub fn set_flags(&mut self, fd: u32, flags: u32) -> Result<(), Errno> {
        done(self.wasi.fd_fdstat_set_flags(&mut self.host, &mut self.mem, fd, flags))
    }

    pub fn set_rights(&mut self, fd: u32, base: u64, inheriting: u64) -> Result<(), Errno> {
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.fd_fdstat_set_rights(host, mem, fd, base, inheriting))
    }

    /// `fd_readdir` once: how many bytes of the buffer at [`DATA`] were used.
    pub fn readdir(&mut self, fd: u32, room: u32, cookie: u64) -> Result<u32, Errno> {
        let (host, mem) = (&mut self.host, &mut self.mem);
        done(self.wasi.fd_readdir(host, mem, fd, DATA, room, cookie, RESULT))?;
        Ok(self.u32_at(RESULT))
    }

    /// The whole entries among the first `used` bytes at [`DATA`].
    pub fn entries(&self, used: u32) -> Vec<DirEnt> {
        let mut entries = Vec::new();
        let mut at = DATA;
        while at + 24 <= DATA + used {
            let len = self.u32_at(at + 16);
            if at + 24 + len > DATA + used {
                break;
            }
            entries.push(DirEnt {
                next: self.u64_at(at),
                ino: self.u64_at(at + 8),
                filetype: self.mem[at as usize + 20],
                name: String::from_utf8(self.bytes(at + 24, len).to_vec()).unwrap(),
            });
            at += 24 + len;
        }
        entries
    }

    /// The names in a directory from a cookie on, but `.` and `..`.
    pub fn names(&mut self, path: &str) -> Vec<String> {
        let fd = self.open_directory(path).unwrap();
        let used = self.readdir(fd, 0x8_0000, 0).unwrap();
        self.close(fd).unwrap();
        let names = self.entries(used).into_iter().map(|entry| entry.name);
        names.filter(|name| name != "." && name != "..").collect()
    }
}
