//! The process of a machine that is a fork of a running one.

use super::{Connection, Letter, Packet};
use crate::error::ControlError;
use crate::home::MachineFolder;
use crate::lock::Lock;
use sentient_snapshot::record::Record;
use sentient_vmm::MachineError;
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::memory::image::Image;
use sentient_vmm::snapshots::{MemoryWriter, PageBytes};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// Most bytes of a letter.
const MAX_LETTER: u64 = 64 << 20;

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// The machine that this one is a fork of.
#[derive(Debug)]
pub struct Original(Connection);

/// What it sends.
#[derive(Debug)]
pub struct Received {
    /// The snapshot that the fork goes on from, which its own first one is going to repeat.
    pub record: Record,
    state: Vec<u8>,
    image: Image,
    changed: Vec<u64>,
    /// A letter and `changed` pages, from `pages` on.
    file: File,
    pages: u64,
}

impl Original {
    /// The one at the other end of standard input, which nobody reads any more.
    ///
    /// # Errors
    /// The error of dup(2) or of opening /dev/null.
    pub fn at_standard_input() -> Result<Self, ControlError> {
        let replaced = || {
            let socket = io::stdin().as_fd().try_clone_to_owned()?;
            rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
            Ok(socket)
        };
        Ok(Self(Connection(replaced().map_err(ControlError::io("taking over the connection"))?)))
    }

    /// Waits for what there is to run. `prepare` is called with the containers that it probably has.
    ///
    /// # Errors
    /// [`ControlError`], the original's if it refuses.
    pub fn receive(&self, prepare: impl Fn(&[String])) -> Result<Received, ControlError> {
        loop {
            match self.next()? {
                (Packet::Containers(names), _) => prepare(&names),
                (Packet::Run { letter }, descriptors) => {
                    let [image, file] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| unexpected())?;
                    return Received::read(image, file.into(), letter)
                        .map_err(ControlError::io("reading what to run"));
                }
                _ => return Err(unexpected()),
            }
        }
    }

    /// Tells that the guest runs.
    ///
    /// # Errors
    /// [`ControlError::Io`] if nobody wants to know.
    pub fn runs(&self) -> Result<(), ControlError> {
        self.0.send(&Packet::Runs, &[]).map_err(ControlError::io("telling the machine that its fork runs"))
    }

    /// Waits until this machine exists, and is this process'.
    ///
    /// # Errors
    /// [`ControlError`]; it then never will.
    pub fn wait_until_durable(&self, machine: &MachineFolder) -> Result<Lock, ControlError> {
        match self.next()? {
            (Packet::Durable, descriptors) => {
                let [lock] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| unexpected())?;
                Ok(Lock::handed_over(machine, lock)?)
            }
            _ => Err(unexpected()),
        }
    }

    fn next(&self) -> Result<(Packet, Vec<OwnedFd>), ControlError> {
        match self.0.receive() {
            Ok((Packet::Refused { kind, message }, _)) => Err(ControlError::Process { kind, message }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ControlError::Conflict(
                "the machine that was to be forked has ended before its fork was written down".into(),
            )),
            received => received.map_err(ControlError::io("hearing from the machine that is forked")),
        }
    }
}

fn unexpected() -> ControlError {
    ControlError::Bug("the machine that is forked says something unexpected".into())
}

impl Received {
    fn read(image: OwnedFd, file: File, len: u64) -> io::Result<Self> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        if len > MAX_LETTER {
            return Err(invalid("the letter is too long"));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let (letter, rest) = postcard::take_from_bytes::<Letter<'_>>(&bytes).map_err(io::Error::other)?;
        if !rest.is_empty() {
            return Err(invalid("the letter does not end where it says"));
        }
        let Letter { record, state, runs, changed } = letter;
        Ok(Self {
            record: Record::decode(record).map_err(io::Error::other)?,
            state: state.to_vec(),
            image: Image::received(image, runs.into_iter().map(|(start, end)| start..end).collect())?,
            changed,
            file,
            pages: len.next_multiple_of(PAGE),
        })
    }

    /// vCPU and devices.
    ///
    /// # Errors
    /// [`ControlError::Machine`] for a state that this build cannot read.
    pub fn state(&self) -> Result<MachineState, ControlError> {
        Ok(MachineState::decode(&self.state).map_err(MachineError::from)?)
    }

    /// Gives the machine its memory.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn fill(self, memory: &MemoryWriter<'_>) -> Result<(), ControlError> {
        let Self { image, changed, file, mut pages, .. } = self;
        let failed = || ControlError::io("taking over memory");
        memory.lay(image).map_err(failed())?;
        let mut page: PageBytes = [0; PAGE as usize];
        for number in changed {
            file.read_exact_at(&mut page, pages).map_err(failed())?;
            memory.write(number, &page)?;
            pages += PAGE;
        }
        Ok(())
    }
}
