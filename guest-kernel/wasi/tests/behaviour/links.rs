//! Symbolic and hard links.

use sentient_wasi::{Builder, Errno, Limits, rights};

use crate::guest::{CREAT, EXCL, FOLLOW, Guest, ROOT};

const SYMLINK: u8 = 7;

#[test]
fn a_symbolic_link_is_followed_on_the_way_and_at_the_end() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("d/f", b"bytes");
    g.symlink("d", "to-d").unwrap();
    g.symlink("to-d/f", "to-f").unwrap();
    assert_eq!(g.slurp("to-d/f").unwrap(), b"bytes");
    assert_eq!(g.slurp("to-f").unwrap(), b"bytes");
}

#[test]
fn a_link_leads_from_the_directory_it_is_in() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("f", b"up");
    g.symlink("../f", "d/up").unwrap();
    assert_eq!(g.slurp("d/up").unwrap(), b"up");
}

#[test]
fn stat_follows_and_lstat_does_not() {
    let mut g = Guest::new();
    g.make("f", b"12345");
    g.symlink("f", "l").unwrap();
    assert_eq!(g.stat("l").unwrap().size, 5);
    let link = g.lstat("l").unwrap();
    assert_eq!((link.filetype, link.size), (SYMLINK, 1));
}

#[test]
fn a_slash_after_a_link_follows_it_even_without_being_asked() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("f", b"");
    g.symlink("d", "to-d").unwrap();
    g.symlink("f", "to-f").unwrap();
    assert_eq!(g.lstat("to-d/").unwrap().ino, g.stat("d").unwrap().ino);
    assert_eq!(g.lstat("to-f/"), Err(Errno::Notdir));
}

#[test]
fn opening_a_link_without_following_is_eloop() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.symlink("f", "l").unwrap();
    assert_eq!(g.open_as((ROOT, 0), "l", (0, 0), (rights::FD_READ, 0)), Err(Errno::Loop));
    assert!(g.open_as((ROOT, FOLLOW), "l", (0, 0), (rights::FD_READ, 0)).is_ok());
}

#[test]
fn creating_through_a_link_that_leads_to_nothing_makes_what_it_names() {
    let mut g = Guest::new();
    g.symlink("new", "l").unwrap();
    assert_eq!(g.stat("l"), Err(Errno::Noent));
    assert_eq!(g.open("l", CREAT | EXCL), Err(Errno::Exist));
    g.make("l", b"made");
    assert_eq!(g.slurp("new").unwrap(), b"made");
    assert_eq!(g.lstat("l").unwrap().filetype, SYMLINK);
}

#[test]
fn links_in_a_circle_are_eloop() {
    let mut g = Guest::new();
    g.symlink("b", "a").unwrap();
    g.symlink("a", "b").unwrap();
    g.symlink("self/x", "self").unwrap();
    assert_eq!(g.stat("a"), Err(Errno::Loop));
    assert_eq!(g.open("self", CREAT), Err(Errno::Loop));
    assert!(g.lstat("a").is_ok());
}

#[test]
fn forty_links_are_followed_and_forty_one_are_eloop() {
    let mut g = Guest::new();
    g.make("l0", b"end");
    for n in 1..=41 {
        g.symlink(format!("l{}", n - 1), &format!("l{n}")).unwrap();
    }
    assert_eq!(g.slurp("l40").unwrap(), b"end");
    assert_eq!(g.stat("l41"), Err(Errno::Loop));
}

#[test]
fn a_link_out_of_the_starting_directory_is_eperm() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("secret", b"");
    g.symlink("../secret", "d/out").unwrap();
    let inside = g.open_directory("d").unwrap();
    assert!(g.stat("d/out").is_ok());
    assert_eq!(g.stat_as(inside, FOLLOW, "out"), Err(Errno::Perm));
    assert_eq!(g.symlink("/secret", "abs"), Err(Errno::Perm));
}

