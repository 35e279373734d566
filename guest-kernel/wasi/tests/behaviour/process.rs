//! Ending, yielding, signals.

use sentient_wasi::{Errno, Outcome, Wait};

use crate::guest::{Guest, blocked, done};

#[test]
fn proc_exit_ends_the_program_with_its_code() {
    let mut g = Guest::new();
    assert_eq!(g.wasi.proc_exit(&mut g.host, &mut g.mem, 0), Outcome::Exit(0));
    assert_eq!(g.wasi.proc_exit(&mut g.host, &mut g.mem, u32::MAX), Outcome::Exit(u32::MAX));
}

#[test]
fn yielding_gives_others_one_turn() {
    let mut g = Guest::new();
    for _ in 0..2 {
        assert_eq!(blocked(g.wasi.sched_yield(&mut g.host, &mut g.mem)), Wait::YIELD);
        assert_eq!(done(g.wasi.sched_yield(&mut g.host, &mut g.mem)), Ok(()));
    }
}

#[test]
fn a_yield_that_was_abandoned_does_not_shorten_the_next() {
    let mut g = Guest::new();
    blocked(g.wasi.sched_yield(&mut g.host, &mut g.mem));
    g.write(1, b"x").unwrap();
    assert_eq!(blocked(g.wasi.sched_yield(&mut g.host, &mut g.mem)), Wait::YIELD);
}

#[test]
fn a_signal_does_what_the_witx_says_it_does() {
    let mut g = Guest::new();
    let mut raise = |sig| g.wasi.proc_raise(&mut g.host, &mut g.mem, sig);
    assert_eq!(raise(6), Outcome::Exit(134), "abrt terminates");
    assert_eq!(raise(15), Outcome::Exit(143), "term terminates");
    assert_eq!(raise(0), Outcome::Done(Errno::Success), "none");
    for ignored in [13, 16, 17, 22, 27] {
        assert_eq!(raise(ignored), Outcome::Done(Errno::Success));
    }
    for stopping in 18..=21 {
        assert_eq!(raise(stopping), Outcome::Done(Errno::Notsup));
    }
    assert_eq!(raise(30), Outcome::Exit(158), "sys terminates");
    assert_eq!(raise(31), Outcome::Done(Errno::Inval));
    assert_eq!(raise(u32::MAX), Outcome::Done(Errno::Inval));
}
