//! A folder into a package.
//!
//! The folder has `meta.yaml` and `main.wasm`, and may have `permissions.zky` and a folder `assets/`. Without `main.wasm`
//! it has the [source](super::source) of it. Anything else in it is none of ours: sources may lie beside what is made of
//! them.

use super::archive::{self, File, MAX_FILES};
use super::digest::Digest;
use super::meta::Meta;
use super::permissions::{NOTHING, Permissions};
use super::signature::{Key, Signatures};
use super::source::{Compiled, Source};
use super::{ASSETS, MAX_LEN, META, PERMISSIONS, PROGRAM, SIGNATURES, TsoError};
use crate::CompileError;
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Deepest folder within `assets/`.
const MAX_DEPTH: usize = 64;

/// A folder that has been read, and can be packed.
#[derive(Debug)]
pub struct Folder {
    meta: Meta,
    program: Vec<u8>,
    permissions: Vec<u8>,
    assets: Vec<(String, Vec<u8>)>,
    said: String,
}

/// A package, packed.
#[derive(Debug)]
pub struct Packed {
    /// The package.
    pub bytes: Vec<u8>,
    /// What it is called by.
    pub digest: Digest,
    /// What it says of itself.
    pub meta: Meta,
}

impl Folder {
    /// Reads what belongs to a package, and checks it. A program that is there as its source is compiled.
    ///
    /// # Errors
    /// [`TsoError::Folder`] for files that are missing, too many or too large, or that are neither files nor folders;
    /// [`TsoError::Text`] for texts that are not in order; what [`Source::compile`] says.
    pub fn read(folder: &Path) -> Result<Self, TsoError> {
        let mut room = MAX_LEN;
        let meta = read(&folder.join(META), &mut room)?
            .ok_or_else(|| TsoError::on_disk(&folder.join(META), "it is missing"))?;
        let compiled = read(&folder.join(PROGRAM), &mut room)?;
        let permissions = read(&folder.join(PERMISSIONS), &mut room)?;
        let permissions = permissions.unwrap_or_else(|| NOTHING.as_bytes().to_vec());
        let mut assets = Vec::new();
        // Without the slash at its end, with which a link would be what it leads to.
        let below = folder.join(ASSETS.trim_end_matches('/'));
        if below.symlink_metadata().is_ok() {
            collect(&below, ASSETS, 0, &mut room, &mut assets)?;
        }
        Permissions::parse(text(&permissions, folder, PERMISSIONS)?)?;
        let meta = Meta::parse(text(&meta, folder, META)?)?;
        // Last: it may take long.
        let Compiled { wasm: program, said } = match compiled {
            Some(wasm) => Compiled { wasm, said: String::new() },
            None => Source::find(folder)?.compile()?,
        };
        Ok(Self { meta, program, permissions, assets, said })
    }

    /// Of these parts, which are checked as if they had been read.
    ///
    /// # Errors
    /// [`TsoError::Text`] for permissions that are none; [`TsoError::Folder`] for too much of it.
    pub(super) fn of(
        meta: Meta,
        program: Vec<u8>,
        permissions: Vec<u8>,
        assets: Vec<(String, Vec<u8>)>,
    ) -> Result<Self, TsoError> {
        let folder = Path::new(&meta.name);
        Permissions::parse(text(&permissions, folder, PERMISSIONS)?)?;
        if assets.len() > MAX_FILES {
            return Err(TsoError::on_disk(folder, format!("a package has at most {MAX_FILES} files")));
        }
        Ok(Self { meta, program, permissions, assets, said: String::new() })
    }

    /// What the package will be called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.meta.name
    }

    /// What a compiler had to say of the source, which are warnings; mostly nothing.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Whether the program can run, as [`compile`](crate::compile::compile) says.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn check_program(&self) -> Result<(), CompileError> {
        crate::compile::compile(&self.program).map(drop)
    }

    /// Packs and signs it.
    ///
    /// # Errors
    /// [`TsoError`].
    pub fn pack(self, keys: &[Key]) -> Result<Packed, TsoError> {
        let mut files = vec![
            File { path: PROGRAM.into(), bytes: &self.program },
            File { path: PERMISSIONS.into(), bytes: &self.permissions },
        ];
        let mut assets: Vec<File<'_>> =
            self.assets.iter().map(|(path, bytes)| File { path: path.clone(), bytes }).collect();
        assets.sort_by(|one, other| one.path.cmp(&other.path));
        files.extend(assets);
        let meta = self.meta.with_files(&files)?;
        let described = meta.to_text()?;
        let digest = Digest::of(described.as_bytes());
        let signatures = Signatures::make(&digest, keys)?.to_text()?;
        files.push(File { path: META.into(), bytes: described.as_bytes() });
        files.push(File { path: SIGNATURES.into(), bytes: signatures.as_bytes() });
        let bytes = archive::write(&files)?;
        Ok(Packed { bytes, digest, meta })
    }
}

fn text<'a>(bytes: &'a [u8], folder: &Path, name: &str) -> Result<&'a str, TsoError> {
    std::str::from_utf8(bytes)
        .map_err(|error| TsoError::on_disk(&folder.join(name), format!("it is not UTF-8: {error}")))
}

/// Reads a plain file if it is there, and takes its length from the room there is. Links are not followed: what a
/// package holds lies in its folder.
fn read(path: &Path, room: &mut u64) -> Result<Option<Vec<u8>>, TsoError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP) => {
            return Err(TsoError::on_disk(path, "it is a symbolic link; a package holds plain files"));
        }
        Err(error) => return Err(TsoError::on_disk(path, error)),
    };
    if !file.metadata().map_err(|error| TsoError::on_disk(path, error))?.is_file() {
        return Err(TsoError::on_disk(path, "it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(room.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| TsoError::on_disk(path, error))?;
    *room = room.checked_sub(bytes.len() as u64).ok_or_else(|| {
        TsoError::on_disk(path, format!("with it the package has more than {MAX_LEN} bytes"))
    })?;
    Ok(Some(bytes))
}

/// Reads all files below a folder.
fn collect(
    folder: &Path,
    name: &str,
    depth: usize,
    room: &mut u64,
    found: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), TsoError> {
    if depth > MAX_DEPTH {
        return Err(TsoError::on_disk(
            folder,
            format!("folders lie in one another more than {MAX_DEPTH} deep"),
        ));
    }
    if folder.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(TsoError::on_disk(folder, "it is a symbolic link; a package holds plain files"));
    }
    let failed = |error: std::io::Error| TsoError::on_disk(folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path: PathBuf = entry.path();
        let part =
            entry.file_name().into_string().map_err(|_| TsoError::on_disk(&path, "its name is not UTF-8"))?;
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(&path, &format!("{name}{part}/"), depth + 1, room, found)?;
            continue;
        }
        if found.len() >= MAX_FILES {
            return Err(TsoError::on_disk(folder, format!("a package has at most {MAX_FILES} files")));
        }
        let bytes =
            read(&path, room)?.ok_or_else(|| TsoError::on_disk(&path, "it went away while it was packed"))?;
        found.push((format!("{name}{part}"), bytes));
    }
    Ok(())
}
