//! `cp`: files into containers and out of them, by the rules of podman's.

use super::Context;
use crate::cli::containers::CpArgs;
use crate::errors::CommandError;
use sentient_control::api::{Copied, FileInfo, FileType};
use sentient_control::client::{Client, ClientError, UploadError, encoded};
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use tar::{Archive, Builder};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// In a container: its name, and a path there.
    Container(&'a str, &'a str),
    /// On this host.
    Host(&'a Path),
    /// Standard input or output, which have an archive.
    Stream,
}

impl<'a> Place<'a> {
    /// A word of the command line. What has a colon before any slash is in a container.
    fn of(word: &'a str) -> Self {
        if word == "-" {
            return Self::Stream;
        }
        match word.split_once(':') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') => Self::Container(name, path),
            _ => Self::Host(Path::new(word)),
        }
    }
}

/// What is where something is to be copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    File,
    Directory,
}

/// Where something goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Into the directory that was named, under this name; if that is empty, what is in the source stands alone.
    Within(String),
    /// Under the name that was given, next to what is there.
    Beside,
}

impl Context {
    /// `cp`.
    pub fn cp(&self, args: &CpArgs) -> Result<ExitCode, CommandError> {
        let copied = match (Place::of(&args.from), Place::of(&args.to)) {
            (Place::Container(name, path), Place::Stream) => return self.copy_to_stream(name, path),
            (Place::Container(name, from), Place::Host(to)) => self.copy_out(name, from, to)?,
            (Place::Host(from), Place::Container(name, to)) => self.copy_in(from, name, to)?,
            (Place::Stream, Place::Container(name, to)) => self.copy_from_stream(name, to)?,
            (Place::Container(..), Place::Container(..)) => {
                let why = "cp copies between a container and this host; `sentctl cp A:PATH - | sentctl cp - B:PATH` \
                           copies between two of them";
                return Err(CommandError::Usage(why.into()));
            }
            _ => {
                let why = "one of the two must be in a container, as in `web:/data`, and the other one not";
                return Err(CommandError::Usage(why.into()));
            }
        };
        // Who did not ask for more wants to hear of failures alone.
        self.answer(&copied, |_, _| Ok(()))
    }

    fn copy_to_stream(&self, name: &str, path: &str) -> Result<ExitCode, CommandError> {
        let out = io::stdout();
        if out.is_terminal() {
            let why = "an archive is nothing for a terminal: `sentctl cp ... - > FILE`";
            return Err(CommandError::Usage(why.into()));
        }
        let (path, called) = as_it_is(path);
        let query = query(name, path, called.as_deref());
        let client = self.client()?;
        self.during("copying", || client.download(&query, out.lock()))?;
        Ok(ExitCode::SUCCESS)
    }

    fn copy_from_stream(&self, name: &str, to: &str) -> Result<Copied, CommandError> {
        self.upload(name, to, "standard input", |out| io::copy(&mut io::stdin().lock(), out).map(drop))
    }

    fn copy_in(&self, from: &Path, name: &str, to: &str) -> Result<Copied, CommandError> {
        let shown = from.display().to_string();
        let failed = |source| CommandError::Copy { what: shown.clone(), source };
        let is_directory = fs::metadata(from).map_err(failed)?.is_dir();
        let there = match look(&self.client()?, name, to)? {
            None => There::Nothing,
            Some(FileInfo { kind: FileType::Directory, .. }) => There::Directory,
            Some(_) => There::File,
        };
        let own = (!ends_in_dot(&from.to_string_lossy())).then(|| from.file_name()).flatten();
        let own = own.map_or_else(String::new, |own| own.to_string_lossy().into_owned());
        let (directory, called) = match settle(to, there, is_directory, own)? {
            Target::Within(called) => (to, called),
            Target::Beside => (split(to).0, split(to).1.to_owned()),
        };
        let from = from.to_owned();
        self.upload(name, directory, &shown, move |out| write_archive(&from, &called, out))
    }

    fn copy_out(&self, name: &str, from: &str, to: &Path) -> Result<Copied, CommandError> {
        let client = self.client()?;
        let (path, own) = as_it_is(from);
        let is_directory = match look(&client, name, path)? {
            Some(info) => info.kind == FileType::Directory,
            // Which the machine says better.
            None => false,
        };
        let there = match fs::metadata(to) {
            Ok(there) if there.is_dir() => There::Directory,
            Ok(_) => There::File,
            Err(_) => There::Nothing,
        };
        let own = own.unwrap_or_else(|| split(path).1.to_owned());
        let (directory, called) = match settle(&to.to_string_lossy(), there, is_directory, own)? {
            Target::Within(called) => (to, called),
            Target::Beside => {
                let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
                let called = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (parent.unwrap_or(Path::new(".")), called)
            }
        };
        let (mut reader, writer) = io::pipe().map_err(|source| copying(to, source))?;
        let into = directory.to_owned();
        let unpacking = std::thread::spawn(move || {
            let done = unpack(&mut reader, &into);
            // The rest is taken as well, so that the other side can say how it ended.
            let rest = io::copy(&mut reader, &mut io::sink());
            done.and_then(|copied| rest.map(|_| copied))
        });
        let query = query(name, path, Some(&called));
        let sent = self.during("copying", || client.download(&query, writer));
        let unpacked =
            unpacking.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes panicked")));
        // If nothing could be written, that is why nothing could be sent.
        sent?;
        unpacked.map_err(|source| copying(to, source))
    }

