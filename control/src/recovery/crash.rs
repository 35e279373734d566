//! What is kept of each fault for whoever wants to know why: a record, and a core that a debugger opens.
//!
//! The guest is copied while it stands still; all else is done on a thread of its own, when it has gone on.

use super::records::now_ms;
use super::send;
use crate::error::ControlError;
use crate::home::{MachineFolder, make_folder};
use crate::session::Session;
use sentient_crash::record::{self, CrashRecord};
use sentient_crash::symbols::{SymbolTable, elf_file};
use sentient_crash::{backtrace, core};
use sentient_images::kernel::embedded_symbols;
use sentient_vmm::Ended;
use sentient_vmm::machine::Stopped;
use sentient_vmm::machine::crash::Crash;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Records that are kept, the newest, and how many of them with their core.
const RECORDS: usize = 32;
const CORES: usize = 4;

/// Lines of the log that a record has, and how much of the log's end they are looked for in.
const LOG_LINES: usize = 24;
const LOG_BYTES: u64 = 16 << 10;

/// The longest record that is read, in bytes.
const MOST: u64 = 1 << 20;

const RECORD: &str = "json";
const CORE: &str = "core";
/// The file that a debugger is given beside a core.
const SYMBOLS: &str = "kernel.symbols.elf";

impl Session {
    /// Copies a guest that stands still after a fault.
    pub(super) fn crash(&self, fault: &Ended) -> Option<Crash> {
        let of = fault.clone();
        let taken = self.door.rescue(move |machine: &mut Stopped<'_>| (false, Crash::take(machine, &of)));
        match taken {
            Ok(Ok(crash)) => Some(crash),
            Ok(Err(error)) => {
                tracing::warn!(%error, "nothing is kept of the guest that has failed");
                None
            }
            Err(_) => None,
        }
    }
}

/// Writes what was copied, and sends it if that is wanted, on a thread of its own, for which nobody `waits` or somebody does; gives
/// the name that its files are going to have.
pub(super) fn keep(
    machine: &MachineFolder,
    unix_ns: u64,
    fault: &Ended,
    crash: Crash,
    waits: bool,
) -> Option<String> {
    let name = format!("crash-{}", now_ms(unix_ns));
    let (folder, stem, fault) = (machine.clone(), name.clone(), fault.clone());
    let write = move || match write(&folder, &stem, unix_ns, &fault, &crash) {
        Ok(record) => send::report(&folder, &record),
        Err(error) => tracing::warn!(%error, "what there is of the guest that has failed is not kept"),
    };
    let started = std::thread::Builder::new().name("crash".into()).spawn(write);
    let started =
        started.inspect_err(|error| tracing::warn!(%error, "nothing is kept of the guest that has failed"));
    let writing = started.ok()?;
    if waits {
        // What it has to say, it has logged.
        let _ = writing.join();
    }
    Some(name)
}

fn write(
    machine: &MachineFolder,
    name: &str,
    unix_ns: u64,
    fault: &Ended,
    crash: &Crash,
) -> Result<String, ControlError> {
    let folder = machine.panics();
    let failed = || ControlError::io(&folder);
    make_folder(&folder).map_err(failed())?;
    let symbols =
        SymbolTable::decode(embedded_symbols()).map_err(|error| ControlError::Bug(error.to_string()))?;
    let core = folder.join(name).with_extension(CORE);
    let mut file = BufWriter::new(File::create(&core).map_err(failed())?);
    let read = |address: u64, buffer: &mut [u8]| {
        if crash.read(address, buffer) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    core::write(&mut file, &crash.registers, machine.name(), &crash.ranges(), read).map_err(failed())?;
    file.into_inner().map_err(|error| failed()(error.into_error()))?;
    let elf = elf_file(&symbols).map_err(|error| ControlError::Bug(error.to_string()))?;
    fs::write(folder.join(SYMBOLS), elf).map_err(failed())?;
    let record = CrashRecord {
        unix_ns,
        fault: fault.kind().to_owned(),
        what: fault.to_string(),
        message: match fault {
            Ended::Panic(report) => Some(report.message.clone()).filter(|message| !message.is_empty()),
            _ => None,
        },
        registers: Some(crash.registers),
        frames: backtrace::frames(&crash.registers, &symbols, |at, buffer| crash.read(at, buffer)),
        stack: record::stack(&crash.registers, |at, buffer| crash.read(at, buffer)),
        log: last_lines(&machine.log()).unwrap_or_default(),
        core: core.file_name().map(|name| name.to_string_lossy().into_owned()),
    };
    let text = serde_json::to_string(&record).map_err(|error| ControlError::Bug(error.to_string()))?;
    crate::description::note(&folder.join(name).with_extension(RECORD), &format!("{text}\n"))?;
    tidy(&folder, RECORD, RECORDS).and_then(|()| tidy(&folder, CORE, CORES)).map_err(failed())?;
    Ok(text)
}

/// The last lines of the machine's log: what its process and the guest's kernel have said.
fn last_lines(log: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOG_BYTES)))?;
    let mut text = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    Ok(lines.get(first..).unwrap_or_default().iter().map(|line| (*line).to_owned()).collect())
}

/// Files of this kind, the oldest first.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_it = path.extension().is_some_and(|is| is == extension)
            && path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("crash-"));
        if is_it {
            found.push(path);
        }
    }
    // Their names have the time, in as many digits for some centuries.
    found.sort();
    Ok(found)
}

/// Leaves the newest ones.
fn tidy(folder: &Path, extension: &str, keep: usize) -> io::Result<()> {
    let found = files(folder, extension)?;
    let surplus = found.len().saturating_sub(keep);
    found.iter().take(surplus).try_for_each(fs::remove_file)
}

/// What is kept of a machine's faults, the oldest first. A record that cannot be read is left out.
///
/// # Errors
/// That of reading the folder.
pub fn crashes(machine: &MachineFolder) -> Result<Vec<CrashRecord>, ControlError> {
    let folder = machine.panics();
    let found = files(&folder, RECORD).map_err(ControlError::io(&folder))?;
    let read = |path: &PathBuf| {
        let mut text = Vec::new();
        File::open(path).ok()?.take(MOST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    };
    Ok(found.iter().filter_map(read).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["crash-3.core", "crash-1.core", "crash-2.core", "crash-1.json", "other-0.core", "trace.recover"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        tidy(folder.path(), CORE, 2).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["crash-1.json", "crash-2.core", "crash-3.core", "other-0.core", "trace.recover"]);
        assert_eq!(files(&folder.path().join("none"), CORE).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn of_a_long_log_the_last_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let text: String = (0..5000).map(|line| format!("line {line}\n")).collect();
        fs::write(&log, text).unwrap();
        let lines = last_lines(&log).unwrap();
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (LOG_LINES, Some("line 4999")));
    }
}
