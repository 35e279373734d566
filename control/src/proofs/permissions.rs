//! A machine's contract: `permissions.zky` in its folder, or the built-in one.
//!
//! It is read for each transition, so that one that is edited holds from the next snapshot on. Records name
//! contracts by digest; the text of each one that was used is kept beside the chain, for whoever checks it.

use crate::error::ControlError;
use crate::home::MachineFolder;
use sentient_snapshot::hash::{hex, parse_hex};
use sentient_zk::chain::durable;
use sentient_zk::contract::file::MAX_LEN;
use sentient_zk::contract::{Contract, ContractError};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Most contracts that are read of one machine's folder.
const MOST: usize = 4096;

/// The contract of the last transition, so that a text is understood once.
#[derive(Debug, Default)]
pub struct Permissions {
    last: Option<Arc<Contract>>,
}

impl Permissions {
    /// What holds for a machine now.
    ///
    /// # Errors
    /// [`ControlError::Contract`] for a text that is none, with line and column.
    pub fn now(&mut self, machine: &MachineFolder) -> Result<Arc<Contract>, ControlError> {
        let path = machine.contract();
        let read = match text(&path) {
            Err(error) if error.is_absence() => None,
            read => Some(read?),
        };
        let wanted = read.as_deref().unwrap_or(sentient_zk::contract::file::DEFAULT);
        if let Some(last) = self.last.as_ref().filter(|last| last.text() == wanted) {
            return Ok(Arc::clone(last));
        }
        let contract = Contract::parse(wanted).map_err(|source| unreadable(&path, source))?;
        let contract = Arc::new(contract);
        self.last = Some(Arc::clone(&contract));
        Ok(contract)
    }
}

/// A contract in a file.
///
/// # Errors
/// [`ControlError::Io`], [`ControlError::Contract`].
pub fn read(path: &Path) -> Result<Contract, ControlError> {
    Contract::parse(&text(path)?).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: ContractError) -> ControlError {
    ControlError::Contract(format!("{}: {source}", path.display()))
}

/// A file's text, one byte more than a contract can have at most: that one is refused by its length.
fn text(path: &Path) -> Result<String, ControlError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_LEN as u64 + 1).read_to_string(&mut text));
    read.map_err(ControlError::io(path))?;
    Ok(text)
}

/// Keeps the text of a contract that a record names. Durable when it returns.
///
/// # Errors
/// The error of writing.
pub fn keep(folder: &Path, contract: &Contract) -> Result<(), ControlError> {
    let path = folder.join(format!("{}.zky", hex(&contract.digest())));
    if path.exists() {
        return Ok(());
    }
    durable::replace(&path, contract.text().as_bytes()).map_err(ControlError::io(&path))
}

/// All contracts that were kept. One that is not what its name says is left out, and so is missing where it
/// is needed.
///
/// # Errors
/// The error of reading the folder.
pub fn kept(folder: &Path) -> Result<Vec<Contract>, ControlError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(ControlError::io(folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(ControlError::io(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "zky") || found.len() == MOST {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(parse_hex);
        found.extend(read(&path).ok().filter(|contract| Some(contract.digest()) == name));
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::home::Home;

    const OTHER: &str = "version: 1\non_violation: reject\n";

    #[test]
    fn a_contract_holds_from_when_it_is_written_and_says_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Home::find(Some(folder.path().into())).unwrap().machine("m").unwrap();
        fs::create_dir_all(machine.path()).unwrap();
        let mut permissions = Permissions::default();
        let built_in = permissions.now(&machine).unwrap();
        assert_eq!(*built_in, Contract::built_in().unwrap());
        fs::write(machine.contract(), OTHER).unwrap();
        assert_eq!(permissions.now(&machine).unwrap().text(), OTHER);
        fs::write(machine.contract(), "version: 1\non_violation: maybe\n").unwrap();
        let refused = permissions.now(&machine).unwrap_err();
        assert_eq!(refused.kind(), "contract");
        assert!(refused.to_string().contains("line 2"), "{refused}");
        fs::remove_file(machine.contract()).unwrap();
        assert_eq!(permissions.now(&machine).unwrap(), built_in);
    }

    #[test]
    fn a_kept_contract_that_was_edited_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let contract = Contract::parse(OTHER).unwrap();
        keep(folder.path(), &contract).unwrap();
        keep(folder.path(), &Contract::built_in().unwrap()).unwrap();
        assert_eq!(kept(folder.path()).unwrap().len(), 2);
        let path = folder.path().join(format!("{}.zky", hex(&contract.digest())));
        fs::write(path, OTHER.replace("reject", "flag")).unwrap();
        assert_eq!(kept(folder.path()).unwrap(), [Contract::built_in().unwrap()]);
    }
}
