//! Rights: granted no wider than inherited, only ever narrowed, and asked for by every call.

use sentient_wasi::{Errno, rights};

use crate::guest::{ALL, CREAT, CUR, DIRECTORY, FOLLOW, Guest, ROOT, SET, TRUNC, done};

/// Opens an existing file with some rights.
fn open_with(g: &mut Guest, base: u64) -> Result<u32, Errno> {
    g.open_as((ROOT, FOLLOW), "f", (0, 0), (base, 0))
}

#[test]
fn each_right_has_the_bit_of_the_witx() {
    // The order of $rights in typenames.witx.
    let order = [
        rights::FD_DATASYNC,
        rights::FD_READ,
        rights::FD_SEEK,
        rights::FD_FDSTAT_SET_FLAGS,
        rights::FD_SYNC,
        rights::FD_TELL,
        rights::FD_WRITE,
        rights::FD_ADVISE,
        rights::FD_ALLOCATE,
        rights::PATH_CREATE_DIRECTORY,
        rights::PATH_CREATE_FILE,
        rights::PATH_LINK_SOURCE,
        rights::PATH_LINK_TARGET,
        rights::PATH_OPEN,
        rights::FD_READDIR,
        rights::PATH_READLINK,
        rights::PATH_RENAME_SOURCE,
        rights::PATH_RENAME_TARGET,
        rights::PATH_FILESTAT_GET,
        rights::PATH_FILESTAT_SET_SIZE,
        rights::PATH_FILESTAT_SET_TIMES,
        rights::FD_FILESTAT_GET,
        rights::FD_FILESTAT_SET_SIZE,
        rights::FD_FILESTAT_SET_TIMES,
        rights::PATH_SYMLINK,
        rights::PATH_REMOVE_DIRECTORY,
        rights::PATH_UNLINK_FILE,
        rights::POLL_FD_READWRITE,
        rights::SOCK_SHUTDOWN,
        rights::SOCK_ACCEPT,
    ];
    for (bit, right) in order.into_iter().enumerate() {
        assert_eq!(right, 1 << bit);
    }
}

#[test]
fn the_root_has_the_rights_of_a_directory_and_passes_on_those_of_files() {
    let mut g = Guest::new();
    let stat = g.fdstat(ROOT).unwrap();
    assert_eq!((stat.filetype, stat.flags), (3, 0));
    assert_eq!(stat.base, rights::DIRECTORY);
    assert_eq!(stat.inheriting, ALL);
}

#[test]
fn rights_without_meaning_for_the_file_are_dropped() {
    // witx, path_open: fewer rights "if and only if those rights do not apply to the type of file".
    let mut g = Guest::new();
    g.make("f", b"");
    let file = g.open_as((ROOT, 0), "f", (0, 0), (u64::MAX, u64::MAX)).unwrap();
    let stat = g.fdstat(file).unwrap();
    assert_eq!((stat.base, stat.inheriting), (rights::FILE, 0));
    let dir = g.open_as((ROOT, 0), ".", (DIRECTORY, 0), (u64::MAX, u64::MAX)).unwrap();
    let stat = g.fdstat(dir).unwrap();
    assert_eq!((stat.base, stat.inheriting), (rights::DIRECTORY, ALL));
}

#[test]
fn a_descriptor_has_the_rights_asked_for_and_no_more() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    let reader = open_with(&mut g, rights::FD_READ).unwrap();
    assert_eq!(g.fdstat(reader).unwrap().base, rights::FD_READ);
    assert_eq!(g.read(reader, 1), Ok(b"a".to_vec()));
    assert_eq!(g.write(reader, b"x"), Err(Errno::Notcapable));
    assert_eq!(g.pread(reader, 0, 1), Err(Errno::Notcapable));
    assert_eq!(g.seek(reader, 0, SET), Err(Errno::Notcapable));
    assert_eq!(g.tell(reader), Err(Errno::Notcapable));
    assert_eq!(g.fstat(reader), Err(Errno::Notcapable));
    assert_eq!(g.truncate(reader, 0), Err(Errno::Notcapable));
    assert_eq!(g.allocate(reader, 0, 1), Err(Errno::Notcapable));
    assert_eq!(g.set_flags(reader, 0), Err(Errno::Notcapable));
    let writer = open_with(&mut g, rights::FD_WRITE).unwrap();
    assert_eq!(g.read(writer, 1), Err(Errno::Notcapable));
    assert_eq!(g.write(writer, b"x"), Ok(1));
}