    fn upload(
        &self,
        name: &str,
        directory: &str,
        from: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<Copied, CommandError> {
        let path = format!("/v1/containers/{}/files?path={}", encoded(name), encoded(directory));
        self.during("copying", || {
            self.client()?.upload(&path, write).map_err(|error| match error {
                UploadError::Source(source) => CommandError::Copy { what: from.to_owned(), source },
                UploadError::Client(error) => error.into(),
            })
        })
    }
}

fn copying(to: &Path, source: io::Error) -> CommandError {
    CommandError::Copy { what: format!("to {}", to.display()), source }
}

/// Where something goes that is called `own`, if it is to go `to`.
fn settle(to: &str, there: There, is_directory: bool, own: String) -> Result<Target, CommandError> {
    match (there, is_directory) {
        (There::Directory, _) => Ok(Target::Within(own)),
        (There::File, true) => {
            Err(CommandError::Usage(format!("{to} is a file, and a directory was to be copied there")))
        }
        (There::Nothing, false) if to.ends_with('/') => {
            Err(CommandError::Usage(format!("there is no directory {to}")))
        }
        (There::File | There::Nothing, _) => Ok(Target::Beside),
    }
}

/// What a path of a container's names; `None` if nothing.
fn look(client: &Client, name: &str, path: &str) -> Result<Option<FileInfo>, CommandError> {
    // Of the container itself the machine says otherwise whether it is there.
    let root = format!("/v1/containers/{}/file?path=%2F", encoded(name));
    let _: FileInfo = client.get(&root)?;
    match client.get(&format!("/v1/containers/{}/file?path={}", encoded(name), encoded(path))) {
        Ok(info) => Ok(Some(info)),
        Err(ClientError::Refused(refusal)) if refusal.kind == "not-found" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Files of a container, called something else if that is given.
fn query(name: &str, path: &str, called: Option<&str>) -> String {
    let called = called.map_or_else(String::new, |called| format!("&as={}", encoded(called)));
    format!("/v1/containers/{}/files?path={}{called}", encoded(name), encoded(path))
}

fn write_archive(from: &Path, called: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut builder = Builder::new(out);
    builder.follow_symlinks(false);
    if fs::metadata(from)?.is_dir() {
        builder.append_dir_all(if called.is_empty() { "." } else { called }, from)?;
    } else {
        builder.append_file(called, &mut File::open(from)?)?;
    }
    builder.finish()
}

/// Puts what is in an archive into a directory. Nothing gets out of there, by whatever name or link.
fn unpack(archive: &mut impl Read, into: &Path) -> io::Result<Copied> {
    let mut archive = Archive::new(archive);
    let mut copied = Copied { files: 0, bytes: 0 };
    for entry in archive.entries()? {
        let mut entry = entry?;
        copied.files += 1;
        copied.bytes = copied.bytes.saturating_add(entry.size());
        if !entry.unpack_in(into)? {
            let name = entry.path()?.display().to_string();
            return Err(io::Error::other(format!("{name} leads out of where it is to go")));
        }
    }
    Ok(copied)
}

/// Whether what is in a directory is meant, and not the directory.
fn ends_in_dot(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// A path in a container, and what it is called in an archive: nothing if what is in it is meant.
fn as_it_is(path: &str) -> (&str, Option<String>) {
    match path.strip_suffix("/.") {
        Some(directory) => (directory, Some(String::new())),
        None => (path, None),
    }
}

/// The directory that a path of a container's is in, and its name there.
fn split(path: &str) -> (&str, &str) {
    path.trim_end_matches('/').rsplit_once('/').unwrap_or(("/", path.trim_end_matches('/')))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_their_colons() {
        assert_eq!(Place::of("web:/data/x:y"), Place::Container("web", "/data/x:y"));
        assert_eq!(Place::of("web:data"), Place::Container("web", "data"));
        assert_eq!(Place::of("-"), Place::Stream);
        for word in ["./web:x", "/a:b", ":x", "data", "a/b:c"] {
            assert_eq!(Place::of(word), Place::Host(Path::new(word)), "{word}");
        }
    }

    #[test]
    fn copies_go_where_podmans_go() {
        let settle = |to, there, is_directory| settle(to, there, is_directory, "own".into()).ok();
        let within = Some(Target::Within("own".into()));
        for is_directory in [false, true] {
            assert_eq!(settle("d/", There::Directory, is_directory), within);
            assert_eq!(settle("new", There::Nothing, is_directory), Some(Target::Beside));
        }
        assert_eq!(settle("f", There::File, false), Some(Target::Beside));
        assert_eq!(settle("f", There::File, true), None);
        assert_eq!(settle("new/", There::Nothing, false), None);
        assert_eq!(settle("new/", There::Nothing, true), Some(Target::Beside));
    }

    #[test]
    fn paths_are_split_where_their_last_part_begins() {
        for (path, parts) in
            [("/a/b", ("/a", "b")), ("/a/b/", ("/a", "b")), ("a", ("/", "a")), ("/a", ("", "a"))]
        {
            assert_eq!(split(path), parts, "{path}");
        }
        assert_eq!(as_it_is("/data/."), ("/data", Some(String::new())));
        assert_eq!(as_it_is("/data"), ("/data", None));
    }

    #[test]
    fn an_archive_that_leads_out_is_refused() {
        let mut builder = Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_mut_bytes()[..4].copy_from_slice(b"../x");
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("into");
        fs::create_dir(&into).unwrap();
        assert!(unpack(&mut &bytes[..], &into).unwrap_err().to_string().contains("leads out"));
        assert!(!folder.path().join("x").exists());
    }
}
