//! Folders of the host that containers are given: what a guest asks of them, done within them.
//!
//! A volume is an open folder. Every path is walked by the kernel from there, by openat2(2) with `RESOLVE_BENEATH`: no
//! `..`, no symbolic link and no absolute path leads out, whatever else on the host changes the folder meanwhile. What is
//! neither a regular file nor a folder is not opened: a pipe would wait for its other end, and a device is none of the
//! guest's.
//!
//! A [thread of its own](Mounting) works for the device, which there is from the first volume on: a machine without any
//! pays nothing.
//!
//! Nothing of it is in a snapshot. What a machine keeps of a file is its path and a number; when it goes on from a
//! snapshot, and nobody knows the number, the path is opened anew ([`OpenFiles`]).

#[cfg(any(debug_assertions, feature = "chaos"))]
mod disorder;
mod errno;
mod folder;
mod open_files;
mod requests;
mod served;

#[cfg(any(debug_assertions, feature = "chaos"))]
pub use disorder::Disorder;
use errno::refusal;
use folder::Folder;
use open_files::OpenFiles;
use sentient_abi::volumes::{MAX_VOLUMES, Request};
use sentient_wasi::Errno;
pub use served::{Mounting, Served, VolumeDevice};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The volumes of a machine.
#[derive(Debug, Default)]
pub struct Volumes {
    folders: BTreeMap<u32, Folder>,
    open: OpenFiles,
    /// What is to go wrong with the next calls.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    pub disorder: Disorder,
}

impl Volumes {
    /// Makes a folder of the host volume `number`, in place of what was it before.
    ///
    /// # Errors
    /// The error of opening the folder; of kind `QuotaExceeded` for a number that no machine has.
    pub fn add(&mut self, number: u32, folder: &Path, read_only: bool) -> io::Result<()> {
        if number >= MAX_VOLUMES {
            let why = format!("a machine has at most {MAX_VOLUMES} volumes");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        }
        self.remove(number);
        self.folders.insert(number, Folder::open(folder, read_only)?);
        Ok(())
    }

    /// Volume `number` is none any more.
    pub fn remove(&mut self, number: u32) {
        self.folders.remove(&number);
        self.open.close_all_of(number);
    }

    /// The guest is at another point of its life: what it had opened since then is nobody's.
    pub fn forget(&mut self) {
        self.open = OpenFiles::default();
    }

    /// Does what is asked; gives the answer.
    ///
    /// # Errors
    /// The error number that the program is given.
    pub fn serve(&mut self, request: &[u8]) -> Result<Vec<u8>, Errno> {
        let Request { volume, wanted } = Request::decode(request).ok_or(Errno::Inval)?;
        let folder = self.folders.get(&volume).ok_or(Errno::Nodev)?;
        #[cfg(any(debug_assertions, feature = "chaos"))]
        let wanted = self.disorder.disturb(wanted).map_err(refusal)?;
        requests::serve(folder, &mut self.open, volume, &wanted).map_err(refusal)
    }
}
