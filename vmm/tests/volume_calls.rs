//! Programs' calls about files of the host, from WASI's functions to the folder and back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../guest-kernel/wasi/tests/behaviour/fake_host.rs"]
#[allow(dead_code, reason = "the tests of the other crate use all of it")]
mod fake_host;
#[path = "../../guest-kernel/wasi/tests/behaviour/guest.rs"]
#[allow(dead_code, reason = "the tests of the other crate use all of it")]
mod guest;

use guest::{ALL, APPEND, CREAT, DIRECTORY, END, EXCL, FOLLOW, Guest, ROOT, TRUNC, done};
use sentient_vmm::volumes::Volumes;
use sentient_wasi::{Access, Builder, Errno, Permissions, rights};
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::rc::Rc;
use tempfile::TempDir;

/// A program with a folder of the host's as all its files, and that folder.
struct Stage {
    guest: Guest,
    folder: TempDir,
    volumes: Rc<RefCell<Volumes>>,
}

impl Stage {
    fn new() -> Self {
        Self::with(Builder::new().volume("/", 7, Access::ReadWrite), false)
    }

    fn with(builder: Builder<'_>, read_only: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let volumes = Rc::new(RefCell::new(Volumes::default()));
        volumes.borrow_mut().add(7, folder.path(), read_only).unwrap();
        let mut guest = Guest::with(builder);
        let serving = Rc::clone(&volumes);
        guest.host.volumes = Some(Box::new(move |question| serving.borrow_mut().serve(&question.encode())));
        Self { guest, folder, volumes }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

#[test]
fn a_file_is_made_written_read_and_cut() {
    let mut stage = Stage::new();
    let g = &mut stage.guest;
    let fd = g.open("note", CREAT | EXCL).unwrap();
    assert_eq!(g.open("note", CREAT | EXCL), Err(Errno::Exist));
    assert_eq!(g.write(fd, b"hello, host"), Ok(11));
    assert_eq!(g.tell(fd), Ok(11));
    assert_eq!(g.seek(fd, -4, END), Ok(7));
    assert_eq!(g.read(fd, 100).unwrap(), b"host");
    assert_eq!(g.read(fd, 100).unwrap(), b"");
    assert_eq!(g.pwrite(fd, 0, b"H"), Ok(1));
    assert_eq!(g.pread(fd, 0, 5).unwrap(), b"Hello");
    assert_eq!(g.tell(fd), Ok(11), "it stays where it was");
    assert_eq!(g.truncate(fd, 5), Ok(()));
    assert_eq!(g.allocate(fd, 0, 50), Ok(()));
    assert_eq!(g.fstat(fd).unwrap().size, 50);
    assert_eq!(done(g.wasi.fd_sync(&mut g.host, &mut g.mem, fd)), Ok(()));
    assert_eq!(done(g.wasi.fd_datasync(&mut g.host, &mut g.mem, fd)), Ok(()));
    assert_eq!(g.close(fd), Ok(()));
    assert_eq!(g.close(fd), Err(Errno::Badf));
    let fd = g.open("note", TRUNC).unwrap();
    g.set_flags(fd, APPEND).unwrap();
    assert_eq!((g.write(fd, b"one").unwrap(), g.seek(fd, 0, 0).unwrap()), (3, 0));
    assert_eq!((g.write(fd, b"two").unwrap(), g.tell(fd).unwrap()), (3, 6));
    assert_eq!(fs::read(stage.at("note")).unwrap(), b"onetwo");
    // Larger than what goes in one question.
    let large: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    stage.guest.make("large", &large);
    assert!(fs::read(stage.at("large")).unwrap() == large);
    assert!(stage.guest.slurp("large").unwrap() == large);
}

#[test]
fn directories_are_made_listed_and_removed() {
    let mut stage = Stage::new();
    for number in 0..300 {
        fs::write(stage.at(&format!("f{number:03}")), "").unwrap();
    }
    let g = &mut stage.guest;
    g.mkdir("d").unwrap();
    g.mkdir("d/e").unwrap();
    assert_eq!(g.mkdir("d"), Err(Errno::Exist));
    let mut names = g.names(".");
    names.sort();
    let mut expected: Vec<String> = (0..300).map(|number| format!("f{number:03}")).collect();
    expected.push("d".to_owned());
    expected.sort();
    assert_eq!(names, expected);
    expected.extend([".", ".."].map(str::to_owned));
    expected.sort();
    // Piece by piece, each once.
    let fd = g.open_directory(".").unwrap();
    let (mut cookie, mut seen) = (0, Vec::new());
    loop {
        let used = g.readdir(fd, 100, cookie).unwrap();
        let entries = g.entries(used);
        if entries.is_empty() {
            break;
        }
        cookie = entries.last().unwrap().next;
        seen.extend(entries.into_iter().map(|entry| entry.name));
    }
    seen.sort();
    assert_eq!(seen, expected);
    let inner = g.open_directory("d").unwrap();
    assert_eq!(g.mkdir_at(inner, "../x"), Err(Errno::Perm));
    assert_eq!(g.mkdir_at(inner, "f"), Ok(()));
    assert_eq!(g.stat_as(inner, 0, "f").unwrap().filetype, 3);
    assert_eq!(g.rmdir("d"), Err(Errno::Notempty));
    for path in ["d/f", "d/e", "d"] {
        assert_eq!(g.rmdir(path), Ok(()), "{path}");
    }
    assert!(!stage.at("d").exists());
}

#[test]
fn names_move_and_links_lead_where_they_led() {
    let mut stage = Stage::new();
    let g = &mut stage.guest;
    g.mkdir("d").unwrap();
    g.make("a", b"1");
    let fd = g.open_to_read("a").unwrap();
    assert_eq!(g.rename("a", "d/b"), Ok(()));
    assert_eq!(g.read(fd, 10).unwrap(), b"1", "what is open stays open");
    assert_eq!(g.link("d/b", "c"), Ok(()));
    assert_eq!(g.stat("c").unwrap().nlink, 2);
    assert_eq!(g.symlink("d/b", "to-b"), Ok(()));
    assert_eq!(g.symlink("/etc/passwd", "out"), Err(Errno::Perm));
    assert_eq!(g.readlink("to-b", 100).unwrap(), "d/b");
    assert_eq!(g.readlink("to-b", 2).unwrap(), "d/");
    assert_eq!(g.readlink("c", 100), Err(Errno::Inval));
    assert_eq!(g.slurp("to-b").unwrap(), b"1");
    assert_eq!(g.lstat("to-b").unwrap().filetype, 7);
    assert_eq!(g.stat("to-b").unwrap().filetype, 4);
    assert_eq!(g.unlink("d"), Err(Errno::Isdir));
    for path in ["d/b", "c", "to-b"] {
        assert_eq!(g.unlink(path), Ok(()), "{path}");
    }
    assert_eq!(g.pread(fd, 0, 10).unwrap(), b"1", "without a name, too");
    assert_eq!(g.stat("c"), Err(Errno::Noent));
    // The host's own links lead no further than the folder.
    symlink("/etc/passwd", stage.at("passwd")).unwrap();
    symlink("../..", stage.at("up")).unwrap();
    for path in ["passwd", "up/etc/passwd", "../x", "/etc/passwd"] {
        assert_eq!(stage.guest.open(path, 0), Err(Errno::Perm), "{path}");
        assert_eq!(stage.guest.stat(path), Err(Errno::Perm), "{path}");
    }
}

#[test]
fn times_are_set_and_shown_as_finely_as_the_container_may_know_them() {
    let mut stage = Stage::new();
    let g = &mut stage.guest;
    g.make("f", b"x");
    let set = |g: &mut Guest, fst: u32| {
        let fd = g.open("f", 0).unwrap();
        done(g.wasi.fd_filestat_set_times(&mut g.host, &mut g.mem, fd, 1_000_000_001, 2_000_000_002, fst))
    };
    assert_eq!(set(g, 1 | 4), Ok(()));
    let stat = g.stat("f").unwrap();
    assert_eq!((stat.atim, stat.mtim), (1_000_000_001, 2_000_000_002));
    assert_eq!(set(g, 8), Ok(()), "now, by the container's clock");
    assert_eq!(g.stat("f").unwrap().mtim, g.host.realtime);
    assert_eq!(set(g, 1 | 2), Err(Errno::Inval));
    let permissions = |wall_clock_ns| Permissions { wall_clock_ns, ..Permissions::default() };
    for (resolution, shown) in [(Some(1_000_000_000), 2_000_000_000), (None, 5)] {
        let builder = Builder::new().volume("/", 7, Access::ReadWrite).time_ns(5);
        let mut stage = Stage::with(builder.permissions(permissions(resolution)), false);
        stage.guest.make("f", b"x");
        let fd = stage.guest.open("f", 0).unwrap();
        let g = &mut stage.guest;
        done(g.wasi.fd_filestat_set_times(&mut g.host, &mut g.mem, fd, 0, 2_000_000_002, 4)).unwrap();
        assert_eq!(g.fstat(fd).unwrap().mtim, shown);
    }
}

#[test]
fn a_volume_lies_beside_the_containers_own_files() {
    let builder = Builder::new().file("own", b"own").volume("/data", 7, Access::ReadWrite);
    let mut stage = Stage::with(builder, false);
    let data = ROOT + 1;
    let g = &mut stage.guest;
    assert_eq!(g.mkdir_at(data, "d"), Ok(()));
    assert_eq!(g.names("."), ["own", "data"]);
    assert_eq!(g.rename_at((ROOT, "own"), (data, "own")), Err(Errno::Xdev));
    assert_eq!(g.rename_at((data, "d"), (ROOT, "d")), Err(Errno::Xdev));
    assert_eq!(g.link_at((ROOT, 0, "own"), (data, "own")), Err(Errno::Xdev));
    // Its name, and a number that is no other device's.
    let prestat = done(g.wasi.fd_prestat_dir_name(&mut g.host, &mut g.mem, data, 0x100, 5));
    assert_eq!((prestat, g.bytes(0x100, 5)), (Ok(()), &b"/data"[..]));
    assert_ne!(g.fstat(data).unwrap().dev, g.fstat(ROOT).unwrap().dev);
    assert!(stage.at("d").is_dir());
    assert_eq!(stage.guest.close(data), Ok(()));
}

#[test]
fn rights_hold_for_what_is_opened_there() {
    let mut stage = Stage::new();
    let g = &mut stage.guest;
    g.make("f", b"text");
    let fd = g.open_as((ROOT, FOLLOW), "f", (0, 0), (rights::FD_READ, 0)).unwrap();
    assert_eq!(g.write(fd, b"x"), Err(Errno::Notcapable));
    assert_eq!(g.seek(fd, 1, 0), Err(Errno::Notcapable));
    assert_eq!(g.open("f", DIRECTORY), Err(Errno::Notdir));
    let directory = g.open_directory(".").unwrap();
    assert_eq!(g.read(directory, 1), Err(Errno::Isdir));
    assert_eq!(g.open_as((fd, 0), "f", (0, 0), (0, 0)), Err(Errno::Notdir));
    g.set_rights(directory, rights::PATH_OPEN, 0).unwrap();
    assert_eq!(g.open_as((directory, 0), "new", (CREAT, 0), (ALL, 0)), Err(Errno::Notcapable));
    assert_eq!(g.open_as((directory, 0), "f", (0, 0), (rights::FD_READ, 0)), Err(Errno::Notcapable));
    assert!(!stage.at("new").exists());
    // One that is only to be read, by the host and by the container's own account.
    for (access, read_only) in [(Access::ReadOnly, false), (Access::ReadWrite, true)] {
        let mut stage = Stage::with(Builder::new().volume("/", 7, access), read_only);
        fs::write(stage.at("f"), "text").unwrap();
        let g = &mut stage.guest;
        assert_eq!(g.slurp("f").unwrap(), b"text");
        for refused in [
            g.open("f", 0),
            g.open("f", TRUNC),
            g.open("new", CREAT),
            g.mkdir("d").map(|()| 0),
            g.unlink("f").map(|()| 0),
            g.rename("f", "g").map(|()| 0),
            g.symlink("f", "l").map(|()| 0),
        ] {
            assert_eq!(refused, Err(Errno::Rofs));
        }
    }
}

#[test]
fn what_was_open_is_open_again_when_the_host_has_forgotten_it() {
    let mut stage = Stage::new();
    stage.guest.mkdir("d").unwrap();
    stage.guest.make("d/f", b"before, and after");
    let fd = stage.guest.open("d/f", 0).unwrap();
    assert_eq!(stage.guest.read(fd, 6).unwrap(), b"before");
    stage.volumes.borrow_mut().forget();
    assert_eq!(stage.guest.read(fd, 100).unwrap(), b", and after");
    assert_eq!(stage.guest.write(fd, b"!"), Ok(1));
    assert_eq!(fs::read(stage.at("d/f")).unwrap(), b"before, and after!");
    // Every number is given back.
    for _ in 0..2000 {
        let fd = stage.guest.open("d/f", 0).unwrap();
        stage.guest.close(fd).unwrap();
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 200, "{open} open files");
}
