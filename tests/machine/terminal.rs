//! A pseudo-terminal: what a program sees when a person runs it.

use rustix::termios::{Termios, tcgetattr};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;

/// A pair of ends. The program under test has the inner end, the test the outer one.
pub struct Terminal {
    outer: File,
    inner: OwnedFd,
}

impl Terminal {
    /// Opens one in its usual modes.
    #[expect(unsafe_code, reason = "no safe wrapper without changing the features of a shared dependency")]
    pub fn open() -> Self {
        let (mut outer, mut inner) = (-1, -1);
        let (name, modes, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
        // SAFETY: the call fills in two integers of ours and reads nothing through the null pointers.
        let done = unsafe { libc::openpty(&raw mut outer, &raw mut inner, name, modes, size) };
        assert_eq!(done, 0, "no pseudo-terminal: {}", std::io::Error::last_os_error());
        // SAFETY: both descriptors were just opened for us, and nobody else has them.
        unsafe { Self { outer: File::from_raw_fd(outer), inner: OwnedFd::from_raw_fd(inner) } }
    }

    /// The inner end, to give to a process.
    pub fn stdio(&self) -> Stdio {
        Stdio::from(self.inner.try_clone().unwrap())
    }

    /// The outer end, to type on.
    pub fn keyboard(&self) -> File {
        self.outer.try_clone().unwrap()
    }

    /// The modes: whether it echoes, whether it collects lines, and so on.
    pub fn modes(&self) -> String {
        let modes: Termios = tcgetattr(&self.inner).unwrap();
        format!(
            "{:?} {:?} {:?} {:?}",
            modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes
        )
    }

    /// Everything shown, once no process has the inner end any more.
    pub fn shown(self) -> String {
        let Self { mut outer, inner } = self;
        drop(inner);
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match outer.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => shown.extend_from_slice(&piece[..len]),
                // How Linux says that the inner end is closed (pts(4)).
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("reading the terminal: {error}"),
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    }
}
