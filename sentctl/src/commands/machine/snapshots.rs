//! Taking snapshots and going back to them.

use super::{Context, Reach, tree};
use crate::cli::machine::{
    DiffArgs, ExportArgs, ImportArgs, PruneArgs, RollbackArgs, SnapshotArgs, SnapshotCommand,
};
use crate::errors::CommandError;
use crate::progress::{Measure, Progress};
use sentient_control::api::{
    Difference, Import, Imported, Prune, Pruned, Rollback, RolledBack, SnapshotInfo, SnapshotTaken,
    TakeSnapshot, Verified,
};
use sentient_control::client::encoded;
use sentient_control::history::History;
use std::fs::File;
use std::io::{BufReader, BufWriter, IsTerminal, Read, Write};
use std::process::ExitCode;

/// Exit code of `verify` when something is wrong.
pub(super) const DAMAGED: u8 = 1;

impl Context {
    /// `snapshot`.
    pub fn snapshot(&self, args: &SnapshotArgs) -> Result<ExitCode, CommandError> {
        if let Some(SnapshotCommand::Rm { snapshots, force }) = &args.other {
            return self.remove(snapshots, *force);
        }
        let wanted = TakeSnapshot { message: args.message.clone(), tag: args.tag.clone() };
        let client = self.client()?;
        let taken: SnapshotTaken =
            self.during("taking a snapshot", || client.post("/v1/snapshots", &wanted))?;
        self.answer(&taken, |out, taken| {
            writeln!(
                out,
                "{}  {} pages, paused {}, durable after {}",
                tree::short(&taken.id),
                taken.dirty_pages,
                tree::time(taken.pause_us),
                tree::time(taken.durable_us)
            )
        })
    }

    fn remove(&self, names: &[String], force: bool) -> Result<ExitCode, CommandError> {
        let all = self.during("removing snapshots", || self.remove_each(names, force))?;
        self.answer(&all, write_pruned)
    }

    fn remove_each(&self, names: &[String], force: bool) -> Result<Pruned, CommandError> {
        let mut all = Pruned { removed: Vec::new(), freed_bytes: 0, waiting_bytes: 0 };
        for name in names {
            let pruned: Pruned = match self.reach()? {
                Reach::Running(client) => {
                    client.delete(&format!("/v1/snapshots/{}?force={force}", encoded(name)))?
                }
                Reach::Stopped(history) => history.remove(name, force)?,
            };
            all.removed.extend(pruned.removed);
            all.freed_bytes += pruned.freed_bytes;
            all.waiting_bytes = pruned.waiting_bytes;
        }
        Ok(all)
    }

    /// `log`.
    pub fn log(&self) -> Result<ExitCode, CommandError> {
        let list: Vec<SnapshotInfo> = match self.reach()? {
            Reach::Running(client) => client.get("/v1/snapshots")?,
            Reach::Stopped(history) => history.list()?,
        };
        self.answer(&list, |out, list| tree::write(out, list))
    }

    /// `rollback`.
    pub fn rollback(&self, args: &RollbackArgs) -> Result<ExitCode, CommandError> {
        let client = self.client()?;
        let done: RolledBack = if args.undo {
            self.during("going back", || client.post("/v1/rollback/undo", &serde_json::json!({})))?
        } else if args.snapshot.is_none() && args.back.is_none() {
            let message =
                "rollback needs a snapshot: a tag, an id, -n COUNT, or --undo; `sentctl log` shows them";
            return Err(CommandError::Usage(message.into()));
        } else {
            let wanted = Rollback { to: args.snapshot.clone(), back: args.back, discard: args.discard };
            self.during("going back", || client.post("/v1/rollback", &wanted))?
        };
        self.answer(&done, write_back)
    }

    /// `diff`.
    pub fn diff(&self, args: &DiffArgs) -> Result<ExitCode, CommandError> {
        let found: Difference = match self.reach()? {
            Reach::Running(client) => {
                client.get(&format!("/v1/diff?from={}&to={}", encoded(&args.from), encoded(&args.to)))?
            }
            Reach::Stopped(history) => history.diff(&args.from, &args.to)?,
        };
        self.answer(&found, |out, found| {
            writeln!(out, "{} pages differ", found.pages)?;
            for region in &found.regions {
                let name = match &region.container {
                    Some(container) => format!("{} {container}", region.name),
                    None => region.name.clone(),
                };
                writeln!(out, "  {name:<28} {:>7} of {} pages", region.pages, region.len / 4096)?;
                for range in region.ranges.iter().filter(|_| args.verbose) {
                    writeln!(out, "    {:#014x}  {} KiB", range.base, range.len >> 10)?;
                }
            }
            Ok(())
        })
    }

    /// `export`.
    pub fn export(&self, args: &ExportArgs) -> Result<ExitCode, CommandError> {
        // The store and the record are enough; the machine may run meanwhile.
        let stdout = std::io::stdout();
        if args.output.is_none() && stdout.is_terminal() {
            let message = "a snapshot is not for a terminal: use `> FILE` or --output FILE";
            return Err(CommandError::Usage(message.into()));
        }
        let reach = self.reach()?;
        let progress = Progress::start("exporting", Measure::Bytes, self.json);
        let out: Box<dyn Write> = match &args.output {
            Some(path) => Box::new(BufWriter::new(progress.counting(create(path)?))),
            None => Box::new(progress.counting(stdout.lock())),
        };
        let written = match reach {
            Reach::Running(client) => client
                .download(&format!("/v1/snapshots/{}/export", encoded(&args.snapshot)), out)
                .map_err(CommandError::from),
            Reach::Stopped(history) => history.export(&args.snapshot, out).map_err(CommandError::from),
        };
        if let (Err(_), Some(path)) = (&written, &args.output) {
            // It is ours, and half a snapshot is in the way of a whole one.
            let _ = std::fs::remove_file(path);
        }
        written.map(|()| ExitCode::SUCCESS)
    }

