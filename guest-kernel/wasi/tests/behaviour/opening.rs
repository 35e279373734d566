//! `path_open`, and what a path may be.

use sentient_wasi::{Access, Builder, Errno, Limits, rights};

use crate::guest::{ALL, CREAT, DIRECTORY, EXCL, FOLLOW, Guest, ROOT, TRUNC};

#[test]
fn a_missing_file_is_enoent_without_creat() {
    let mut g = Guest::new();
    assert_eq!(g.open("f", 0), Err(Errno::Noent));
    assert_eq!(g.open("f", TRUNC), Err(Errno::Noent));
    assert_eq!(g.open("no/f", CREAT), Err(Errno::Noent));
}

#[test]
fn creat_opens_what_is_there_and_excl_refuses_it() {
    let mut g = Guest::new();
    g.make("f", b"here");
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.fstat(fd).unwrap().size, 4);
    assert_eq!(g.open("f", CREAT | EXCL), Err(Errno::Exist));
    assert!(g.open("new", CREAT | EXCL).is_ok());
}

#[test]
fn the_lowest_free_number_is_given() {
    let mut g = Guest::new();
    assert_eq!(g.open("a", CREAT), Ok(4));
    assert_eq!(g.open("b", CREAT), Ok(5));
    g.close(4).unwrap();
    assert_eq!(g.open("c", CREAT), Ok(4));
}

#[test]
fn the_directory_flag_takes_directories_alone() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.mkdir("d").unwrap();
    assert_eq!(g.open("f", DIRECTORY), Err(Errno::Notdir));
    assert!(g.open("d", DIRECTORY).is_ok());
    assert_eq!(g.open("d", DIRECTORY | CREAT), Err(Errno::Inval));
}

#[test]
fn a_directory_opened_to_be_written_is_eisdir() {
    // POSIX open(): "[EISDIR] The named file is a directory and oflag includes O_WRONLY or O_RDWR,
    // or includes O_CREAT without O_DIRECTORY".
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    assert_eq!(g.open("d", 0), Err(Errno::Isdir));
    assert_eq!(g.open("d", CREAT), Err(Errno::Isdir));
    assert_eq!(g.open("d", TRUNC), Err(Errno::Isdir));
    assert!(g.open_to_read("d").is_ok());
}

#[test]
fn a_slash_at_the_end_takes_directories_alone() {
    let mut g = Guest::new();
    g.make("f", b"");
    g.mkdir("d").unwrap();
    assert_eq!(g.open("f/", 0), Err(Errno::Notdir));
    assert_eq!(g.open("new/", CREAT), Err(Errno::Isdir));
    assert_eq!(g.open("new/", 0), Err(Errno::Noent));
    assert!(g.open_to_read("d/").is_ok());
    assert!(g.open_to_read("d///").is_ok());
}

#[test]
fn dots_and_repeated_slashes_are_walked_through() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.mkdir("d/e").unwrap();
    g.make("d/e/f", b"found");
    assert_eq!(g.slurp("./d//e/./../../d/e/f").unwrap(), b"found");
    assert!(g.open_to_read(".").is_ok());
}

#[test]
fn a_path_through_a_file_is_enotdir() {
    let mut g = Guest::new();
    g.make("f", b"");
    assert_eq!(g.open("f/x", CREAT), Err(Errno::Notdir));
    assert_eq!(g.open("f/..", 0), Err(Errno::Notdir));
}

#[test]
fn no_path_leaves_the_directory_it_starts_from() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    g.make("secret", b"");
    let inside = g.open_directory("d").unwrap();
    for path in ["..", "../secret", "./../secret", "x/../../secret", "/secret", "/"] {
        let result = g.open_as((inside, FOLLOW), path, (0, 0), (rights::FD_READ, 0));
        let expected = if path.starts_with('x') { Errno::Noent } else { Errno::Perm };
        assert_eq!(result, Err(expected), "{path}");
    }
    assert_eq!(g.open_to_read(".."), Err(Errno::Perm));
    assert_eq!(g.open_to_read("d/../.."), Err(Errno::Perm));
}

#[test]
fn paths_that_are_no_paths_have_errors_of_their_own() {
    let mut g = Guest::new();
    assert_eq!(g.open("", CREAT), Err(Errno::Noent));
    assert_eq!(g.open("a\0b", CREAT), Err(Errno::Inval));
    assert_eq!(g.open(b"a\xff", CREAT), Err(Errno::Ilseq));
    assert_eq!(g.open("x".repeat(256), CREAT), Err(Errno::Nametoolong));
    assert!(g.open("x".repeat(255), CREAT).is_ok());
    assert_eq!(g.open("./".repeat(2049), 0), Err(Errno::Nametoolong));
    assert!(g.open_to_read("./".repeat(2048)).is_ok());
}

