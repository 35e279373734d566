//! `sentctl images` and `sentctl image`: packages of the home, by their names.

use super::machine::{Context, tree};
use crate::cli::package::{ImageCommand, PullArgs, PushArgs};
use crate::errors::CommandError;
use crate::registry::Place;
use sentient_control::home::Home;
use sentient_control::image_store::{ImageStore, Reference, Stored};
use sentient_images::tso::{Package, TsoError};
use serde_json::json;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

impl Context {
    /// `images`, and `image ls`.
    pub fn images(&self) -> Result<ExitCode, CommandError> {
        let images = ImageStore::of(self.home()).list()?;
        self.answer(&images, |out, images| write_images(out, images))
    }

    /// `push`.
    pub fn push(&self, args: &PushArgs) -> Result<ExitCode, CommandError> {
        let bytes = read(Some(self.home().path()), &args.package)?;
        let failed = |source| CommandError::Package { path: args.package.clone(), source };
        let package = Package::open(&bytes).map_err(failed)?;
        let version = package.meta.version.to_string();
        let place = Place::parse(&args.place, Some(&version), args.plain_http)?;
        let digest = self.during("sending the package", || place.push(&package, &bytes))?;
        let pushed = json!({ "place": place.address(), "digest": digest });
        self.answer(&pushed, |out, _| writeln!(out, "{}\n{digest}", place.address()))
    }

    /// `pull`.
    pub fn pull(&self, args: &PullArgs) -> Result<ExitCode, CommandError> {
        let place = Place::parse(&args.place, None, args.plain_http)?;
        let bytes = self.during("fetching the package", || place.pull())?;
        let refused = |problem: TsoError| CommandError::Registry {
            place: place.address(),
            problem: problem.to_string(),
        };
        let package = Package::open(&bytes).map_err(refused)?;
        if let Some(signer) = &args.signer {
            package.check_signer(signer).map_err(refused)?;
        }
        let image = ImageStore::of(self.home()).add(&bytes, args.replace)?;
        self.answer(&image, |out, image| write_names(out, std::slice::from_ref(image)))
    }

    /// `image`.
    pub fn image(&self, command: &ImageCommand) -> Result<ExitCode, CommandError> {
        let store = ImageStore::of(self.home());
        match command {
            ImageCommand::Ls => self.images(),
            ImageCommand::Add { packages, replace } => {
                let mut added = Vec::new();
                for path in packages {
                    let bytes = std::fs::read(path)
                        .map_err(|source| CommandError::Read { path: path.clone(), source })?;
                    added.push(store.add(&bytes, *replace)?);
                }
                self.answer(&added, |out, added| write_names(out, added))
            }
            ImageCommand::Rm { images } => {
                // Before the first is gone.
                let references =
                    images.iter().map(|image| reference(image)).collect::<Result<Vec<_>, _>>()?;
                let mut removed = Vec::new();
                for reference in &references {
                    removed.extend(store.remove(reference)?);
                }
                let names: Vec<String> =
                    removed.iter().map(|(name, version)| format!("{name}:{version}")).collect();
                self.answer(&names, |out, names| names.iter().try_for_each(|name| writeln!(out, "{name}")))
            }
        }
    }
}

/// The image that is named.
///
/// # Errors
/// [`CommandError::Usage`].
pub fn reference(text: &str) -> Result<Reference, CommandError> {
    Reference::parse(text).ok_or_else(|| {
        CommandError::Usage(format!(
            "`{text}` names no image: it is NAME or NAME:VERSION, as `greeter:1.2.0`"
        ))
    })
}

/// Where a program is: the file of this name, or else the image of this name.
///
/// # Errors
/// The error of looking for it.
pub fn find(home: Option<&Path>, program: &Path) -> Result<PathBuf, CommandError> {
    let given = || program.to_owned();
    if program.exists() {
        return Ok(given());
    }
    let Some(reference) = program.to_str().and_then(Reference::parse) else { return Ok(given()) };
    let home = Home::find(home.map(Path::to_owned))?;
    Ok(ImageStore::of(&home).find(&reference)?.unwrap_or_else(given))
}

/// The bytes of a program: of the file of this name, or else of the image of this name.
///
/// # Errors
/// [`CommandError::Read`], and the error of looking for it.
pub fn read(home: Option<&Path>, program: &Path) -> Result<Vec<u8>, CommandError> {
    std::fs::read(find(home, program)?).map_err(|error| unread(program, error))
}

/// What to say of a program that is neither there nor an image.
fn unread(program: &Path, error: io::Error) -> CommandError {
    let may_be_one = error.kind() == io::ErrorKind::NotFound
        && !matches!(program.extension().and_then(OsStr::to_str), Some("wasm" | "tso"))
        && program.to_str().is_some_and(|text| Reference::parse(text).is_some());
    let source = if may_be_one {
        io::Error::new(io::ErrorKind::NotFound, "there is no such file, and no image of that name")
    } else {
        error
    };
    CommandError::Read { path: program.to_owned(), source }
}

/// Images by name and version, a line each.
///
/// # Errors
/// That of writing.
pub fn write_names(out: &mut dyn Write, images: &[Stored]) -> io::Result<()> {
    images.iter().try_for_each(|image| writeln!(out, "{}:{}", image.name, image.version))
}

fn write_images(out: &mut dyn Write, images: &[Stored]) -> io::Result<()> {
    let row = |image: &Stored| -> [String; 5] {
        let (digest, signers) = match &image.package {
            Some(package) => (
                tree::short(&package.digest).to_owned(),
                package.signers.iter().map(|signer| tree::short(signer)).collect::<Vec<_>>().join(", "),
            ),
            None => ("damaged".to_owned(), String::new()),
        };
        let signed = if signers.is_empty() { "nobody".to_owned() } else { signers };
        [image.name.clone(), image.version.to_string(), digest, tree::bytes(image.bytes), signed]
    };
    let head = ["NAME", "VERSION", "DIGEST", "SIZE", "SIGNED BY"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(images.iter().map(row)).collect();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for row in &rows {
        let [name, version, digest, bytes, signed] = row;
        let [a, b, c, d] = widths[..] else { break };
        writeln!(out, "{name:<a$}  {version:<b$}  {digest:<c$}  {bytes:>d$}  {signed}")?;
    }
    Ok(())
}
