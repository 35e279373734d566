//! `sentctl repo`, `search`, `install` and `update`: packages from repositories, which are what their owners have signed.

use super::image;
use super::machine::{Context, tree};
use super::package::signing_key;
use crate::cli::repo::{
    InstallArgs, RepoAddArgs, RepoCommand, RepoMakeArgs, RepoPushArgs, SearchArgs, UpdateArgs,
};
use crate::errors::CommandError;
use crate::registry::{Place, SCHEME};
use sentient_control::error::ControlError;
use sentient_control::image_store::{ImageStore, Reference, Stored};
use sentient_control::repositories::{self, Repositories, Repository};
use sentient_images::registry::{Offer, REGISTRY, Registry, Signed};
use sentient_images::tso::{MAX_LEN, Package, SIGNATURES, TsoError};
use sentient_zk::chain::durable;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// A repository as `repo make` leaves it.
#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    serial: u64,
    packages: usize,
    key: String,
}

/// A package that can be had.
#[derive(Serialize)]
struct Found {
    name: String,
    version: String,
    description: String,
    size: u64,
    repository: String,
    installed: bool,
}

/// A repository after it was asked.
#[derive(Serialize)]
struct Updated {
    name: String,
    serial: u64,
    packages: usize,
    /// Images for which there is a newer package.
    newer: Vec<String>,
}

impl Context {
    fn repositories(&self) -> Repositories {
        Repositories::of(self.home())
    }

    /// `repo`.
    pub fn repo(&self, command: &RepoCommand) -> Result<ExitCode, CommandError> {
        match command {
            RepoCommand::Ls => {
                let all = self.repositories().list()?;
                self.answer(&all, |out, all| {
                    all.iter().try_for_each(|Repository { name, place, key, serial, .. }| {
                        writeln!(out, "{name}  {place}  serial {serial}  {key}")
                    })
                })
            }
            RepoCommand::Add(args) => self.repo_add(args),
            RepoCommand::Rm { names } => {
                // Before the first is gone.
                for name in names {
                    self.repositories().find(name)?;
                }
                names.iter().try_for_each(|name| self.repositories().remove(name).map(drop))?;
                self.answer(names, |out, names| names.iter().try_for_each(|name| writeln!(out, "{name}")))
            }
            RepoCommand::Make(args) => self.repo_make(args),
            RepoCommand::Push(args) => self.repo_push(args),
        }
    }

    fn repo_add(&self, args: &RepoAddArgs) -> Result<ExitCode, CommandError> {
        let place = match args.place.starts_with(SCHEME) {
            true => args.place.clone(),
            // It is found from everywhere.
            false => std::path::absolute(&args.place)
                .map_err(unread(Path::new(&args.place)))?
                .to_string_lossy()
                .into_owned(),
        };
        let repository = Repository {
            name: args.name.clone(),
            place,
            key: args.key.clone(),
            plain_http: args.plain_http,
            serial: 0,
        };
        let signed = self.during("asking the repository", || signed(&repository))?;
        let registry = self.repositories().add(&repository, &signed)?;
        self.answer(&self.repositories().find(&args.name)?, |out, repository| {
            write_state(out, &repository.name, registry.packages.len(), registry.serial)
        })
    }

    fn repo_make(&self, args: &RepoMakeArgs) -> Result<ExitCode, CommandError> {
        let key = signing_key(self.home(), args.key.as_deref())?;
        let owner = key.public().to_string();
        let unreadable = unread(&args.folder);
        let before = match args.folder.join(REGISTRY).exists() {
            false => None,
            true => {
                let signed = repositories::read(&args.folder).map_err(&unreadable)?;
                Some(signed.open(&owner).map_err(|error| CommandError::Usage(format!(
                    "{} has a registry that is not of this key: {error}; remove its {REGISTRY} and {SIGNATURES}, and whoever \
                     knows the repository has to add it again",
                    args.folder.display()
                )))?)
            }
        };
        let folder_name = std::path::absolute(&args.folder).map_err(&unreadable)?;
        let folder_name = folder_name.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = args.name.clone().or(before.as_ref().map(|before| before.name.clone())).or(folder_name);
        let offers = self.during("reading the packages", || offers(&args.folder))?;
        let serial = before.as_ref().map_or(1, |before| before.serial.saturating_add(1));
        let made = |source: TsoError| CommandError::Package { path: args.folder.clone(), source };
        let registry = Registry::new(&name.unwrap_or_default(), serial, offers).map_err(made)?;
        // What has not changed is not another one.
        let registry = match before {
            Some(before) if before.name == registry.name && before.packages == registry.packages => before,
            _ => {
                let Signed { registry: text, signatures } = Signed::make(&registry, &[key]).map_err(made)?;
                // Who reads between the two finds that they do not fit, and asks again.
                for (file, text) in [(SIGNATURES, signatures), (REGISTRY, text)] {
                    let path = args.folder.join(file);
                    durable::replace(&path, text.as_bytes())
                        .map_err(|source| CommandError::Write { path, source })?;
                }
                registry
            }
        };
        let Registry { name, serial, packages, .. } = &registry;
        let made = Made { name, serial: *serial, packages: packages.len(), key: owner };
        self.answer(&made, |out, made| {
            write_state(out, made.name, made.packages, made.serial)?;
            writeln!(out, "next: sentctl repo add {} {} --key {}", made.name, args.folder.display(), made.key)
        })
    }