#[test]
fn the_limits_on_paths_and_names_are_the_containers() {
    let limits = Limits { path_bytes: 10, name_bytes: 4, ..Limits::default() };
    let mut g = Guest::with(Builder::new().limits(limits));
    assert_eq!(g.open("abcde", CREAT), Err(Errno::Nametoolong));
    assert_eq!(g.open("./././abcd", CREAT), Ok(4));
    assert_eq!(g.open("././././abc", CREAT), Err(Errno::Nametoolong));
}

#[test]
fn unknown_flags_are_einval() {
    let mut g = Guest::new();
    let mut open =
        |dirflags, oflags, fdflags| g.open_as((ROOT, dirflags), "f", (oflags, fdflags), (ALL, ALL));
    assert_eq!(open(2, CREAT, 0), Err(Errno::Inval));
    assert_eq!(open(0, 16 | CREAT, 0), Err(Errno::Inval));
    assert_eq!(open(0, CREAT, 32), Err(Errno::Inval));
    assert_eq!(open(0, 0x1_0000 | CREAT, 0), Err(Errno::Inval));
    assert!(open(1, CREAT, 31).is_ok());
}

#[test]
fn a_file_or_stream_is_no_place_to_open_from() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    for (start, errno) in [(fd, Errno::Notdir), (0, Errno::Notdir), (99, Errno::Badf)] {
        assert_eq!(g.open_as((start, 0), "x", (CREAT, 0), (ALL, ALL)), Err(errno));
    }
}

#[test]
fn paths_start_from_the_directory_given() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    let dir = g.open_directory("d").unwrap();
    g.open_as((dir, 0), "f", (CREAT, 0), (ALL, 0)).unwrap();
    assert!(g.stat("d/f").is_ok());
    g.rename("d", "moved").unwrap();
    g.open_as((dir, 0), "g", (CREAT, 0), (ALL, 0)).unwrap();
    assert_eq!(g.names("moved"), ["f", "g"]);
}

#[test]
fn nothing_can_be_made_in_a_directory_that_is_gone() {
    let mut g = Guest::new();
    g.mkdir("d").unwrap();
    let dir = g.open_directory("d").unwrap();
    g.rmdir("d").unwrap();
    g.make("f", b"");
    assert_eq!(g.open_as((dir, 0), "f", (CREAT, 0), (ALL, 0)), Err(Errno::Noent));
    assert_eq!(g.mkdir_at(dir, "e"), Err(Errno::Noent));
    assert_eq!(g.rename_at((ROOT, "f"), (dir, "f")), Err(Errno::Noent));
    assert_eq!(g.link_at((ROOT, 0, "f"), (dir, "f")), Err(Errno::Noent));
    assert_eq!(g.stat_as(dir, 0, ".").unwrap().nlink, 0);
}

#[test]
fn a_read_only_preopen_can_be_read() {
    let mut g = Guest::with(Builder::new().file("data/f", b"bytes").preopen("/data", Access::ReadOnly));
    assert_eq!(g.slurp("f").unwrap(), b"bytes");
    assert_eq!(g.names("."), ["f"]);
}

#[test]
fn any_change_through_a_read_only_preopen_is_erofs() {
    let mut g = Guest::with(
        Builder::new()
            .file("data/f", b"bytes")
            .file("data/d/g", b"more")
            .preopen("data", Access::ReadOnly)
            .preopen("tmp", Access::ReadWrite),
    );
    let writable = 4;
    assert_eq!(g.open("f", 0), Err(Errno::Rofs));
    assert_eq!(g.open("new", CREAT), Err(Errno::Rofs));
    let read = rights::FD_READ | rights::FD_FILESTAT_SET_SIZE;
    assert_eq!(g.open_as((ROOT, 0), "f", (TRUNC, 0), (read, 0)), Err(Errno::Rofs));
    let fd = g.open_as((ROOT, 0), "f", (0, 0), (read, 0)).unwrap();
    assert_eq!(g.truncate(fd, 0), Err(Errno::Rofs));
    assert_eq!(g.mkdir("e"), Err(Errno::Rofs));
    assert_eq!(g.unlink("f"), Err(Errno::Rofs));
    assert_eq!(g.rmdir("d"), Err(Errno::Rofs));
    assert_eq!(g.symlink("f", "l"), Err(Errno::Rofs));
    assert_eq!(g.link("f", "l"), Err(Errno::Rofs));
    assert_eq!(g.rename("f", "l"), Err(Errno::Rofs));
    assert_eq!(g.link_at((ROOT, 0, "f"), (writable, "l")), Err(Errno::Xdev));
    assert_eq!(g.rename_at((ROOT, "f"), (writable, "l")), Err(Errno::Rofs));
    let below = g.open_as((ROOT, 0), "d", (DIRECTORY, 0), (ALL, ALL)).unwrap();
    assert_eq!(g.open_as((below, 0), "g", (0, 0), (ALL, 0)), Err(Errno::Rofs));
    assert!(g.open_as((writable, 0), "ok", (CREAT, 0), (ALL, 0)).is_ok());
}
