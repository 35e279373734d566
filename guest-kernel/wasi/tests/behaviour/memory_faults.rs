//! Pointers that leave the memory: `EFAULT`, and no effect.

use sentient_wasi::{Builder, Errno, Outcome};

use crate::guest::{ALL, CREAT, DATA, Guest, MEMORY, RESULT, ROOT, blocked, done};

const PAST: u32 = MEMORY as u32;
const LAST: u32 = MEMORY as u32 - 3;
const FAULT: Result<(), Errno> = Err(Errno::Fault);

#[test]
fn a_buffer_outside_memory_is_efault() {
    let mut g = Guest::new();
    for (at, len) in [(PAST, 1), (LAST, 4), (u32::MAX, 1), (0, u32::MAX), (u32::MAX, u32::MAX)] {
        let (iovs, count) = g.iovs(&[(at, len)]);
        let written = g.wasi.fd_write(&mut g.host, &mut g.mem, 1, iovs, count, RESULT);
        assert_eq!(done(written), FAULT);
        g.host.stdin.extend(b"kept");
        let read = g.wasi.fd_read(&mut g.host, &mut g.mem, 0, iovs, count, RESULT);
        assert_eq!(done(read), FAULT);
        let random = g.wasi.random_get(&mut g.host, &mut g.mem, at, len);
        assert_eq!(done(random), FAULT);
    }
    assert!(g.host.slices.is_empty());
    assert_eq!(g.host.stdin.len(), 20);
}

#[test]
fn a_list_outside_memory_is_efault() {
    let mut g = Guest::new();
    for (iovs, count) in [(PAST, 1), (PAST - 8, 2), (u32::MAX, 1), (0, 1 << 29)] {
        let result = g.wasi.fd_write(&mut g.host, &mut g.mem, 1, iovs, count, RESULT);
        let expected = if count == 1 << 29 { Ok(()) } else { FAULT };
        assert_eq!(done(result), expected, "{iovs:#x} {count}");
    }
}

