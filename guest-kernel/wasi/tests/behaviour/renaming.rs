//! `path_rename`, by POSIX rename().

use sentient_wasi::Errno;

use crate::guest::{Guest, ROOT};

#[test]
fn a_file_moves_with_its_bytes() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("a", b"bytes");
    let ino = g.stat("a").unwrap().ino;
    g.rename("a", "d/b").unwrap();
    assert_eq!(g.stat("a"), Err(Errno::Noent));
    assert_eq!(g.stat("d/b").unwrap().ino, ino);
    assert_eq!(g.slurp("d/b").unwrap(), b"bytes");
}

#[test]
fn a_file_replaces_a_file_whose_descriptors_stay_good() {
    let mut g = Guest::new();
    g.make("a", b"new");
    g.make("b", b"old");
    let old = g.open("b", 0).unwrap();
    g.rename("a", "b").unwrap();
    assert_eq!(g.slurp("b").unwrap(), b"new");
    assert_eq!(g.read(old, 10), Ok(b"old".to_vec()));
    g.close(old).unwrap();
    assert_eq!(g.wasi.usage().inodes, 2);
}

#[test]
fn a_directory_moves_with_what_is_in_it() {
    let mut g = Guest::new();
    g.mkdir("a").unwrap();
    g.mkdir("b").unwrap();
    g.make("a/f", b"x");
    g.make("b/sibling", b"y");
    g.rename("a", "b/c").unwrap();
    assert_eq!(g.slurp("b/c/f").unwrap(), b"x");
    assert_eq!(g.slurp("b/c/../sibling").unwrap(), b"y");
}

#[test]
fn a_directory_replaces_an_empty_directory_alone() {
    let mut g = Guest::new();
    g.mkdir("a").unwrap();
    g.make("a/f", b"");
    g.mkdir("empty").unwrap();
    g.mkdir("full").unwrap();
    g.make("full/x", b"");
    g.make("file", b"");
    assert_eq!(g.rename("a", "full"), Err(Errno::Notempty));
    assert_eq!(g.rename("a", "file"), Err(Errno::Notdir));
    assert_eq!(g.rename("file", "empty"), Err(Errno::Isdir));
    assert_eq!(g.rename("a", "empty"), Ok(()));
    assert_eq!(g.names("empty"), ["f"]);
}

#[test]
fn a_directory_cannot_move_into_itself() {
    let mut g = Guest::new();
    g.mkdir("a").unwrap();
    g.mkdir("a/b").unwrap();
    assert_eq!(g.rename("a", "a/c"), Err(Errno::Inval));
    assert_eq!(g.rename("a", "a/b/c"), Err(Errno::Inval));
    assert_eq!(g.rename("a/b", "a"), Err(Errno::Notempty));
}

#[test]
fn dots_at_the_end_are_einval() {
    let mut g = Guest::new();
    g.mkdir("a").unwrap();
    assert_eq!(g.rename("a/.", "b"), Err(Errno::Inval));
    assert_eq!(g.rename("a", "a/.."), Err(Errno::Inval));
    assert_eq!(g.rename(".", "b"), Err(Errno::Inval));
}

#[test]
fn two_names_of_one_file_stay_both() {
    // POSIX rename(): old and new the same file: "shall return successfully and perform no other
    // action".
    let mut g = Guest::new();
    g.make("a", b"");
    g.link("a", "b").unwrap();
    assert_eq!(g.rename("a", "b"), Ok(()));
    assert_eq!(g.rename("a", "a"), Ok(()));
    assert_eq!(g.names("."), ["a", "b"]);
}

#[test]
fn a_slash_at_the_end_is_for_directories_alone() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.mkdir("d").unwrap();
    assert_eq!(g.rename("f/", "g"), Err(Errno::Notdir));
    assert_eq!(g.rename("f", "g/"), Err(Errno::Notdir));
    assert_eq!(g.rename("d/", "e/"), Ok(()));
    assert_eq!(g.names("."), ["f", "e"]);
}

#[test]
fn a_symbolic_link_moves_as_itself() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.symlink("f", "l").unwrap();
    g.symlink("nowhere", "m").unwrap();
    g.rename("l", "m").unwrap();
    assert_eq!(g.readlink("m", 100).unwrap(), "f");
    assert_eq!(g.lstat("l"), Err(Errno::Noent));
}

#[test]
fn a_name_moves_between_two_descriptors() {
    let mut g = Guest::new();
    g.mkdir("a").unwrap();
    g.mkdir("b").unwrap();
    g.make("a/f", b"moved");
    let (a, b) = (g.open_directory("a").unwrap(), g.open_directory("b").unwrap());
    g.rename_at((a, "f"), (b, "g")).unwrap();
    assert_eq!(g.slurp("b/g").unwrap(), b"moved");
    assert_eq!(g.rename_at((a, "f"), (b, "g")), Err(Errno::Noent));
    assert_eq!(g.rename_at((ROOT, "b/g"), (a, "../g")), Err(Errno::Perm));
}

#[test]
fn moving_changes_neither_the_inodes_nor_the_space_in_use() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("name", b"");
    g.make("d/name", b"");
    let before = g.wasi.usage();
    g.rename("name", "eman").unwrap();
    g.rename("eman", "d/eman").unwrap();
    assert_eq!(g.wasi.usage(), before);
    g.rename("d/eman", "d/name").unwrap();
    g.unlink("d/name").unwrap();
    g.rmdir("d").unwrap();
    assert_eq!(g.wasi.usage(), Guest::new().wasi.usage());
}
