//! The process of a machine that is a fork of a running one.

use super::{Connection, Letter, Packet};
use crate::containers::{Containers, Kept};
use crate::error::ControlError;
use crate::history::Newborn;
use crate::home::{Home, MachineFolder};
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
use std::sync::Arc;
use std::thread::JoinHandle;

/// Most bytes of a letter.
const MAX_LETTER: u64 = 64 << 20;

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// The machine that this one is a fork of.
#[derive(Debug)]
pub struct Original(Connection);

/// A folder for the new machine, on its way: making files takes as long as making a virtual machine, and is done
/// beside it.
#[derive(Debug)]
pub struct Claim(JoinHandle<Result<Lock, ControlError>>);

impl Claim {
    /// Takes the folder, and makes the files of containers with these names, which the original knows, on another
    /// thread.
    ///
    /// # Errors
    /// [`ControlError::Io`] if there can be no thread.
    pub fn begin(
        machine: MachineFolder,
        containers: Arc<Containers>,
        original: MachineFolder,
        names: Vec<String>,
    ) -> Result<Self, ControlError> {
        let claim = move || {
            let lock = Newborn::claim(&machine)?;
            containers.make_files(&names);
            Kept::carry_over(&original, &machine, names.iter().map(String::as_str));
            Ok(lock)
        };
        let thread = std::thread::Builder::new().name("folder".into()).spawn(claim);
        thread.map(Self).map_err(ControlError::io("starting the thread that claims a folder"))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if there is such a machine, and others.
    pub fn wait(self) -> Result<Lock, ControlError> {
        let panicked = |_| Err(ControlError::Bug("the thread that claims a folder panicked".into()));
        self.0.join().unwrap_or_else(panicked)
    }
}

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

    /// Waits for its folder, and the names of the containers that there are going to be, probably.
    ///
    /// # Errors
    /// [`ControlError`], the original's if it refuses.
    pub fn containers(&self, home: &Home) -> Result<(MachineFolder, Vec<String>), ControlError> {
        match self.next()? {
            (Packet::Containers { of, names }, _) => Ok((home.machine(&of)?, names)),
            _ => Err(unexpected()),
        }
    }

    /// Waits for what there is to run.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn receive(&self) -> Result<Received, ControlError> {
        match self.next()? {
            (Packet::Run { letter }, descriptors) => {
                let [image, file] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| unexpected())?;
                Received::read(image, file.into(), letter).map_err(ControlError::io("reading what to run"))
            }
            _ => Err(unexpected()),
        }
    }

    /// Tells that the guest runs, with the machine's lock, and waits until the machine exists.
    ///
    /// # Errors
    /// [`ControlError`]; it then never will.
    pub fn wait_until_durable(&self, lock: &Lock) -> Result<(), ControlError> {
        let told = self.0.send(&Packet::Runs, &[lock.as_fd()]);
        told.map_err(ControlError::io("telling the machine that its fork runs"))?;
        match self.next()? {
            (Packet::Durable, _) => Ok(()),
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
        let Letter { record, state, runs, changed } = Letter::decode(&bytes)?;
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
