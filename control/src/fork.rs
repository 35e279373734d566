//! Forks of a running machine, which run before they are on the disk.
//!
//! The process of the new machine is started at once, with a connection to that of the *original*, over which somebody
//! has asked for a fork already ([`start`]). While it starts, the original
//!
//! 1. says which containers there are, stops its guest, copies what it has written since its last snapshot, and lets it
//!    go on ([`origin`]);
//! 2. hands over a [`Letter`] and an image of its memory, which all its forks have together. From here on the new guest
//!    runs ([`clone`]); its process has claimed a folder meanwhile. The original waits for that, so as not to be in its
//!    way;
//! 3. writes its own snapshot, and the new machine, while both hold that machine's lock; then the new process answers
//!    on its socket like any other.
//!
//! What the new guest does before the third step exists only if that comes about: if the original ends before, so does
//! its fork.
//!
//! The socket takes packets (`SOCK_SEQPACKET`), because what is handed over are file descriptors, which HTTP has no
//! place for: see docs/decisions/0014.

pub mod clone;
pub mod origin;

use crate::client::ClientError;
use crate::description::Description;
use crate::error::ControlError;
use crate::home::{Home, MachineFolder, short_path};
use crate::machine_process::Task;
use crate::process::{self, Invocation};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, recvmsg,
    sendmsg, socket_with,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Most bytes of a packet.
const MAX_PACKET: usize = 16 << 10;
/// Most descriptors in one.
const MAX_DESCRIPTORS: usize = 2;
/// Connections that may wait.
const BACKLOG: i32 = 16;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packet {
    /// To the original: a fork of that name, please.
    Fork(String),
    /// To the clone: its containers, probably, and the machine that knows them. Making their files takes as long as
    /// anything else.
    Containers {
        /// The machine.
        of: String,
        /// Their names.
        names: Vec<String>,
    },
    /// To the clone, with the image of its memory and a file that has a [`Letter`] in so many bytes, and behind it,
    /// from the next page on, pages.
    Run {
        /// Its length.
        letter: u64,
    },
    /// To the original, with the clone's lock: it runs.
    Runs,
    /// To the clone: it exists.
    Durable,
    /// To the clone: it will not.
    Refused {
        /// A word for programs.
        kind: String,
        /// Why.
        message: String,
    },
}

/// What a fork needs to run, beside the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter<'a> {
    /// The snapshot's record, encoded.
    pub record: &'a [u8],
    /// vCPU and devices, encoded.
    pub state: &'a [u8],
    /// Ranges of numbers of the pages in the image: first, one past the last.
    pub runs: Vec<(u64, u64)>,
    /// Numbers of the pages that are otherwise, which the file has.
    pub changed: Vec<u64>,
}

impl<'a> Letter<'a> {
    /// Its bytes.
    ///
    /// # Errors
    /// None in practice.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(io::Error::other)
    }

    /// Reads it.
    ///
    /// # Errors
    /// `InvalidData`.
    pub fn decode(bytes: &'a [u8]) -> io::Result<Self> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let (letter, rest) =
            postcard::take_from_bytes(bytes).map_err(|error| invalid(format!("the letter: {error}")))?;
        if rest.is_empty() { Ok(letter) } else { Err(invalid("the letter goes on behind its end".into())) }
    }
}

/// A connection between the two processes.
#[derive(Debug)]
pub struct Connection(OwnedFd);

impl Connection {
    fn send(&self, packet: &Packet, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(packet)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// `UnexpectedEof` if the other side has closed it.
    fn receive(&self) -> io::Result<(Packet, Vec<OwnedFd>)> {
        let mut bytes = [0; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut iov = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                received => break received?,
            }
        };
        let descriptors = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors = descriptors.flatten().collect();
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet that is too long"));
        }
        let packet = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
        Ok((packet, descriptors))
    }

    /// Gives up after so long.
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&self.0, Timeout::Send, Some(patience))?;
        Ok(())
    }
}

/// Starts a fork of a running machine, and returns when it is there, running and durable: its process' number.
///
/// # Errors
/// [`ControlError::Client`], if the original does not run; [`ControlError::Process`] with its refusal, and others.
pub fn start(original: &MachineFolder, clone: MachineFolder, home: Home) -> Result<u32, ControlError> {
    // What it answers is for the new process, which has the connection as its standard input, and the original's log
    // until it has one of its own.
    let connection = ask(original, clone.name())?;
    let ram = Description::read(original)?.ram_bytes;
    let invocation = Invocation { task: Task::Fork { ram }, machine: clone, home };
    process::start_with(&invocation, &original.log(), connection.0.into())
}

/// Asks the process of a running machine for a fork.
fn ask(original: &MachineFolder, name: &str) -> Result<Connection, ClientError> {
    let path = original.fork_socket();
    let connected = at_socket(&path, |socket, address| connect(socket, address)).map(Connection);
    let asked = connected.and_then(|connection| {
        connection.send(&Packet::Fork(name.to_owned()), &[])?;
        Ok(connection)
    });
    asked.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(original.name().to_owned())
        }
        _ => ClientError::Broken { socket: path, why: error.to_string() },
    })
}

/// The socket of a running machine, for its owner alone.
///
/// # Errors
/// That of the system.
pub fn listening(machine: &MachineFolder) -> Result<OwnedFd, ControlError> {
    let path = machine.fork_socket();
    // Whoever holds the lock owns the socket: one that is there is of a process that was killed.
    let _ = fs::remove_file(&path);
    let listening = at_socket(&path, |socket, address| {
        bind(socket, address)?;
        listen(socket, BACKLOG)
    });
    listening.map_err(ControlError::io(&path))
}

/// A socket, with the address of this path.
fn at_socket(
    path: &Path,
    then: impl FnOnce(&OwnedFd, &SocketAddrUnix) -> Result<(), Errno>,
) -> io::Result<OwnedFd> {
    let (_folder, short) = short_path(path)?;
    let address = SocketAddrUnix::new(&short)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    then(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use rustix::net::socketpair;
    use std::os::fd::AsFd;

    fn pair() -> (Connection, Connection) {
        let (one, two) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Connection(one), Connection(two))
    }

    #[test]
    fn packets_come_with_their_descriptors_and_an_end_is_one() {
        let (one, two) = pair();
        let file = tempfile::tempfile().unwrap();
        one.send(&Packet::Run { letter: 7 }, &[file.as_fd(), file.as_fd()]).unwrap();
        one.send(&Packet::Refused { kind: "k".into(), message: "m".into() }, &[]).unwrap();
        drop(one);
        let (first, descriptors) = two.receive().unwrap();
        assert!(matches!(first, Packet::Run { letter: 7 }));
        assert_eq!(descriptors.len(), 2);
        assert!(matches!(two.receive().unwrap(), (Packet::Refused { .. }, none) if none.is_empty()));
        assert_eq!(two.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        let (one, two) = pair();
        let raw = |bytes: &[u8]| rustix::io::write(&one.0, bytes).map(drop).unwrap();
        raw(b"{\"fork\":");
        raw(&[b' '; MAX_PACKET + 1]);
        raw(b"{\"other\":1}");
        for _ in 0..3 {
            assert!(two.receive().is_err());
        }
        two.set_patience(Duration::from_millis(10)).unwrap();
        assert_eq!(two.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