#[test]
fn a_bad_buffer_after_a_good_one_gives_the_count_of_the_good() {
    let mut g = Guest::new();
    g.put(DATA, b"good");
    let (iovs, count) = g.iovs(&[(DATA, 4), (PAST, 4)]);
    done(g.wasi.fd_write(&mut g.host, &mut g.mem, 1, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 4);
}

#[test]
fn a_list_longer_than_1024_is_used_in_part() {
    let mut g = Guest::new();
    let (iovs, _) = g.iovs(&[]);
    g.put(DATA, b"x");
    for n in 0..1100 {
        g.put(iovs + 0x10_000 + n * 8, &[DATA.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    }
    let list = iovs + 0x10_000;
    done(g.wasi.fd_write(&mut g.host, &mut g.mem, 1, list, 1100, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), 1024);
}

#[test]
fn buffers_that_overlap_do_not_move_more_than_the_memory_has() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.truncate(fd, 1 << 40).unwrap();
    let half = MEMORY as u32 / 2;
    let at = half + 8;
    let (iovs, count) = g.iovs(&[(at, half - 8); 64]);
    done(g.wasi.fd_read(&mut g.host, &mut g.mem, fd, iovs, count, RESULT)).unwrap();
    assert_eq!(g.u32_at(RESULT), MEMORY as u32);
}

#[test]
fn a_result_that_cannot_be_stored_stops_the_call_before_it_acts() {
    let mut g = Guest::new();
    let (iovs, count) = g.iovs(&[(DATA, 4)]);
    let (h, m) = (&mut g.host, &mut g.mem);
    assert_eq!(done(g.wasi.fd_write(h, m, 1, iovs, count, LAST)), FAULT);
    assert!(h.slices.is_empty());
    m[0x1000] = b'f';
    let opened = g.wasi.path_open(h, m, ROOT, 0, 0x1000, 1, CREAT, ALL, ALL, 0, LAST);
    assert_eq!(done(opened), FAULT);
    assert_eq!(g.stat("f"), Err(Errno::Noent));
    g.make("f", b"abcdef");
    let fd = g.open("f", 0).unwrap();
    let (h, m) = (&mut g.host, &mut g.mem);
    assert_eq!(done(g.wasi.fd_seek(h, m, fd, 3, 0, LAST)), FAULT);
    assert_eq!(done(g.wasi.fd_read(h, m, fd, iovs, count, LAST)), FAULT);
    assert_eq!(g.tell(fd), Ok(0));
}

#[test]
fn each_structure_must_fit() {
    let mut g = Guest::with(Builder::new().arg("a").env("b", "c"));
    let (w, h, m) = (&mut g.wasi, &mut g.host, &mut g.mem);
    let at = |bytes: usize| (MEMORY - bytes + 1) as u32;
    assert_eq!(done(w.fd_fdstat_get(h, m, 1, at(24))), FAULT);
    assert_eq!(done(w.fd_filestat_get(h, m, 1, at(64))), FAULT);
    assert_eq!(done(w.fd_prestat_get(h, m, 3, at(8))), FAULT);
    assert_eq!(done(w.fd_prestat_dir_name(h, m, 3, PAST, 1)), FAULT);
    assert_eq!(done(w.clock_time_get(h, m, 0, 0, at(8))), FAULT);
    assert_eq!(done(w.clock_res_get(h, m, 0, at(8))), FAULT);
    assert_eq!(done(w.args_sizes_get(h, m, at(4), RESULT)), FAULT);
    assert_eq!(done(w.args_sizes_get(h, m, RESULT, at(4))), FAULT);
    assert_eq!(done(w.args_get(h, m, at(4), DATA)), FAULT);
    assert_eq!(done(w.args_get(h, m, RESULT, at(2))), FAULT);
    assert_eq!(done(w.environ_get(h, m, u32::MAX, DATA)), FAULT);
    assert_eq!(done(w.fd_readdir(h, m, 3, at(8), 8, 0, RESULT)), FAULT);
    assert_eq!(done(w.fd_readdir(h, m, 3, DATA, 8, 0, at(4))), FAULT);
    assert_eq!(done(w.poll_oneoff(h, m, at(48), DATA, 1, RESULT)), FAULT);
    assert_eq!(done(w.poll_oneoff(h, m, DATA, at(32), 1, RESULT)), FAULT);
    assert_eq!(done(w.poll_oneoff(h, m, DATA, DATA, 1, at(4))), FAULT);
}

#[test]
fn each_path_must_fit() {
    let mut g = Guest::new();
    let (w, h, m) = (&mut g.wasi, &mut g.host, &mut g.mem);
    m[0x1000] = b'x';
    assert_eq!(done(w.path_open(h, m, 3, 0, PAST, 1, 0, 0, 0, 0, RESULT)), FAULT);
    assert_eq!(done(w.path_create_directory(h, m, 3, PAST - 1, 2)), FAULT);
    assert_eq!(done(w.path_unlink_file(h, m, 3, 0, u32::MAX)), FAULT);
    assert_eq!(done(w.path_remove_directory(h, m, 3, u32::MAX, 1)), FAULT);
    assert_eq!(done(w.path_rename(h, m, 3, 0x1000, 1, 3, PAST, 1)), FAULT);
    assert_eq!(done(w.path_symlink(h, m, PAST, 1, 3, 0x1000, 1)), FAULT);
    assert_eq!(done(w.path_link(h, m, 3, 0, PAST, 1, 3, 0x1000, 1)), FAULT);
    assert_eq!(done(w.path_readlink(h, m, 3, PAST, 1, DATA, 1, RESULT)), FAULT);
    assert_eq!(done(w.path_filestat_get(h, m, 3, 0, PAST, 1, RESULT)), FAULT);
    assert_eq!(done(w.path_filestat_set_times(h, m, 3, 0, PAST, 1, 0, 0, 0)), FAULT);
    m[0x1000] = b'.';
    assert_eq!(done(w.path_filestat_get(h, m, 3, 0, 0x1000, 1, PAST - 63)), FAULT);
}

#[test]
fn a_module_without_memory_gets_efault() {
    let mut g = Guest::new();
    let none: &mut [u8] = &mut [];
    assert_eq!(done(g.wasi.fd_write(&mut g.host, none, 1, 0, 1, 0)), FAULT);
    assert_eq!(done(g.wasi.clock_time_get(&mut g.host, none, 0, 0, 0)), FAULT);
    assert_eq!(done(g.wasi.random_get(&mut g.host, none, 0, 0)), Ok(()));
    assert_eq!(blocked(g.wasi.sched_yield(&mut g.host, none)), sentient_wasi::Wait::YIELD);
    assert_eq!(g.wasi.proc_exit(&mut g.host, none, 3), Outcome::Exit(3));
}
