//! Limits: bytes, inodes, descriptors, sizes.

use sentient_wasi::{Builder, Errno, Limits};

use crate::guest::{CREAT, Guest, TRUNC};

fn small(file_bytes: u64) -> Guest {
    Guest::with(Builder::new().limits(Limits { file_bytes, ..Limits::default() }))
}

#[test]
fn a_write_that_space_ends_in_is_short_and_the_next_is_enospc() {
    let mut g = small(200_000);
    let fd = g.open("f", CREAT).unwrap();
    let written = g.write(fd, &[1; 300_000]).unwrap();
    assert!((131_072..200_000).contains(&written), "{written}");
    assert_eq!(g.write(fd, &[1; 100_000]), Err(Errno::Nospc));
    assert_eq!(g.fstat(fd).unwrap().size, u64::from(written));
    assert!(g.wasi.usage().file_bytes <= 200_000);
}

#[test]
fn cutting_and_removing_give_space_back() {
    let mut g = small(200_000);
    let empty = g.wasi.usage().file_bytes;
    g.make("f", &[1; 131_072]);
    let fd = g.open("f", TRUNC).unwrap();
    g.write(fd, &[2; 131_072]).unwrap();
    g.truncate(fd, 0).unwrap();
    g.write(fd, &[3; 131_072]).unwrap();
    g.close(fd).unwrap();
    g.unlink("f").unwrap();
    assert_eq!(g.wasi.usage().file_bytes, empty);
}

#[test]
fn holes_take_no_space() {
    let mut g = small(10_000);
    let fd = g.open("f", CREAT).unwrap();
    let before = g.wasi.usage().file_bytes;
    g.truncate(fd, 1 << 40).unwrap();
    assert_eq!(g.wasi.usage().file_bytes, before);
    g.pwrite(fd, (1 << 40) - 1, b"x").unwrap_err();
    g.pwrite(fd, 1 << 39, b"x").unwrap();
    assert_eq!(g.pread(fd, (1 << 39) - 2, 4), Ok(b"\0\0x\0".to_vec()));
}

#[test]
fn a_small_file_takes_little() {
    let mut g = Guest::new();
    let before = g.wasi.usage().file_bytes;
    g.make("f", b"hi");
    assert!(g.wasi.usage().file_bytes - before <= 1100);
}

#[test]
fn a_file_beyond_a_tebibyte_is_efbig() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.truncate(fd, (1 << 40) + 1), Err(Errno::Fbig));
    assert_eq!(g.truncate(fd, u64::MAX), Err(Errno::Fbig));
    assert_eq!(g.pwrite(fd, 1 << 40, b"x"), Err(Errno::Fbig));
    assert_eq!(g.pwrite(fd, u64::MAX, b"x"), Err(Errno::Fbig));
    assert_eq!(g.pwrite(fd, (1 << 40) - 1, b"xy"), Ok(1));
    assert_eq!(g.allocate(fd, u64::MAX, 2), Err(Errno::Fbig));
}

#[test]
fn allocated_space_is_there_when_it_is_written() {
    // POSIX posix_fallocate(): subsequent writes to the range shall not fail for lack of space.
    let mut g = small(200_000);
    let fd = g.open("f", CREAT).unwrap();
    g.allocate(fd, 10, 131_000).unwrap();
    assert_eq!(g.fstat(fd).unwrap().size, 131_010);
    g.make("other", &[0; 60_000]);
    assert_eq!(g.pwrite(fd, 10, &[5; 131_000]), Ok(131_000));
    assert_eq!(g.pread(fd, 8, 3), Ok(vec![0, 0, 5]));
}

#[test]
fn allocating_more_than_there_is_is_enospc_and_nothing_is_einval() {
    let mut g = small(200_000);
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.allocate(fd, 0, 1 << 30), Err(Errno::Nospc));
    assert_eq!(g.allocate(fd, 0, 0), Err(Errno::Inval));
    assert_eq!(g.fstat(fd).unwrap().size, 0);
    assert_eq!(g.allocate(1, 0, 1), Err(Errno::Spipe));
}

#[test]
fn allocating_a_range_that_is_there_changes_no_byte() {
    let mut g = Guest::new();
    g.make("f", b"abc");
    let fd = g.open("f", 0).unwrap();
    g.allocate(fd, 0, 2).unwrap();
    assert_eq!(g.pread(fd, 0, 9), Ok(b"abc".to_vec()));
}

#[test]
fn the_last_inode_used_is_enospc() {
    let limits = Limits { inodes: 3, ..Limits::default() };
    let mut g = Guest::with(Builder::new().limits(limits));
    g.make("a", b"");
    g.make("b", b"");
    let bytes = g.wasi.usage().file_bytes;
    assert_eq!(g.open("c", CREAT), Err(Errno::Nospc));
    assert_eq!(g.mkdir("c"), Err(Errno::Nospc));
    assert_eq!(g.wasi.usage().file_bytes, bytes);
    g.unlink("a").unwrap();
    assert_eq!(g.mkdir("c"), Ok(()));
}

#[test]
fn names_count_so_that_links_cannot_take_all_memory() {
    let mut g = small(20_000);
    g.make("f", b"");
    let failure = (0..1000).find_map(|n| g.link("f", &format!("link{n}")).err());
    assert_eq!(failure, Some(Errno::Nospc));
}

#[test]
fn the_last_descriptor_used_is_emfile_and_makes_no_file() {
    let limits = Limits { descriptors: 5, ..Limits::default() };
    let mut g = Guest::with(Builder::new().limits(limits));
    assert_eq!(g.open("a", CREAT), Ok(4));
    assert_eq!(g.open("b", CREAT), Err(Errno::Mfile));
    assert_eq!(g.stat("b"), Err(Errno::Noent));
    g.close(4).unwrap();
    assert_eq!(g.open("b", CREAT), Ok(4));
}

#[test]
fn usage_counts_descriptors_inodes_and_bytes() {
    let mut g = Guest::new();
    let before = g.wasi.usage();
    assert_eq!((before.descriptors, before.inodes), (4, 1));
    g.open("f", CREAT).unwrap();
    let after = g.wasi.usage();
    assert_eq!((after.descriptors, after.inodes), (5, 2));
    assert!(after.file_bytes > before.file_bytes);
}

#[test]
fn a_failed_write_in_a_full_file_system_keeps_nothing() {
    let mut g = small(1_400);
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, &[1; 512]).unwrap();
    let bytes = g.wasi.usage().file_bytes;
    for offset in 1..2_000 {
        assert_eq!(g.pwrite(fd, offset * 65_536, b"x"), Err(Errno::Nospc));
    }
    assert_eq!(g.wasi.usage().file_bytes, bytes);
    assert_eq!(g.fstat(fd).unwrap().size, 512);
}
