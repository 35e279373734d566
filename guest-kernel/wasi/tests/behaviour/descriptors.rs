//! Numbers: closing, renumbering, preopens, flags.

use sentient_wasi::{Access, Builder, Errno};

use crate::guest::{CREAT, DATA, Guest, RESULT, ROOT, done};

fn renumber(g: &mut Guest, from: u32, to: u32) -> Result<(), Errno> {
    done(g.wasi.fd_renumber(&mut g.host, &mut g.mem, from, to))
}

fn preopen(g: &mut Guest, fd: u32) -> Result<String, Errno> {
    done(g.wasi.fd_prestat_get(&mut g.host, &mut g.mem, fd, RESULT))?;
    assert_eq!(g.mem[RESULT as usize], 0, "preopentype::dir");
    let len = g.u32_at(RESULT + 4);
    done(g.wasi.fd_prestat_dir_name(&mut g.host, &mut g.mem, fd, DATA, len))?;
    Ok(String::from_utf8(g.bytes(DATA, len).to_vec()).unwrap())
}

#[test]
fn a_closed_descriptor_is_ebadf() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(g.close(fd), Ok(()));
    assert_eq!(g.close(fd), Err(Errno::Badf));
    assert_eq!(g.read(fd, 1), Err(Errno::Badf));
    assert_eq!(g.close(u32::MAX), Err(Errno::Badf));
}

#[test]
fn renumbering_moves_a_descriptor_over_another() {
    let mut g = Guest::new();
    g.make("a", b"from a");
    let a = g.open("a", 0).unwrap();
    let b = g.open("b", CREAT).unwrap();
    g.unlink("b").unwrap();
    assert_eq!(renumber(&mut g, a, b), Ok(()));
    assert_eq!(g.read(b, 10), Ok(b"from a".to_vec()));
    assert_eq!(g.read(a, 10), Err(Errno::Badf));
    assert_eq!(g.wasi.usage().inodes, 2, "what was at b is closed, and gone with its name");
}

#[test]
fn renumbering_takes_two_open_descriptors() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    assert_eq!(renumber(&mut g, fd, 77), Err(Errno::Badf));
    assert_eq!(renumber(&mut g, 77, fd), Err(Errno::Badf));
    assert_eq!(renumber(&mut g, fd, fd), Ok(()));
    assert_eq!(g.write(fd, b"still here"), Ok(10));
}

#[test]
fn output_can_be_redirected_by_renumbering() {
    let mut g = Guest::new();
    let fd = g.open("log", CREAT).unwrap();
    renumber(&mut g, fd, 1).unwrap();
    g.write(1, b"logged").unwrap();
    assert!(g.host.out.is_empty());
    assert_eq!(g.slurp("log").unwrap(), b"logged");
}

#[test]
fn the_root_is_preopened_at_3_by_default() {
    let mut g = Guest::new();
    assert_eq!(preopen(&mut g, 3).unwrap(), "/");
    assert_eq!(preopen(&mut g, 4), Err(Errno::Badf));
    assert_eq!(preopen(&mut g, 0), Err(Errno::Badf));
}

#[test]
fn preopens_are_numbered_in_order_and_named_as_given() {
    let mut g =
        Guest::with(Builder::new().preopen("/", Access::ReadWrite).preopen("/data/in", Access::ReadOnly));
    assert_eq!(preopen(&mut g, 3).unwrap(), "/");
    assert_eq!(preopen(&mut g, 4).unwrap(), "/data/in");
    assert_eq!(preopen(&mut g, 5), Err(Errno::Badf));
    assert_eq!(g.names("data"), ["in"]);
}

#[test]
fn a_directory_opened_later_is_no_preopen() {
    let mut g = Guest::new();
    let fd = g.open_directory(".").unwrap();
    assert_eq!(preopen(&mut g, fd), Err(Errno::Badf));
}

#[test]
fn a_buffer_too_short_for_a_preopens_name_is_enametoolong() {
    let mut g = Guest::with(Builder::new().preopen("/data", Access::ReadWrite));
    let short = g.wasi.fd_prestat_dir_name(&mut g.host, &mut g.mem, 3, DATA, 4);
    assert_eq!(done(short), Err(Errno::Nametoolong));
    let long = g.wasi.fd_prestat_dir_name(&mut g.host, &mut g.mem, 3, DATA, 100);
    assert_eq!(done(long), Ok(()));
    assert_eq!(g.bytes(DATA, 6), b"/data\0");
}

#[test]
fn a_closed_preopen_is_gone() {
    let mut g = Guest::new();
    g.close(ROOT).unwrap();
    assert_eq!(preopen(&mut g, ROOT), Err(Errno::Badf));
    assert_eq!(g.open("f", CREAT), Err(Errno::Badf));
}

#[test]
fn descriptor_flags_are_kept_and_unknown_ones_refused() {
    let mut g = Guest::new();
    let fd = g.open("f", CREAT).unwrap();
    g.set_flags(fd, 0b1_1111).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().flags, 0b1_1111);
    assert_eq!(g.set_flags(fd, 0b10_0000), Err(Errno::Inval));
    assert_eq!(g.set_flags(fd, 0x1_0000), Err(Errno::Inval));
    assert_eq!(g.fdstat(fd).unwrap().flags, 0b1_1111);
}

#[test]
fn fdstat_leaves_no_old_bytes_in_its_padding() {
    let mut g = Guest::new();
    g.mem[RESULT as usize..RESULT as usize + 25].fill(0xee);
    g.fdstat(ROOT).unwrap();
    assert_eq!(g.bytes(RESULT, 8), [3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(g.bytes(RESULT + 24, 1), [0xee]);
}
