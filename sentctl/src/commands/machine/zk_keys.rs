//! `zk keys`: the keys of a home, and which of them a machine uses.

use super::{Context, Reach, tree};
use crate::cli::zk::KeysCommand;
use crate::errors::CommandError;
use sentient_control::proofs::api::{KeyInfo, PinKeys};
use sentient_control::proofs::keyring::Keyring;
use sentient_control::proofs::{listing, worker};
use sentient_zk::keys::{KeySet, development, zkey};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

impl Context {
    /// `zk keys`.
    pub fn zk_keys(&self, command: &KeysCommand) -> Result<ExitCode, CommandError> {
        match command {
            KeysCommand::Show => {
                // A machine that is not there has no pin.
                let machine = self.machine().ok();
                let found = listing::keys(&Keyring::of(&self.home), machine.as_ref())?;
                self.answer(&found, |out, found| found.iter().try_for_each(|key| write(out, key)))
            }
            KeysCommand::Setup => {
                let keys = self.during("making keys", development::setup);
                self.add(&keys.map_err(sentient_control::error::ControlError::from)?)
            }
            KeysCommand::Import { file } => {
                let bytes = read(file)?;
                let keys = self.during("checking the keys", || zkey::import(&bytes));
                self.add(&keys.map_err(sentient_control::error::ControlError::from)?)
            }
            KeysCommand::Pin { key } => {
                let wanted = PinKeys { key: key.clone() };
                let pinned: KeyInfo = match self.reach()? {
                    Reach::Running(client) => client.put("/v1/zk/pin", &wanted)?,
                    Reach::Stopped(history) => worker::pin(&history, key)?,
                };
                self.answer(&pinned, |out, pinned| write(out, pinned))
            }
        }
    }

    fn add(&self, keys: &KeySet) -> Result<ExitCode, CommandError> {
        let pin = Keyring::of(&self.home).add(keys, true)?;
        self.answer(&KeyInfo::of(&pin, None, Some(&pin)), |out, key| write(out, key))
    }
}

fn write(out: &mut dyn Write, key: &KeyInfo) -> std::io::Result<()> {
    let marks = match (key.pinned, key.default) {
        (true, true) => "  the machine's, and for new machines",
        (true, false) => "  the machine's",
        (false, true) => "  for new machines",
        (false, false) => "",
    };
    writeln!(out, "{}  {}{marks}", tree::short(&key.verifying), key.origin)?;
    writeln!(out, "  verifying  {}", key.verifying)?;
    writeln!(out, "  proving    {}", key.proving)
}

/// A file, and no more than a byte over what one can have at most.
fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(zkey::max_len() as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|source| CommandError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}
