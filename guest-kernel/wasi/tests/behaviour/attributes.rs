//! `$filestat` and times.

use sentient_wasi::Errno;

use crate::guest::{CREAT, FOLLOW, Guest, ROOT, done};

const T0: u64 = 1_700_000_000_000_000_000;
const ATIM: u32 = 1;
const ATIM_NOW: u32 = 2;
const MTIM: u32 = 4;
const MTIM_NOW: u32 = 8;

fn set_times(g: &mut Guest, fd: u32, atim: u64, mtim: u64, flags: u32) -> Result<(), Errno> {
    done(g.wasi.fd_filestat_set_times(&mut g.host, &mut g.mem, fd, atim, mtim, flags))
}

#[test]
fn a_new_file_has_one_link_no_bytes_and_the_time_of_now() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    let stat = g.fstat(fd).unwrap();
    assert_eq!((stat.filetype, stat.nlink, stat.size), (4, 1, 0));
    assert_eq!((stat.atim, stat.mtim, stat.ctim), (T0, T0, T0));
    assert_eq!(stat, g.stat("f").unwrap());
    assert_ne!(stat.ino, g.stat(".").unwrap().ino);
    assert_eq!(stat.dev, g.stat(".").unwrap().dev);
}

#[test]
fn writing_and_cutting_move_the_modification_time() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.host.realtime = T0 + 5;
    g.write(fd, b"x").unwrap();
    let stat = g.fstat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim, stat.ctim), (T0, T0 + 5, T0 + 5));
    g.host.realtime = T0 + 9;
    g.truncate(fd, 0).unwrap();
    assert_eq!(g.fstat(fd).unwrap().mtim, T0 + 9);
}

#[test]
fn reading_moves_the_access_time_once_after_a_change() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    let fd = g.open("f", 0).unwrap();
    g.host.realtime = T0 + 5;
    g.read(fd, 1).unwrap();
    assert_eq!(g.fstat(fd).unwrap().atim, T0 + 5);
    g.host.realtime = T0 + 9;
    let calls = g.host.clock_calls;
    g.read(fd, 1).unwrap();
    assert_eq!(g.fstat(fd).unwrap().atim, T0 + 5);
    assert_eq!(g.host.clock_calls, calls);
}

#[test]
fn making_and_removing_names_moves_the_directorys_time() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    for (offset, change) in [
        (1, (|g: &mut Guest| g.make("d/f", b"")) as fn(&mut Guest)),
        (2, |g| g.link("d/f", "d/g").unwrap()),
        (3, |g| g.rename("d/g", "d/h").unwrap()),
        (4, |g| g.unlink("d/h").unwrap()),
        (5, |g| g.symlink("f", "d/l").unwrap()),
        (6, |g| g.mkdir("d/e").unwrap()),
        (7, |g| g.rmdir("d/e").unwrap()),
    ] {
        g.host.realtime = T0 + offset;
        change(&mut g);
        assert_eq!(g.stat("d").unwrap().mtim, T0 + offset);
    }
}

#[test]
fn a_new_name_moves_the_files_change_time_alone() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.host.realtime = T0 + 5;
    g.link("f", "g").unwrap();
    let stat = g.stat("f").unwrap();
    assert_eq!((stat.mtim, stat.ctim), (T0, T0 + 5));
}

#[test]
fn times_are_set_to_what_is_given_or_to_now() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.host.realtime = T0 + 7;
    set_times(&mut g, fd, 11, 22, ATIM | MTIM).unwrap();
    let stat = g.fstat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim, stat.ctim), (11, 22, T0 + 7));
    set_times(&mut g, fd, 33, 44, ATIM_NOW).unwrap();
    let stat = g.fstat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim), (T0 + 7, 22));
    set_times(&mut g, fd, 33, 44, ATIM | MTIM_NOW).unwrap();
    let stat = g.fstat(fd).unwrap();
    assert_eq!((stat.atim, stat.mtim), (33, T0 + 7));
}

#[test]
fn setting_no_time_changes_nothing() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    let before = g.fstat(fd).unwrap();
    g.host.realtime = T0 + 7;
    set_times(&mut g, fd, 11, 22, 0).unwrap();
    assert_eq!(g.fstat(fd).unwrap(), before);
}

#[test]
fn a_time_both_given_and_now_is_einval() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(set_times(&mut g, fd, 1, 1, ATIM | ATIM_NOW), Err(Errno::Inval));
    assert_eq!(set_times(&mut g, fd, 1, 1, MTIM | MTIM_NOW), Err(Errno::Inval));
    assert_eq!(set_times(&mut g, fd, 1, 1, 16), Err(Errno::Inval));
    assert_eq!(set_times(&mut g, 1, 1, 1, ATIM), Err(Errno::Inval));
    assert_eq!(set_times(&mut g, ROOT, 5, 6, ATIM | MTIM), Ok(()));
    assert_eq!(g.stat(".").unwrap().mtim, 6);
}

#[test]
fn times_are_set_by_path_with_and_without_following() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.symlink("f", "l").unwrap();
    let mut set = |flags, mtim| {
        g.put(0x1000, b"l");
        let (host, mem) = (&mut g.host, &mut g.mem);
        done(g.wasi.path_filestat_set_times(host, mem, ROOT, flags, 0x1000, 1, 0, mtim, MTIM))
    };
    set(FOLLOW, 111).unwrap();
    set(0, 222).unwrap();
    assert_eq!(set(2, 0), Err(Errno::Inval));
    assert_eq!(g.stat("f").unwrap().mtim, 111);
    assert_eq!(g.lstat("l").unwrap().mtim, 222);
}

#[test]
fn inode_numbers_are_not_zero_and_differ() {
    let mut g = Guest::new();
    let mut seen = vec![g.stat(".").unwrap().ino];
    for name in ["a", "b", "c"] {
        g.make(name, b"");
        seen.push(g.stat(name).unwrap().ino);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    assert!(!seen.contains(&0));
}