#[test]
fn the_right_to_seek_includes_to_tell_and_tell_includes_seeking_nowhere() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    let seeker = open_with(&mut g, rights::FD_SEEK).unwrap();
    assert_eq!(g.tell(seeker), Ok(0));
    let teller = open_with(&mut g, rights::FD_TELL).unwrap();
    assert_eq!(g.seek(teller, 0, CUR), Ok(0));
    assert_eq!(g.seek(teller, 1, CUR), Err(Errno::Notcapable));
    assert_eq!(g.seek(teller, 0, SET), Err(Errno::Notcapable));
}

#[test]
fn rights_can_be_taken_away_and_not_be_given_back() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    let fd = g.open("f", 0).unwrap();
    g.set_rights(fd, rights::FD_READ, 0).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().base, rights::FD_READ);
    assert_eq!(g.set_rights(fd, rights::FD_READ | rights::FD_WRITE, 0), Err(Errno::Notcapable));
    assert_eq!(g.set_rights(fd, 0, rights::FD_READ), Err(Errno::Notcapable));
    assert_eq!(g.fdstat(fd).unwrap().base, rights::FD_READ);
    assert_eq!(g.set_rights(fd, 0, 0), Ok(()));
    assert_eq!(g.read(fd, 1), Err(Errno::Notcapable));
}

#[test]
fn a_directory_passes_on_no_more_than_it_inherits() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    g.set_rights(ROOT, rights::DIRECTORY, rights::FD_READ | rights::PATH_OPEN).unwrap();
    assert_eq!(open_with(&mut g, rights::FD_WRITE), Err(Errno::Notcapable));
    assert!(open_with(&mut g, rights::FD_READ).is_ok());
    let make = g.open_as((ROOT, 0), "new", (CREAT, 0), (rights::FD_WRITE, 0));
    assert_eq!(make, Err(Errno::Notcapable));
    assert_eq!(g.stat("new"), Err(Errno::Noent));
    let dir = g.open_as((ROOT, 0), ".", (DIRECTORY, 0), (rights::PATH_OPEN, ALL));
    assert_eq!(dir, Err(Errno::Notcapable));
    let dir = g.open_as((ROOT, 0), ".", (DIRECTORY, 0), (rights::PATH_OPEN, rights::FD_READ));
    let dir = dir.unwrap();
    assert!(g.open_as((dir, 0), "f", (0, 0), (rights::FD_READ, 0)).is_ok());
    assert_eq!(g.mkdir_at(dir, "x"), Err(Errno::Notcapable));
}

#[test]
fn creating_and_truncating_need_rights_to_the_directory() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    g.set_rights(ROOT, rights::PATH_OPEN, ALL).unwrap();
    assert_eq!(g.open("new", CREAT), Err(Errno::Notcapable));
    assert_eq!(g.open("f", TRUNC), Err(Errno::Notcapable));
    assert!(g.open("f", 0).is_ok());
}

#[test]
fn synchronous_flags_need_the_right_to_sync() {
    let mut g = Guest::new();
    g.make("f", b"");
    let inheritable = ALL & !rights::FD_SYNC & !rights::FD_DATASYNC;
    g.set_rights(ROOT, rights::DIRECTORY, inheritable).unwrap();
    for flag in [2, 8, 16] {
        let opened = g.open_as((ROOT, 0), "f", (0, flag), (rights::FD_READ, 0));
        assert_eq!(opened, Err(Errno::Notcapable));
    }
    assert!(g.open_as((ROOT, 0), "f", (0, 1 | 4), (rights::FD_READ, 0)).is_ok());
}

#[test]
fn a_directory_without_rights_does_nothing() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.set_rights(ROOT, 0, 0).unwrap();
    let refused = Err(Errno::Notcapable);
    assert_eq!(g.open("f", 0).map(|_| ()), refused);
    assert_eq!(g.mkdir("d"), refused);
    assert_eq!(g.rmdir("d"), refused);
    assert_eq!(g.unlink("f"), refused);
    assert_eq!(g.rename("f", "g"), refused);
    assert_eq!(g.link("f", "g"), refused);
    assert_eq!(g.symlink("f", "g"), refused);
    assert_eq!(g.readlink("f", 10).map(|_| ()), refused);
    assert_eq!(g.stat("f").map(|_| ()), refused);
    assert_eq!(g.fstat(ROOT).map(|_| ()), refused);
    assert_eq!(g.readdir(ROOT, 10, 0).map(|_| ()), refused);
    assert_eq!(done(g.wasi.fd_sync(&mut g.host, &mut g.mem, ROOT)), refused);
    assert_eq!(done(g.wasi.fd_datasync(&mut g.host, &mut g.mem, ROOT)), refused);
}
