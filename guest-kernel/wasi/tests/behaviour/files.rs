//! Bytes of regular files, and offsets.

use sentient_wasi::Errno;

use crate::guest::{APPEND, CREAT, CUR, DATA, END, FOLLOW, Guest, RESULT, ROOT, SET, TRUNC, done};

#[test]
fn what_is_written_is_read_back() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.write(fd, b"hello "), Ok(6));
    assert_eq!(g.write(fd, b"world"), Ok(5));
    assert_eq!(g.seek(fd, 0, SET), Ok(0));
    assert_eq!(g.read(fd, 100), Ok(b"hello world".to_vec()));
    assert_eq!(g.read(fd, 100), Ok(vec![]));
}

#[test]
fn a_file_is_read_into_buffers_in_order() {
    let mut g = Guest::new();
    g.make("f", b"abcdef");
    let fd = g.open("f", 0).unwrap();
    let (iovs, count) = g.iovs(&[(DATA + 8, 2), (0, 0), (DATA, 3)]);
    done(g.wasi.fd_read(&mut g.host, &mut g.mem, fd, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 5);
    assert_eq!((g.bytes(DATA + 8, 2), g.bytes(DATA, 3)), (&b"ab"[..], &b"cde"[..]));
    assert_eq!(g.tell(fd), Ok(5));
}

#[test]
fn pread_and_pwrite_leave_the_offset_alone() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"0123456789").unwrap();
    assert_eq!(g.pwrite(fd, 3, b"xyz"), Ok(3));
    assert_eq!(g.pread(fd, 2, 5), Ok(b"2xyz6".to_vec()));
    assert_eq!(g.pread(fd, 10, 5), Ok(vec![]));
    assert_eq!(g.pread(fd, u64::MAX, 5), Ok(vec![]));
    assert_eq!(g.tell(fd), Ok(10));
}

#[test]
fn writing_after_the_end_leaves_zeros_between() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.pwrite(fd, 5, b"x").unwrap();
    assert_eq!(g.pread(fd, 0, 10), Ok(b"\0\0\0\0\0x".to_vec()));
    g.pwrite(fd, 200_000, b"y").unwrap();
    assert_eq!(g.fstat(fd).unwrap().size, 200_001);
    assert!(g.pread(fd, 6, 199_994).unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(g.pread(fd, 199_999, 9), Ok(b"\0y".to_vec()));
}

#[test]
fn a_write_across_chunks_is_whole() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(g.pwrite(fd, 65_530, &bytes), Ok(200_000));
    assert_eq!(g.pread(fd, 65_530, 200_000), Ok(bytes));
}

#[test]
fn cutting_a_file_and_lengthening_it_again_gives_zeros() {
    // witx, fd_filestat_set_size: "the extra bytes are filled with zeros".
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, &[9; 70_000]).unwrap();
    g.truncate(fd, 3).unwrap();
    assert_eq!(g.fstat(fd).unwrap().size, 3);
    g.truncate(fd, 70_000).unwrap();
    let bytes = g.pread(fd, 0, 70_000).unwrap();
    assert_eq!(bytes.len(), 70_000);
    assert_eq!(&bytes[..4], [9, 9, 9, 0]);
    assert!(bytes[3..].iter().all(|byte| *byte == 0));
}

#[test]
fn cutting_leaves_the_offset_where_it_was() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"abcdef").unwrap();
    g.truncate(fd, 2).unwrap();
    assert_eq!(g.tell(fd), Ok(6));
    assert_eq!(g.read(fd, 1), Ok(vec![]));
    g.write(fd, b"!").unwrap();
    assert_eq!(g.pread(fd, 0, 10), Ok(b"ab\0\0\0\0!".to_vec()));
}

#[test]
fn opening_with_trunc_empties_the_file() {
    let mut g = Guest::new();
    g.make("f", b"old");
    let fd = g.open("f", TRUNC).unwrap();
    assert_eq!(g.fstat(fd).unwrap().size, 0);
}

#[test]
fn append_mode_writes_at_the_end_wherever_the_offset_is() {
    let mut g = Guest::new();
    g.make("f", b"one");
    let all = crate::guest::ALL;
    let fd = g.open_as((ROOT, FOLLOW), "f", (0, APPEND), (all, all)).unwrap();
    g.seek(fd, 1, SET).unwrap();
    g.write(fd, b"two").unwrap();
    assert_eq!(g.tell(fd), Ok(6));
    assert_eq!(g.slurp("f").unwrap(), b"onetwo");
}

#[test]
fn writing_nothing_in_append_mode_leaves_the_offset_alone() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"abc").unwrap();
    g.set_flags(fd, APPEND).unwrap();
    g.seek(fd, 1, SET).unwrap();
    assert_eq!(g.write(fd, b""), Ok(0));
    assert_eq!(g.tell(fd), Ok(1));
}

