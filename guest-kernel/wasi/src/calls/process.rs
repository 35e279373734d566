//! The program as a whole: `proc_exit`, `proc_raise`, `sched_yield`.

use crate::errno::Errno;
use crate::host::Host;
use crate::outcome::{Outcome, Stop, Wait};
use crate::wasi::{Pending, Wasi};

/// What a shell adds to a signal's number for the exit code of a program that the signal ended
/// (POSIX, Shell Command Language 2.8.2, asks for more than 128).
const SIGNAL_EXIT: u32 = 128;

impl Wasi {
    /// `proc_exit`: ends the program. Does not return to the module, and has no wasm result.
    pub fn proc_exit(&mut self, _host: &mut (impl Host + ?Sized), _mem: &mut [u8], rval: u32) -> Outcome {
        self.answer(|_| Err(Stop::Exit(rval)))
    }

    /// `proc_raise`: does what `$signal` in `typenames.witx` says a signal does.
    ///
    /// Those that terminate end the program with 128 and the signal's number (134 for `abrt`, as a
    /// shell reports it). `none` and those that are ignored, and `cont`, succeed. Those that stop a
    /// process are `ENOTSUP`: there is no one to continue it. Others are `EINVAL`.
    pub fn proc_raise(&mut self, _host: &mut (impl Host + ?Sized), _mem: &mut [u8], sig: u32) -> Outcome {
        self.answer(|_| match sig {
            // none, pipe, chld, cont, urg, winch
            0 | 13 | 16 | 17 | 22 | 27 => Ok(()),
            // stop, tstp, ttin, ttou
            18..=21 => Err(Errno::Notsup.into()),
            1..=30 => Err(Stop::Exit(SIGNAL_EXIT.saturating_add(sig))),
            _ => Err(Errno::Inval.into()),
        })
    }

    /// `sched_yield`: lets the other containers run, then succeeds.
    pub fn sched_yield(&mut self, _host: &mut (impl Host + ?Sized), _mem: &mut [u8]) -> Outcome {
        match self.pending.take() {
            Some(Pending::Yield) => Outcome::Done(Errno::Success),
            Some(Pending::Poll(_) | Pending::Receive(_)) | None => {
                self.pending = Some(Pending::Yield);
                Outcome::Block(Wait::YIELD)
            }
        }
    }
}
