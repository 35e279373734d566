//! Error numbers of the host's kernel as WASI has them.

use rustix::io::Errno as Linux;
use sentient_wasi::Errno;

/// The error number that a program is given for one of Linux's. `EXDEV` is what openat2(2) says of a path that leads
/// out of its folder, for which the guest's own files have `EPERM`; a rename across file systems has it too, and is told
/// from that by who asks.
pub fn refusal(error: Linux) -> Errno {
    match error {
        Linux::NOENT => Errno::Noent,
        Linux::EXIST => Errno::Exist,
        Linux::NOTDIR => Errno::Notdir,
        Linux::ISDIR => Errno::Isdir,
        Linux::NOTEMPTY => Errno::Notempty,
        Linux::ACCESS => Errno::Acces,
        Linux::PERM => Errno::Perm,
        Linux::ROFS => Errno::Rofs,
        Linux::NOSPC => Errno::Nospc,
        Linux::DQUOT => Errno::Dquot,
        Linux::FBIG => Errno::Fbig,
        Linux::INVAL => Errno::Inval,
        Linux::LOOP => Errno::Loop,
        Linux::MLINK => Errno::Mlink,
        Linux::NAMETOOLONG => Errno::Nametoolong,
        Linux::XDEV => Errno::Xdev,
        Linux::BUSY => Errno::Busy,
        Linux::TXTBSY => Errno::Txtbsy,
        Linux::ILSEQ => Errno::Ilseq,
        Linux::OVERFLOW => Errno::Overflow,
        Linux::BADF => Errno::Badf,
        Linux::OPNOTSUPP => Errno::Notsup,
        Linux::NOMEM => Errno::Nomem,
        // The host's own limits: the program can close files of its own, and try again.
        Linux::MFILE | Linux::NFILE => Errno::Nfile,
        Linux::STALE => Errno::Stale,
        _ => Errno::Io,
    }
}
