//! Standard input, output and error.

use sentient_wasi::{Errno, Wait, rights};

use crate::guest::{DATA, Guest, NONBLOCK, RESULT, SET, blocked, done};

const CHARACTER_DEVICE: u8 = 2;

#[test]
fn what_is_written_to_1_and_2_reaches_the_two_streams() {
    let mut g = Guest::new();
    assert_eq!(g.write(1, b"out"), Ok(3));
    assert_eq!(g.write(2, b"err"), Ok(3));
    assert_eq!((&g.host.out[..], &g.host.err[..]), (&b"out"[..], &b"err"[..]));
}

#[test]
fn a_large_write_is_one_slice_of_the_modules_own_memory() {
    let mut g = Guest::new();
    let bytes = vec![7; 64 * 1024];
    assert_eq!(g.write(1, &bytes), Ok(65_536));
    let start = g.mem.as_ptr() as usize + DATA as usize;
    assert_eq!(g.host.slices, [(start, 65_536)]);
    assert_eq!(g.host.clock_calls, 0);
}

#[test]
fn buffers_are_written_in_order_and_empty_ones_are_passed_over() {
    let mut g = Guest::new();
    g.put(DATA, b"hello world");
    let (iovs, count) = g.iovs(&[(DATA, 6), (0xffff_ffff, 0), (DATA + 6, 5)]);
    done(g.wasi.fd_write(&mut g.host, &mut g.mem, 1, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 11);
    assert_eq!(g.host.out, b"hello world");
}

#[test]
fn writing_nothing_does_not_ask_the_host() {
    let mut g = Guest::new();
    g.host.room = 0;
    assert_eq!(g.write(1, b""), Ok(0));
    assert!(g.host.slices.is_empty());
}

#[test]
fn a_stream_that_takes_a_part_gives_a_short_count() {
    let mut g = Guest::new();
    g.host.room = 4;
    assert_eq!(g.write(1, b"abcdef"), Ok(4));
    assert_eq!(g.host.out, b"abcd");
}

#[test]
fn a_write_that_filled_the_stream_with_its_first_buffer_does_not_block_on_the_second() {
    let mut g = Guest::new();
    g.host.room = 3;
    g.put(DATA, b"abcdef");
    let (iovs, count) = g.iovs(&[(DATA, 3), (DATA + 3, 3)]);
    done(g.wasi.fd_write(&mut g.host, &mut g.mem, 1, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 3);
}

#[test]
fn a_stream_that_takes_nothing_blocks_until_it_does() {
    let mut g = Guest::new();
    g.host.room = 0;
    assert_eq!(blocked(g.write_call(1, b"x")), Wait { stdout: true, ..Wait::YIELD });
    assert_eq!(blocked(g.write_call(2, b"x")), Wait { stderr: true, ..Wait::YIELD });
    g.host.room = 9;
    assert_eq!(g.write(1, b"x"), Ok(1));
}

#[test]
fn a_nonblocking_stream_is_eagain_instead() {
    let mut g = Guest::new();
    g.host.room = 0;
    g.set_flags(1, NONBLOCK).unwrap();
    g.set_flags(0, NONBLOCK).unwrap();
    assert_eq!(g.write(1, b"x"), Err(Errno::Again));
    assert_eq!(g.read(0, 4), Err(Errno::Again));
}

#[test]
fn a_stream_whose_reader_is_gone_is_epipe() {
    let mut g = Guest::new();
    g.host.closed = true;
    assert_eq!(g.write(1, b"x"), Err(Errno::Pipe));
}

#[test]
fn standard_input_gives_what_there_is() {
    let mut g = Guest::new();
    g.host.stdin.extend(b"line\n");
    assert_eq!(g.read(0, 100), Ok(b"line\n".to_vec()));
}

#[test]
fn standard_input_fills_buffers_in_order() {
    let mut g = Guest::new();
    g.host.stdin.extend(b"abcdef");
    let (iovs, count) = g.iovs(&[(DATA + 10, 2), (DATA, 3), (DATA + 20, 9)]);
    done(g.wasi.fd_read(&mut g.host, &mut g.mem, 0, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 6);
    assert_eq!(g.bytes(DATA + 10, 2), b"ab");
    assert_eq!(g.bytes(DATA, 3), b"cde");
    assert_eq!(g.bytes(DATA + 20, 1), b"f");
}

#[test]
fn empty_standard_input_blocks_and_a_closed_one_is_the_end_of_file() {
    let mut g = Guest::new();
    assert_eq!(blocked(g.read_call(0, 10)), Wait::STDIN);
    g.host.stdin_closed = true;
    assert_eq!(g.read(0, 10), Ok(vec![]));
}

#[test]
fn reading_from_output_and_writing_to_input_is_ebadf() {
    let mut g = Guest::new();
    assert_eq!(g.read(1, 1), Err(Errno::Badf));
    assert_eq!(g.write(0, b"x"), Err(Errno::Badf));
}

#[test]
fn a_stream_has_no_offset() {
    let mut g = Guest::new();
    for fd in 0..3 {
        assert_eq!(g.seek(fd, 0, SET), Err(Errno::Spipe));
        assert_eq!(g.tell(fd), Err(Errno::Spipe));
        assert_eq!(g.pread(fd, 0, 1), Err(Errno::Spipe));
        assert_eq!(g.pwrite(fd, 0, b"x"), Err(Errno::Spipe));
    }
}

#[test]
fn a_terminal_is_a_character_device_that_cannot_seek() {
    // By these two wasi-libc's isatty() decides.
    let mut g = Guest::new();
    g.host.terminal = true;
    for fd in 0..3 {
        let stat = g.fdstat(fd).unwrap();
        assert_eq!(stat.filetype, CHARACTER_DEVICE);
        assert_eq!(stat.base & (rights::FD_SEEK | rights::FD_TELL), 0);
        assert_eq!(g.fstat(fd).unwrap().filetype, CHARACTER_DEVICE);
    }
}

#[test]
fn a_stream_that_is_no_terminal_is_no_character_device() {
    let mut g = Guest::new();
    assert_eq!(g.fdstat(1).unwrap().filetype, 0);
    assert_eq!(g.fstat(0).unwrap().filetype, 0);
}

#[test]
fn a_closed_stream_is_ebadf_and_its_number_is_given_out_again() {
    let mut g = Guest::new();
    g.close(1).unwrap();
    assert_eq!(g.write(1, b"x"), Err(Errno::Badf));
    assert_eq!(g.open("f", crate::guest::CREAT), Ok(1));
    assert_eq!(g.write(1, b"to a file"), Ok(9));
    assert!(g.host.out.is_empty());
}

#[test]
fn syncing_a_stream_succeeds() {
    let mut g = Guest::new();
    assert_eq!(done(g.wasi.fd_sync(&mut g.host, &mut g.mem, 1)), Ok(()));
    assert_eq!(done(g.wasi.fd_datasync(&mut g.host, &mut g.mem, 2)), Ok(()));
}
