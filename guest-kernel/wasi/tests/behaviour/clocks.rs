//! Clocks and entropy.

use sentient_wasi::Errno;

use crate::guest::{DATA, Guest, RESULT, done};

pub fn time(g: &mut Guest, id: u32) -> Result<u64, Errno> {
    done(g.wasi.clock_time_get(&mut g.host, &mut g.mem, id, 1_000, RESULT))?;
    Ok(g.u64_at(RESULT))
}

pub fn resolution(g: &mut Guest, id: u32) -> Result<u64, Errno> {
    done(g.wasi.clock_res_get(&mut g.host, &mut g.mem, id, RESULT))?;
    Ok(g.u64_at(RESULT))
}

#[test]
fn each_clock_has_the_number_of_the_witx() {
    let mut g = Guest::new();
    assert_eq!(time(&mut g, 0), Ok(1_700_000_000_000_000_000));
    assert_eq!(time(&mut g, 1), Ok(5_000));
    assert_eq!(time(&mut g, 2), Ok(77));
    assert_eq!(time(&mut g, 3), Ok(78));
}

#[test]
fn an_unknown_clock_is_einval() {
    let mut g = Guest::new();
    assert_eq!(time(&mut g, 4), Err(Errno::Inval));
    assert_eq!(time(&mut g, u32::MAX), Err(Errno::Inval));
    assert_eq!(resolution(&mut g, 4), Err(Errno::Inval));
}

#[test]
fn the_resolution_is_never_zero() {
    // witx, clock_res_get: "required to provide a non-zero value for supported clocks".
    let mut g = Guest::new();
    assert_eq!(resolution(&mut g, 1), Ok(100));
    g.host.resolution = 0;
    assert_eq!(resolution(&mut g, 1), Ok(1));
}

#[test]
fn random_bytes_fill_the_buffer_and_nothing_else() {
    let mut g = Guest::new();
    done(g.wasi.random_get(&mut g.host, &mut g.mem, DATA, 3)).unwrap();
    assert_eq!(g.bytes(DATA - 1, 5), [0, 0xa5, 0xa5, 0xa5, 0]);
}

#[test]
fn no_random_bytes_are_a_success() {
    let mut g = Guest::new();
    assert_eq!(done(g.wasi.random_get(&mut g.host, &mut g.mem, DATA, 0)), Ok(()));
}