#[test]
fn a_link_target_is_checked_as_a_path_is() {
    let mut g = Guest::new();
    assert_eq!(g.symlink("", "l"), Err(Errno::Noent));
    assert_eq!(g.symlink("a\0b", "l"), Err(Errno::Inval));
    assert_eq!(g.symlink(b"\xff", "l"), Err(Errno::Ilseq));
    assert_eq!(g.symlink("x".repeat(4097), "l"), Err(Errno::Nametoolong));
    assert_eq!(g.symlink("x", "no/l"), Err(Errno::Noent));
    assert_eq!(g.symlink("x", "l/"), Err(Errno::Noent));
    g.mkdir("d").unwrap();
    assert_eq!(g.symlink("x", "d"), Err(Errno::Exist));
    assert_eq!(g.symlink("x", "d/"), Err(Errno::Exist));
}

#[test]
fn a_path_that_links_make_too_long_is_enametoolong() {
    let limits = Limits { path_bytes: 64, ..Limits::default() };
    let mut g = Guest::with(Builder::new().limits(limits));
    g.symlink("./".repeat(31), "l").unwrap();
    assert!(g.stat("l").is_ok());
    assert_eq!(g.stat("l/l/l/l/l"), Err(Errno::Nametoolong));
}

#[test]
fn readlink_gives_the_target_cut_to_the_buffer() {
    let mut g = Guest::new();
    g.symlink("some/where", "l").unwrap();
    assert_eq!(g.readlink("l", 100).unwrap(), "some/where");
    assert_eq!(g.readlink("l", 4).unwrap(), "some");
    assert_eq!(g.readlink("l", 0).unwrap(), "");
    g.make("f", b"");
    assert_eq!(g.readlink("f", 10), Err(Errno::Inval));
    assert_eq!(g.readlink(".", 10), Err(Errno::Inval));
    assert_eq!(g.readlink("none", 10), Err(Errno::Noent));
}

#[test]
fn unlinking_a_link_leaves_what_it_leads_to() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.symlink("d", "l").unwrap();
    assert_eq!(g.rmdir("l"), Err(Errno::Notdir));
    assert_eq!(g.rmdir("l/"), Err(Errno::Notdir));
    assert_eq!(g.unlink("l/"), Err(Errno::Notdir));
    assert_eq!(g.unlink("l"), Ok(()));
    assert!(g.stat("d").is_ok());
}

#[test]
fn a_hard_link_is_the_same_file() {
    let mut g = Guest::new();
    g.make("a", b"one");
    g.link("a", "b").unwrap();
    assert_eq!(g.stat("a").unwrap().ino, g.stat("b").unwrap().ino);
    assert_eq!(g.stat("a").unwrap().nlink, 2);
    g.make("b", b"two");
    assert_eq!(g.slurp("a").unwrap(), b"two");
    g.unlink("a").unwrap();
    assert_eq!(g.slurp("b").unwrap(), b"two");
    assert_eq!(g.stat("b").unwrap().nlink, 1);
}

#[test]
fn a_hard_link_is_refused_where_posix_refuses_it() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("f", b"");
    assert_eq!(g.link("d", "e"), Err(Errno::Perm));
    assert_eq!(g.link(".", "e"), Err(Errno::Perm));
    assert_eq!(g.link("f", "d"), Err(Errno::Exist));
    assert_eq!(g.link("f", "f"), Err(Errno::Exist));
    assert_eq!(g.link("none", "e"), Err(Errno::Noent));
    assert_eq!(g.link("f/", "e"), Err(Errno::Notdir));
    assert_eq!(g.link("f", "e/"), Err(Errno::Noent));
}

#[test]
fn linking_to_a_symbolic_link_follows_only_when_asked() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.symlink("f", "l").unwrap();
    g.link("l", "same-link").unwrap();
    assert_eq!(g.lstat("same-link").unwrap().filetype, SYMLINK);
    g.link_at((ROOT, FOLLOW, "l"), (ROOT, "same-file")).unwrap();
    assert_eq!(g.lstat("same-file").unwrap().ino, g.stat("f").unwrap().ino);
}
