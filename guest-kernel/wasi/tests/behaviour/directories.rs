//! Making, removing and listing directories.

use sentient_wasi::Errno;

use crate::guest::{CREAT, DATA, Guest, ROOT};

#[test]
fn a_directory_is_made_once() {
    let mut g = Guest::new();
    assert_eq!(g.mkdir("d"), Ok(()));
    assert_eq!(g.mkdir("d"), Err(Errno::Exist));
    assert_eq!(g.mkdir("d/"), Err(Errno::Exist));
    assert_eq!(g.mkdir("e/"), Ok(()));
    assert_eq!(g.mkdir("."), Err(Errno::Exist));
    assert_eq!(g.mkdir("d/.."), Err(Errno::Exist));
    assert_eq!(g.mkdir("no/d"), Err(Errno::Noent));
}

#[test]
fn only_an_empty_directory_is_removed() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("d/f", b"");
    assert_eq!(g.rmdir("d"), Err(Errno::Notempty));
    g.unlink("d/f").unwrap();
    assert_eq!(g.rmdir("d"), Ok(()));
    assert_eq!(g.rmdir("d"), Err(Errno::Noent));
}

#[test]
fn removing_takes_the_call_for_its_kind() {
    // witx: path_unlink_file "returns errno::isdir if the path refers to a directory".
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("f", b"");
    assert_eq!(g.unlink("d"), Err(Errno::Isdir));
    assert_eq!(g.rmdir("f"), Err(Errno::Notdir));
    assert_eq!(g.unlink("f/"), Err(Errno::Notdir));
    assert_eq!(g.rmdir("d/"), Ok(()));
}

#[test]
fn a_directory_cannot_be_removed_by_its_dots() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    assert_eq!(g.rmdir("d/."), Err(Errno::Inval));
    assert_eq!(g.rmdir("."), Err(Errno::Inval));
    assert_eq!(g.unlink("."), Err(Errno::Isdir));
    assert_eq!(g.rmdir(".."), Err(Errno::Perm));
}

#[test]
fn a_listing_starts_with_the_dots_and_gives_types_and_inodes() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("d/f", b"");
    g.mkdir("d/e").unwrap();
    g.symlink("f", "d/l").unwrap();
    let fd = g.open_directory("d").unwrap();
    let used = g.readdir(fd, 4096, 0).unwrap();
    let entries = g.entries(used);
    let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.filetype)).collect();
    assert_eq!(seen, [(".", 3), ("..", 3), ("f", 4), ("e", 3), ("l", 7)]);
    assert_eq!(entries[0].ino, g.stat("d").unwrap().ino);
    assert_eq!(entries[1].ino, g.stat(".").unwrap().ino);
    assert_eq!(entries[2].ino, g.stat("d/f").unwrap().ino);
}

#[test]
fn a_cookie_goes_on_after_its_entry() {
    let mut g = Guest::new();
    for name in ["a", "b", "c"] {
        g.make(name, b"");
    }
    let used = g.readdir(ROOT, 4096, 0).unwrap();
    for (index, entry) in g.entries(used).clone().into_iter().enumerate() {
        let used = g.readdir(ROOT, 4096, entry.next).unwrap();
        assert_eq!(g.entries(used).len(), 4 - index);
    }
}

#[test]
fn the_last_entry_is_cut_off_where_the_buffer_ends() {
    // witx, fd_readdir: "potentially truncating the last directory entry".
    let mut g = Guest::new();
    g.make("a-long-name", b"");
    g.mem[DATA as usize..DATA as usize + 200].fill(0xee);
    assert_eq!(g.readdir(ROOT, 80, 0), Ok(80));
    assert_eq!(g.entries(80).len(), 2);
    assert_eq!(g.bytes(DATA + 80, 1), [0xee]);
    assert_eq!(g.readdir(ROOT, 5, 0), Ok(5));
    assert_eq!(g.readdir(ROOT, 0, 0), Ok(0));
    let all = 25 + 26 + 24 + 11;
    assert_eq!(g.readdir(ROOT, all, 0), Ok(all));
    assert_eq!(g.readdir(ROOT, all + 1, 0), Ok(all));
}

#[test]
fn a_directory_is_listed_whole_through_a_small_buffer() {
    let mut g = Guest::new();
    let names: Vec<String> = (0..100).map(|n| format!("file{n}")).collect();
    for name in &names {
        g.make(name, b"");
    }
    let mut seen = Vec::new();
    let mut cookie = 0;
    loop {
        let used = g.readdir(ROOT, 100, cookie).unwrap();
        let entries = g.entries(used);
        let Some(last) = entries.last() else { break };
        cookie = last.next;
        seen.extend(entries.into_iter().map(|entry| entry.name));
    }
    assert_eq!(&seen[2..], names);
}

#[test]
fn a_listing_survives_removals_and_additions() {
    let mut g = Guest::new();
    for name in ["a", "b", "c", "d", "e"] {
        g.make(name, b"");
    }
    let used = g.readdir(ROOT, 4096, 0).unwrap();
    let after_b = g.entries(used)[3].next;
    for name in ["a", "b", "d"] {
        g.unlink(name).unwrap();
    }
    g.make("f", b"");
    let used = g.readdir(ROOT, 4096, after_b).unwrap();
    let names: Vec<_> = g.entries(used).into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["c", "e", "f"]);
}

#[test]
fn renaming_each_entry_while_listing_comes_to_an_end() {
    let mut g = Guest::new();
    for name in ["a", "b", "c"] {
        g.make(name, b"");
    }
    let mut cookie = 2;
    let mut renamed = 0;
    loop {
        let used = g.readdir(ROOT, 30, cookie).unwrap();
        let Some(entry) = g.entries(used).first().cloned() else {
            break;
        };
        g.rename(&entry.name, &format!("new-{}", entry.name)).unwrap();
        cookie = entry.next;
        renamed += 1;
    }
    assert_eq!(renamed, 3);
    assert_eq!(g.names("."), ["new-a", "new-b", "new-c"]);
}

#[test]
fn a_cookie_beyond_the_end_lists_nothing() {
    let mut g = Guest::new();
    assert_eq!(g.readdir(ROOT, 4096, u64::MAX), Ok(0));
    assert_eq!(g.readdir(ROOT, 4096, 2), Ok(0));
}

#[test]
fn a_directory_that_is_gone_lists_its_dots_alone() {
    let mut g = Guest::new();
    g.mkdir("p").unwrap();
    g.mkdir("p/d").unwrap();
    let fd = g.open_directory("p/d").unwrap();
    g.rmdir("p/d").unwrap();
    g.rmdir("p").unwrap();
    g.make("takes-the-place-of-p", b"");
    let used = g.readdir(fd, 4096, 0).unwrap();
    assert_eq!(g.entries(used).len(), 2);
    assert_eq!(g.close(fd), Ok(()));
    assert_eq!(g.wasi.usage().inodes, 2);
}

#[test]
fn only_directories_are_listed() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.readdir(fd, 100, 0), Err(Errno::Notdir));
    assert_eq!(g.readdir(0, 100, 0), Err(Errno::Notdir));
    assert_eq!(g.readdir(77, 100, 0), Err(Errno::Badf));
}