#[test]
fn append_mode_can_be_set_and_cleared() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"abc").unwrap();
    g.set_flags(fd, APPEND).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().flags, 1);
    g.seek(fd, 0, SET).unwrap();
    g.write(fd, b"d").unwrap();
    g.set_flags(fd, 0).unwrap();
    g.seek(fd, 0, SET).unwrap();
    g.write(fd, b"X").unwrap();
    assert_eq!(g.slurp("f").unwrap(), b"Xbcd");
}

#[test]
fn pwrite_in_append_mode_writes_where_it_says() {
    // POSIX pwrite(): the offset given, "regardless of whether O_APPEND is set".
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, b"abc").unwrap();
    g.set_flags(fd, APPEND).unwrap();
    g.pwrite(fd, 0, b"X").unwrap();
    assert_eq!(g.slurp("f").unwrap(), b"Xbc");
}

#[test]
fn seeking_goes_from_start_offset_and_end() {
    let mut g = Guest::new();
    g.make("f", b"0123456789");
    let fd = g.open("f", 0).unwrap();
    assert_eq!(g.seek(fd, 4, SET), Ok(4));
    assert_eq!(g.seek(fd, -1, CUR), Ok(3));
    assert_eq!(g.seek(fd, -2, END), Ok(8));
    assert_eq!(g.seek(fd, 100, END), Ok(110));
    assert_eq!(g.read(fd, 1), Ok(vec![]));
}

#[test]
fn seeking_before_the_start_is_einval_and_moves_nothing() {
    let mut g = Guest::new();
    g.make("f", b"0123456789");
    let fd = g.open("f", 0).unwrap();
    g.seek(fd, 4, SET).unwrap();
    assert_eq!(g.seek(fd, -5, CUR), Err(Errno::Inval));
    assert_eq!(g.seek(fd, -11, END), Err(Errno::Inval));
    assert_eq!(g.seek(fd, i64::MIN, SET), Err(Errno::Inval));
    assert_eq!(g.seek(fd, 0, 3), Err(Errno::Inval));
    assert_eq!(g.tell(fd), Ok(4));
}

#[test]
fn seeking_beyond_what_an_offset_can_say_is_eoverflow() {
    let mut g = Guest::new();
    g.make("f", b"0123456789");
    let fd = g.open("f", 0).unwrap();
    assert_eq!(g.seek(fd, i64::MAX, SET), Ok(i64::MAX as u64));
    assert_eq!(g.seek(fd, 1, CUR), Err(Errno::Overflow));
    assert_eq!(g.seek(fd, i64::MAX, END), Err(Errno::Overflow));
}

#[test]
fn two_descriptors_of_one_file_have_their_own_offsets_and_the_same_bytes() {
    let mut g = Guest::new();
    let one = g.open("f", CREAT).unwrap();
    let two = g.open("f", 0).unwrap();
    g.write(one, b"shared").unwrap();
    assert_eq!(g.tell(two), Ok(0));
    assert_eq!(g.read(two, 10), Ok(b"shared".to_vec()));
}

#[test]
fn a_directory_cannot_be_read_written_or_cut() {
    let mut g = Guest::new();
    assert_eq!(g.read(ROOT, 1), Err(Errno::Isdir));
    assert_eq!(g.write(ROOT, b"x"), Err(Errno::Isdir));
    assert_eq!(g.pread(ROOT, 0, 1), Err(Errno::Isdir));
    assert_eq!(g.truncate(ROOT, 0), Err(Errno::Isdir));
}

#[test]
fn advice_is_checked_and_then_does_nothing() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    let mut advise =
        |offset, len, advice| done(g.wasi.fd_advise(&mut g.host, &mut g.mem, fd, offset, len, advice));
    for advice in 0..6 {
        assert_eq!(advise(0, 100, advice), Ok(()));
    }
    assert_eq!(advise(0, 100, 6), Err(Errno::Inval));
    assert_eq!(advise(u64::MAX, 1, 0), Err(Errno::Inval));
    let stream = g.wasi.fd_advise(&mut g.host, &mut g.mem, 1, 0, 1, 0);
    assert_eq!(done(stream), Err(Errno::Spipe));
}

#[test]
fn an_unlinked_file_lives_until_its_last_descriptor_closes() {
    let mut g = Guest::new();
    let before = g.wasi.usage();
    let fd = g.open("f", CREAT).unwrap();
    g.write(fd, &[1; 100_000]).unwrap();
    g.unlink("f").unwrap();
    assert_eq!(g.stat("f"), Err(Errno::Noent));
    assert_eq!(g.fstat(fd).unwrap().nlink, 0);
    assert_eq!(g.pread(fd, 99_999, 5), Ok(vec![1]));
    g.close(fd).unwrap();
    assert_eq!(g.wasi.usage(), before);
}