    /// `import`.
    pub fn import(&self, args: &ImportArgs) -> Result<ExitCode, CommandError> {
        let imported = match self.reach()? {
            Reach::Stopped(history) => self.import_into(&history, args)?,
            // Its process reads the file itself.
            Reach::Running(client) => {
                let file = args.file.as_ref().ok_or_else(|| {
                    CommandError::Usage(
                        "the machine runs, and takes a file: name it, or stop the machine first (`sentctl stop`)".into(),
                    )
                })?;
                let failed = |source| CommandError::Read { path: file.clone(), source };
                File::open(file).map_err(failed)?;
                let file = std::path::absolute(file).map_err(failed)?.to_string_lossy().into_owned();
                let wanted = Import { file, trust: args.trust.clone(), tag: args.tag.clone() };
                self.during("importing", || client.post("/v1/imports", &wanted))?
            }
        };
        self.answer(&imported, |out, imported: &Imported| writeln!(out, "{}", tree::short(&imported.id)))
    }

    fn import_into(&self, history: &History, args: &ImportArgs) -> Result<Imported, CommandError> {
        let (input, measure): (Box<dyn Read>, Measure) = match &args.file {
            Some(path) => {
                let failed = |source| CommandError::Read { path: path.clone(), source };
                let file = File::open(path).map_err(failed)?;
                // What is no file, such as a pipe with a name, has no length.
                let len = file.metadata().map_err(failed)?.len();
                let measure = if len > 0 { Measure::BytesOf(len) } else { Measure::Bytes };
                (Box::new(file), measure)
            }
            None => (Box::new(std::io::stdin().lock()), Measure::Bytes),
        };
        let progress = Progress::start("importing", measure, self.json);
        let input = BufReader::new(progress.counting(input));
        let imported = history.import(input, &args.trust, args.tag.as_deref());
        drop(progress);
        Ok(Imported { id: imported?.to_string() })
    }

    /// `prune`.
    pub fn prune(&self, args: &PruneArgs) -> Result<ExitCode, CommandError> {
        if args.unclaimed {
            return self.reclaim();
        }
        let reach = self.reach()?;
        let pruned: Pruned = self.during("pruning", || match reach {
            Reach::Running(client) => Ok(client.post("/v1/prune", &Prune { keep: args.keep })?),
            Reach::Stopped(history) => Ok::<_, CommandError>(history.prune(args.keep)?),
        })?;
        self.answer(&pruned, write_pruned)
    }

    /// `verify`.
    pub fn verify(&self, snapshot: Option<&str>) -> Result<ExitCode, CommandError> {
        let reach = self.reach()?;
        let found: Verified = self.during("verifying", || match reach {
            Reach::Running(client) => {
                Ok(client.post("/v1/verify", &serde_json::json!({ "snapshot": snapshot }))?)
            }
            Reach::Stopped(history) => Ok::<_, CommandError>(history.verify(snapshot)?),
        })?;
        self.answer(&found, |out, found| {
            for problem in &found.problems {
                writeln!(out, "{problem}")?;
            }
            let (snapshots, pages) = (found.snapshots, found.pages);
            match found.problems.len() {
                0 => writeln!(out, "{snapshots} snapshots, {pages} pages: all is well"),
                count => writeln!(out, "{snapshots} snapshots, {pages} pages: {count} problems"),
            }
        })?;
        Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
    }
}

fn create(path: &std::path::Path) -> Result<File, CommandError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => {
            CommandError::Usage(format!("{} exists already; choose another name", path.display()))
        }
        _ => CommandError::Write { path: path.to_owned(), source },
    };
    File::create_new(path).map_err(failed)
}

fn write_pruned(out: &mut dyn Write, pruned: &Pruned) -> std::io::Result<()> {
    for id in &pruned.removed {
        writeln!(out, "removed {}", tree::short(id))?;
    }
    let Pruned { removed, freed_bytes, waiting_bytes } = pruned;
    write!(out, "{} snapshots removed, {} given back", removed.len(), tree::bytes(*freed_bytes))?;
    if !removed.is_empty() && *waiting_bytes > 0 {
        write!(out, ", {} to be given back with more", tree::bytes(*waiting_bytes))?;
    }
    writeln!(out)
}

/// Tells where a machine was put back to.
pub(super) fn write_back(out: &mut dyn Write, done: &RolledBack) -> std::io::Result<()> {
    let (id, pause) = (tree::short(&done.id), tree::time(done.pause_us));
    writeln!(out, "back at {id}: {} pages, paused {pause}", done.pages)?;
    match &done.kept {
        Some(kept) => writeln!(
            out,
            "was kept as {}, {} of the pause; `sentctl rollback --undo` returns there",
            tree::short(kept),
            tree::time(done.keep_us)
        ),
        None => Ok(()),
    }
}