    fn repo_push(&self, args: &RepoPushArgs) -> Result<ExitCode, CommandError> {
        let unreadable = unread(&args.folder);
        let signed = repositories::read(&args.folder).map_err(&unreadable)?;
        let refused = |source: TsoError| CommandError::Package { path: args.folder.clone(), source };
        let registry = Registry::parse(&signed.registry).map_err(refused)?;
        let place = Place::parse(&args.place, Some(LATEST), args.plain_http)?;
        let mut pushed = Vec::new();
        for offer in &registry.packages {
            let path = args.folder.join(offer.file());
            let bytes = fs::read(&path).map_err(unread(&path))?;
            let package = offer.check(&bytes).map_err(|source| CommandError::Package { path, source })?;
            let at = place_of(offer, &args.place, args.plain_http)?;
            self.during("sending the packages", || at.push(&package, &bytes))?;
            pushed.push(at.address());
        }
        // Last: what it offers can be had.
        self.during("sending the registry", || place.push_registry(&signed))?;
        pushed.push(place.address());
        self.answer(&pushed, |out, pushed| pushed.iter().try_for_each(|place| writeln!(out, "{place}")))
    }

    /// `search`.
    pub fn search(&self, args: &SearchArgs) -> Result<ExitCode, CommandError> {
        let words: Vec<String> = args.words.iter().map(|word| word.to_lowercase()).collect();
        let images = ImageStore::of(self.home()).list()?;
        let mut found = Vec::new();
        for (repository, registry) in self.known(None)? {
            for offer in registry.packages {
                let text = format!("{} {}", offer.name, offer.description).to_lowercase();
                if words.iter().all(|word| text.contains(word)) {
                    let installed = images.iter().any(|image| is(image, &offer));
                    let Offer { name, version, description, size, .. } = offer;
                    let (version, repository) = (version.to_string(), repository.name.clone());
                    found.push(Found { name, version, description, size, repository, installed });
                }
            }
        }
        self.answer(&found, |out, found| write_found(out, found))
    }

    /// `install`.
    pub fn install(&self, args: &InstallArgs) -> Result<ExitCode, CommandError> {
        let known = self.known(args.from.as_deref())?;
        // Before the first is there.
        let mut wanted = Vec::new();
        for text in &args.packages {
            let reference = image::reference(text)?;
            wanted.push(best(&known, &reference).ok_or_else(|| {
                CommandError::Usage(format!(
                    "no repository has a package `{text}`; `sentctl search` shows what there is, `sentctl update` asks \
                     the repositories again"
                ))
            })?);
        }
        let store = ImageStore::of(self.home());
        let mut installed = Vec::new();
        for (repository, offer) in wanted {
            let bytes = self.during("fetching the package", || package(repository, offer))?;
            offer.check(&bytes).map_err(|error| not_as_promised(repository, &error))?;
            installed.push(store.add(&bytes, args.replace)?);
        }
        self.answer(&installed, |out, installed| image::write_names(out, installed))
    }

    /// `update`.
    pub fn update(&self, args: &UpdateArgs) -> Result<ExitCode, CommandError> {
        let all = self.repositories();
        let wanted = match args.names.as_slice() {
            [] => all.list()?,
            names => names.iter().map(|name| all.find(name)).collect::<Result<_, _>>()?,
        };
        let images = ImageStore::of(self.home()).list()?;
        let (mut updated, mut failure) = (Vec::new(), None);
        for repository in wanted {
            // One that cannot be reached is in no other's way.
            let asked = self.during("asking the repositories", || signed(&repository));
            match asked.and_then(|signed| Ok(all.take(&repository, &signed)?)) {
                Ok(registry) => updated.push(Updated {
                    name: repository.name,
                    serial: registry.serial,
                    packages: registry.packages.len(),
                    newer: newer(&images, &registry),
                }),
                Err(error) => {
                    eprintln!("sentctl: {}: {error}", repository.name);
                    failure = Some(error);
                }
            }
        }
        let code = self.answer(&updated, |out, updated| {
            for Updated { name, serial, packages, newer } in updated {
                write_state(out, name, *packages, *serial)?;
                newer.iter().try_for_each(|newer| writeln!(out, "  {newer}"))?;
            }
            Ok(())
        })?;
        Ok(failure.map_or(code, |error| ExitCode::from(error.process_code())))
    }

