//! Compiled images on disk.
//!
//! An entry is named by SHA3-256 of the module and of everything that decides how it is compiled: the
//! guest kernel's digest stands for that, since the kernel holds the same settings and the same wasmtime.
//! An entry carries a digest of its contents: one that does not match is a damaged or poisoned file, and
//! is compiled anew. Nothing depends on the cache being there.

use crate::compile::{CompileError, CompiledImage, compile};
use crate::kernel::EMBEDDED_DIGEST;
use sha3::{Digest, Sha3_256};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"SENTIMG2";
/// Magic, digest, then three 64-bit numbers: the code's start and end, and the memory minimum.
const HEADER_LEN: usize = 8 + 32 + 24;

/// Whether an image came from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Cached,
    /// It was compiled now.
    Compiled,
    /// An entry was there but not whole; it was compiled now and the entry replaced.
    Rebuilt,
}

/// Longest program and image together that are kept in memory, in bytes.
const MOST_REMEMBERED: usize = 1 << 20;

/// The folder of compiled images.
#[derive(Debug)]
pub struct ImageCache {
    folder: Option<PathBuf>,
    /// The last program and its image, for who [remembers](Self::remembering) it.
    last: Option<Mutex<Last>>,
}

/// A program and its image.
type Last = Option<(Vec<u8>, CompiledImage)>;

impl ImageCache {
    /// A cache in `folder`, which need not exist; `None` for no cache.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, last: None }
    }

    /// Keeps the last image in memory, if it is small: who starts one program again and again need not read and check it
    /// each time.
    #[must_use]
    pub fn remembering(self) -> Self {
        Self { last: Some(Mutex::default()), ..self }
    }

    fn last(&self) -> Option<MutexGuard<'_, Last>> {
        Some(self.last.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The image of a module.
    ///
    /// # Errors
    /// [`CompileError`] if the module cannot be compiled. Trouble with the cache is logged, not an error.
    pub fn image(&self, wasm: &[u8]) -> Result<(CompiledImage, Origin), CompileError> {
        self.image_while(wasm, || ())
    }

    /// The same, for who wants to know: if it has to be compiled, `compiling` is called before, and what it
    /// gives is dropped when that is done.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn image_while<G>(
        &self,
        wasm: &[u8],
        compiling: impl FnOnce() -> G,
    ) -> Result<(CompiledImage, Origin), CompileError> {
        let remembered = |last: &(Vec<u8>, CompiledImage)| (last.0 == wasm).then(|| last.1.clone());
        if let Some(image) = self.last().and_then(|last| last.as_ref().and_then(remembered)) {
            return Ok((image, Origin::Cached));
        }
        let (image, origin) = self.find(wasm, compiling)?;
        if let Some(mut last) = self.last()
            && wasm.len().saturating_add(image.bytes.len()) <= MOST_REMEMBERED
        {
            *last = Some((wasm.to_vec(), image.clone()));
        }
        Ok((image, origin))
    }

    fn find<G>(
        &self,
        wasm: &[u8],
        compiling: impl FnOnce() -> G,
    ) -> Result<(CompiledImage, Origin), CompileError> {
        let Some(folder) = &self.folder else {
            let _until_done = compiling();
            return Ok((compile(wasm)?, Origin::Compiled));
        };
        let key = key(wasm);
        let path = folder.join(format!("{key}.cwasm"));
        let origin = match read(&path, &key) {
            Ok(image) => return Ok((image, Origin::Cached)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Origin::Compiled,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cached image cannot be used; it is compiled anew");
                Origin::Rebuilt
            }
        };
        let _until_done = compiling();
        let image = compile(wasm)?;
        if let Err(error) = store(folder, &path, &key, &image) {
            tracing::warn!(path = %path.display(), %error, "the compiled image could not be cached");
        }
        Ok((image, origin))
    }

    /// The file of a module's image, whether or not it exists.
    #[must_use]
    pub fn path(&self, wasm: &[u8]) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.cwasm", key(wasm))))
    }
}

fn key(wasm: &[u8]) -> String {
    let mut hash = Sha3_256::new();
    hash.update(b"sentientos compiled image 1\0");
    hash.update(EMBEDDED_DIGEST.as_bytes());
    hash.update(wasm);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path, key: &str) -> io::Result<CompiledImage> {
    let metadata = fs::symlink_metadata(path)?;
    let ours = our_uid() == metadata.uid() && metadata.is_file() && metadata.mode() & 0o022 == 0;
    if !ours {
        return Err(io::Error::other("it is not a file that only its owner, this user, can write"));
    }
    let bytes = fs::read(path)?;
    parse(bytes, key).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "its digest does not match its contents and name")
    })
}

fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn parse(mut bytes: Vec<u8>, key: &str) -> Option<CompiledImage> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (digest, contents) = rest.split_at_checked(32)?;
    if digest_of(key, contents).as_bytes() != digest {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(contents.get(at..at + 8)?.try_into().ok()?));
    let (start, end, memory_minimum) = (number(0)?, number(8)?, number(16)?);
    // In place: a copy would touch as many new pages again.
    bytes.drain(..HEADER_LEN);
    Some(CompiledImage { bytes, exec: start..end, memory_minimum })
}

fn encode(key: &str, image: &CompiledImage) -> Vec<u8> {
    let mut contents = Vec::with_capacity(24 + image.bytes.len());
    for number in [image.exec.start, image.exec.end, image.memory_minimum] {
        contents.extend_from_slice(&number.to_le_bytes());
    }
    contents.extend_from_slice(&image.bytes);
    let mut bytes = Vec::with_capacity(HEADER_LEN + image.bytes.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(digest_of(key, &contents).as_bytes());
    bytes.extend_from_slice(&contents);
    bytes
}

/// The digest covers the key too: an entry is only good under its own name.
fn digest_of(key: &str, contents: &[u8]) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    hash.update(key.as_bytes()).update(contents);
    hash.finalize()
}

/// Written beside, then renamed: a reader finds the old entry, or the new one whole. Not synced: a lost
/// entry is compiled again, a torn one does not match its digest.
fn store(folder: &Path, path: &Path, key: &str, image: &CompiledImage) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&encode(key, image))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x01\0\0\0";

    fn cache() -> (tempfile::TempDir, ImageCache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::new(Some(folder.path().join("images")));
        (folder, cache)
    }

    #[test]
    fn who_waits_is_told_only_if_something_is_compiled() {
        let (_folder, cache) = cache();
        let mut told = 0;
        for _ in 0..2 {
            cache.image_while(EMPTY, || told += 1).unwrap();
        }
        assert_eq!(told, 1, "the second time it is there");
        ImageCache::new(None).image_while(EMPTY, || told += 1).unwrap();
        assert_eq!(told, 2, "without a cache it is compiled every time");
    }

    #[test]
    fn the_second_time_an_image_comes_from_the_cache_unchanged() {
        let (_folder, cache) = cache();
        let (first, origin) = cache.image(EMPTY).unwrap();
        assert_eq!(origin, Origin::Compiled);
        let (second, origin) = cache.image(EMPTY).unwrap();
        assert_eq!(origin, Origin::Cached);
        assert_eq!(first, second);
    }

    #[test]
    fn the_last_image_is_remembered_and_is_the_one_of_its_program() {
        let (folder, cache) = cache();
        let cache = cache.remembering();
        let other = [EMPTY, b"\0\x02\x01a"].concat();
        let (first, second) = (cache.image(EMPTY).unwrap().0, cache.image(&other).unwrap().0);
        std::fs::remove_dir_all(folder.path()).unwrap();
        // The first one has to be compiled again, and the second one not.
        assert_eq!(cache.image(&other).unwrap(), (second, Origin::Cached));
        assert_eq!(cache.image(EMPTY).unwrap(), (first, Origin::Compiled));
    }

    #[test]
    fn a_poisoned_entry_is_found_and_rebuilt() {
        let (_folder, cache) = cache();
        let (first, _) = cache.image(EMPTY).unwrap();
        let path = cache.path(EMPTY).unwrap();
        for position in [0, 9, 41, 200] {
            let mut bytes = fs::read(&path).unwrap();
            bytes[position] ^= 1;
            fs::write(&path, bytes).unwrap();
            let (again, origin) = cache.image(EMPTY).unwrap();
            assert_eq!((origin, &again), (Origin::Rebuilt, &first), "a flipped bit at {position}");
            assert_eq!(cache.image(EMPTY).unwrap().1, Origin::Cached);
        }
    }

    #[test]
    fn an_entry_that_others_can_write_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, cache) = cache();
        cache.image(EMPTY).unwrap();
        let path = cache.path(EMPTY).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(cache.image(EMPTY).unwrap().1, Origin::Rebuilt);
    }

    #[test]
    fn a_folder_that_cannot_be_made_costs_time_and_nothing_else() {
        let cache = ImageCache::new(Some(PathBuf::from("/proc/nowhere")));
        assert_eq!(cache.image(EMPTY).unwrap().1, Origin::Compiled);
    }
}
