//! The error numbers a WASI call answers with.

/// `errno` of WASI snapshot 01 (`typenames.witx`, `$errno`): the numbers are the positions in that
/// list.
///
/// All of them are here, so that a trace can name any; the crate answers with about thirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Errno {
    /// No error: the call did what was asked.
    Success = 0,
    /// Argument list too long (`2big`).
    TooBig = 1,
    /// Permission denied.
    Acces = 2,
    /// Address in use.
    Addrinuse = 3,
    /// Address not available.
    Addrnotavail = 4,
    /// Address family not supported.
    Afnosupport = 5,
    /// The operation would block.
    Again = 6,
    /// Connection already in progress.
    Already = 7,
    /// Bad file descriptor.
    Badf = 8,
    /// Bad message.
    Badmsg = 9,
    /// Device or resource busy.
    Busy = 10,
    /// Operation cancelled.
    Canceled = 11,
    /// No child processes.
    Child = 12,
    /// Connection aborted.
    Connaborted = 13,
    /// Connection refused.
    Connrefused = 14,
    /// Connection reset.
    Connreset = 15,
    /// Resource deadlock would occur.
    Deadlk = 16,
    /// Destination address required.
    Destaddrreq = 17,
    /// Mathematics argument out of domain.
    Dom = 18,
    /// Reserved.
    Dquot = 19,
    /// File exists.
    Exist = 20,
    /// Bad address: a pointer leaves the module's memory.
    Fault = 21,
    /// File too large.
    Fbig = 22,
    /// Host is unreachable.
    Hostunreach = 23,
    /// Identifier removed.
    Idrm = 24,
    /// Illegal byte sequence: a path that is not UTF-8.
    Ilseq = 25,
    /// Operation in progress.
    Inprogress = 26,
    /// Interrupted function.
    Intr = 27,
    /// Invalid argument.
    Inval = 28,
    /// I/O error.
    Io = 29,
    /// Socket is connected.
    Isconn = 30,
    /// Is a directory.
    Isdir = 31,
    /// Too many levels of symbolic links.
    Loop = 32,
    /// Too many open descriptors.
    Mfile = 33,
    /// Too many links.
    Mlink = 34,
    /// Message too large.
    Msgsize = 35,
    /// Reserved.
    Multihop = 36,
    /// File name too long.
    Nametoolong = 37,
    /// Network is down.
    Netdown = 38,
    /// Connection aborted by network.
    Netreset = 39,
    /// Network unreachable.
    Netunreach = 40,
    /// Too many files open in system.
    Nfile = 41,
    /// No buffer space available.
    Nobufs = 42,
    /// No such device.
    Nodev = 43,
    /// No such file or directory.
    Noent = 44,
    /// Executable file format error.
    Noexec = 45,
    /// No locks available.
    Nolck = 46,
    /// Reserved.
    Nolink = 47,
    /// Not enough memory.
    Nomem = 48,
    /// No message of the desired type.
    Nomsg = 49,
    /// Protocol not available.
    Noprotoopt = 50,
    /// No space left: the file system's quota is used up.
    Nospc = 51,
    /// Function not supported.
    Nosys = 52,
    /// The socket is not connected.
    Notconn = 53,
    /// Not a directory.
    Notdir = 54,
    /// Directory not empty.
    Notempty = 55,
    /// State not recoverable.
    Notrecoverable = 56,
    /// Not a socket.
    Notsock = 57,
    /// Not supported.
    Notsup = 58,
    /// Inappropriate I/O control operation.
    Notty = 59,
    /// No such device or address.
    Nxio = 60,
    /// Value too large for its type.
    Overflow = 61,
    /// Previous owner died.
    Ownerdead = 62,
    /// Operation not permitted: among others, a path that leaves its directory.
    Perm = 63,
    /// Broken pipe: the reader of a stream is gone.
    Pipe = 64,
    /// Protocol error.
    Proto = 65,
    /// Protocol not supported.
    Protonosupport = 66,
    /// Protocol wrong type for socket.
    Prototype = 67,
    /// Result too large.
    Range = 68,
    /// Read-only file system.
    Rofs = 69,
    /// Invalid seek: a stream has no offset.
    Spipe = 70,
    /// No such process.
    Srch = 71,
    /// Reserved.
    Stale = 72,
    /// Connection timed out.
    Timedout = 73,
    /// Text file busy.
    Txtbsy = 74,
    /// Cross-device link.
    Xdev = 75,
    /// The descriptor lacks the right (a WASI extension).
    Notcapable = 76,
}

/// Those that the host answers with about volumes.
const OF_HOST: [Errno; 32] = [
    Errno::TooBig,
    Errno::Acces,
    Errno::Badf,
    Errno::Busy,
    Errno::Canceled,
    Errno::Dquot,
    Errno::Exist,
    Errno::Fbig,
    Errno::Ilseq,
    Errno::Inval,
    Errno::Io,
    Errno::Isdir,
    Errno::Loop,
    Errno::Mfile,
    Errno::Mlink,
    Errno::Nametoolong,
    Errno::Nfile,
    Errno::Nodev,
    Errno::Noent,
    Errno::Nomem,
    Errno::Nospc,
    Errno::Notdir,
    Errno::Notempty,
    Errno::Notsup,
    Errno::Overflow,
    Errno::Perm,
    Errno::Rofs,
    Errno::Spipe,
    Errno::Stale,
    Errno::Txtbsy,
    Errno::Xdev,
    Errno::Notcapable,
];

impl Errno {
    /// The error of a number that the host has answered with; [`Errno::Io`] for one that it never does.
    #[must_use]
    pub fn of_host(number: u32) -> Self {
        OF_HOST.into_iter().find(|errno| u32::from(*errno) == number).unwrap_or(Self::Io)
    }
}

impl From<Errno> for u32 {
    /// The `i32` result a WASI function leaves on the wasm stack.
    fn from(errno: Errno) -> Self {
        u32::from(errno as u16)
    }
}

impl From<Errno> for () {
    /// For `proc_exit`, the one function without a result; see
    /// [`for_each_function`](crate::for_each_function).
    fn from(_: Errno) -> Self {}
}