    /// All repositories, or one, with what they had when they were last asked.
    fn known(&self, name: Option<&str>) -> Result<Vec<(Repository, Registry)>, CommandError> {
        let all = self.repositories();
        let wanted = match name {
            Some(name) => vec![all.find(name)?],
            None => all.list()?,
        };
        if wanted.is_empty() {
            return Err(CommandError::Usage(
                "there is no repository to look in; `sentctl repo add` makes one known".into(),
            ));
        }
        let with_registry = |repository: Repository| {
            let registry = all.registry(&repository)?;
            Ok((repository, registry))
        };
        wanted.into_iter().map(with_registry).collect()
    }
}

/// The tag of a registry in an OCI registry.
const LATEST: &str = "latest";

/// Where a package is below a place in an OCI registry.
fn place_of(offer: &Offer, place: &str, plain_http: bool) -> Result<Place, CommandError> {
    let address = format!("{}/{}", place.trim_end_matches('/'), offer.name);
    Place::parse(&address, Some(&offer.version.to_string()), plain_http)
}

/// What cannot be read of a repository. Not [`CommandError::Read`]: its exit code is for a program that is not there.
fn unread(path: &Path) -> impl Fn(io::Error) -> CommandError {
    let path = path.to_owned();
    move |error| ControlError::io(&path)(error).into()
}

/// What a repository has now. Nothing of it is checked.
fn signed(repository: &Repository) -> Result<Signed, CommandError> {
    let Repository { place, plain_http, .. } = repository;
    if place.starts_with(SCHEME) {
        return Place::parse(place, Some(LATEST), *plain_http)?.pull_registry();
    }
    repositories::read(Path::new(place)).map_err(unread(Path::new(place)))
}

/// A package's bytes. Nothing of them is checked.
fn package(repository: &Repository, offer: &Offer) -> Result<Vec<u8>, CommandError> {
    let Repository { place, plain_http, .. } = repository;
    if place.starts_with(SCHEME) {
        return place_of(offer, place, *plain_http)?.pull();
    }
    let path = Path::new(place).join(offer.file());
    let mut bytes = Vec::new();
    // One byte more than there should be is enough to know.
    let read = File::open(&path).and_then(|file| file.take(offer.size + 1).read_to_end(&mut bytes));
    read.map_err(unread(&path))?;
    Ok(bytes)
}

fn not_as_promised(repository: &Repository, error: &TsoError) -> CommandError {
    CommandError::Registry { place: repository.place.clone(), problem: error.to_string() }
}

/// What the packages of a folder are.
fn offers(folder: &Path) -> Result<Vec<Offer>, CommandError> {
    let unreadable = unread(folder);
    let mut offers = Vec::new();
    for entry in fs::read_dir(folder).map_err(&unreadable)? {
        let path = entry.map_err(&unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "tso") {
            continue;
        }
        let too_long = fs::metadata(&path).is_ok_and(|file| file.len() > MAX_LEN);
        let bytes = if too_long { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(&path) };
        let bytes = bytes.map_err(unread(&path))?;
        let package =
            Package::open(&bytes).map_err(|source| CommandError::Package { path: path.clone(), source })?;
        let offer = Offer::of(&package, &bytes);
        if path.file_name().is_none_or(|name| name != offer.file().as_str()) {
            let should = offer.file();
            return Err(CommandError::Usage(format!("{} has to be called {should} there", path.display())));
        }
        offers.push(offer);
    }
    Ok(offers)
}

/// Whether an image is the package that is offered.
fn is(image: &Stored, offer: &Offer) -> bool {
    image.package.as_ref().is_some_and(|package| package.digest == offer.digest.to_string())
}

/// The newest package of a name that any repository has; of the same one, that of the first.
fn best<'a>(known: &'a [(Repository, Registry)], wanted: &Reference) -> Option<(&'a Repository, &'a Offer)> {
    let mut best: Option<(&Repository, &Offer)> = None;
    for (repository, registry) in known {
        if let Some(offer) = registry.find(wanted.name(), wanted.version())
            && best.is_none_or(|(_, found)| offer.version > found.version)
        {
            best = Some((repository, offer));
        }
    }
    best
}

/// Images of which a registry has newer ones, for people.
fn newer(images: &[Stored], registry: &Registry) -> Vec<String> {
    let mut newer = Vec::new();
    // The newest of each name is the first of it.
    for (at, image) in images.iter().enumerate() {
        let known = images.iter().take(at).any(|other| other.name == image.name);
        let offered = registry.find(&image.name, None).filter(|offer| offer.version > image.version);
        if let Some(offer) = offered.filter(|_| !known) {
            newer.push(format!("{} {} -> {}", image.name, image.version, offer.version));
        }
    }
    newer
}

fn write_state(out: &mut dyn Write, name: &str, packages: usize, serial: u64) -> io::Result<()> {
    writeln!(out, "{name}: {packages} packages, serial {serial}")
}

fn write_found(out: &mut dyn Write, found: &[Found]) -> io::Result<()> {
    for Found { name, version, description, size, repository, installed } in found {
        let installed = if *installed { ", installed" } else { "" };
        writeln!(out, "{name}:{version}  {}  {repository}{installed}", tree::bytes(*size))?;
        if !description.is_empty() {
            writeln!(out, "  {description}")?;
        }
    }
    Ok(())
}
