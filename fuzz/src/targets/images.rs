//! Files of the user's, and of the cache's.

use sentient_images::compile::compile;
use sentient_images::registry::Registry;
use sentient_images::tso::Package;
use sentient_images::tso::meta::Meta;
use sentient_images::tso::pack::Folder;
use sentient_images::tso::permissions::Permissions;
use sentient_images::tso::signature::{Algorithm, Key, Signatures};
use sentient_images::{CompiledImage, ImageCache, KernelImage};
use std::path::PathBuf;
use std::sync::LazyLock;

/// A command of WASI 0.2, as text.
const COMPONENT: &str = r#"(component
    (import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
    (core func $leave (canon lower (func $exit "exit")))
    (core module $program
        (import "host" "leave" (func $leave (param i32)))
        (func (export "run") (result i32) (call $leave (i32.const 1)) (i32.const 0)))
    (core instance $host (export "leave" (func $leave)))
    (core instance $instance (instantiate $program (with "host" (instance $host))))
    (func $run (result (result)) (canon lift (core func $instance "run")))
    (instance $command (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $command)))"#;

/// `(module (memory (export "memory") 2) (func (export "_start")))`
const SMALL: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x02\x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";
/// `(module (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))))`
const IMPORTING: &[u8] =
    b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x02\x26\x01\x16wasi_snapshot_preview1\x0bsched_yield\0\0";

static SMALL_IMAGE: LazyLock<Option<CompiledImage>> = LazyLock::new(|| compile(SMALL).ok());

/// A file that is no kernel, or a damaged one, is refused. The corpus is the ends of a real one: no input
/// is a whole one.
pub fn kernel_file(data: &[u8]) {
    assert!(KernelImage::from_bytes(data.to_vec()).is_err(), "a kernel of {} bytes was accepted", data.len());
}

/// What the cache gives for a module is what the compiler gives, whatever its entry holds.
pub fn image_cache(data: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    let cache = ImageCache::new(Some(folder.path().to_owned()));
    let Some(path) = cache.path(SMALL) else { return };
    if std::fs::write(path, data).is_ok() {
        let found = cache.image(SMALL).ok().map(|(image, _)| image);
        assert!(found == *SMALL_IMAGE, "the cache gave another image");
    }
}

/// A module compiles to an image whose code lies in it, or is refused with a message.
pub fn module(data: &[u8]) {
    match compile(data) {
        Ok(image) => {
            assert!(image.exec.start <= image.exec.end);
            assert!(image.exec.end <= image.bytes.len() as u64);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A package is the one that was signed, or refused with a message: no other bytes are it.
pub fn package(data: &[u8]) {
    match Package::open(data) {
        Ok(_) => assert!(packages().iter().any(|package| package == data), "another package was accepted"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The texts in a package are read, or refused with a message.
pub fn package_texts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(meta) = Meta::parse(&text) {
        let written = meta.to_text().unwrap_or_default();
        assert_eq!(Meta::parse(&written).ok(), Some(meta), "{written}");
    }
    let _ = Permissions::parse(&text);
    let _ = Signatures::parse(&text);
}

pub fn packages() -> Vec<Vec<u8>> {
    PACKAGES.clone()
}

static PACKAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let packed = |keys: &[Key]| {
        let folder = tempfile::tempdir().ok()?;
        std::fs::write(folder.path().join("meta.yaml"), META).ok()?;
        std::fs::write(folder.path().join("main.wasm"), SMALL).ok()?;
        std::fs::create_dir(folder.path().join("assets")).ok()?;
        std::fs::write(folder.path().join("assets/motd"), "welcome").ok()?;
        Some(Folder::read(folder.path()).ok()?.pack(keys).ok()?.bytes)
    };
    let ed25519 = || Key::new(Algorithm::Ed25519, &[7; 32]);
    let both = [ed25519(), Key::new(Algorithm::MlDsa65, &[7; 32])];
    [packed(&[ed25519()]), packed(&both)].into_iter().flatten().collect()
});

pub fn texts() -> Vec<Vec<u8>> {
    [META, PERMISSIONS].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// A registry that is read is written as one that says the same.
pub fn registry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(registry) = Registry::parse(text) else { return };
    let again = registry.to_text().and_then(|text| Registry::parse(&text));
    assert!(again.is_ok_and(|again| again == registry), "{registry:?} is written as another one");
    for offer in &registry.packages {
        assert!(registry.find(&offer.name, None).is_some(), "{} is not found", offer.name);
        assert_eq!(registry.find(&offer.name, Some(&offer.version)), Some(offer));
        assert!(!offer.file().contains('/'), "{} leads elsewhere", offer.file());
    }
}

pub fn registries() -> Vec<Vec<u8>> {
    let offer = "- name: a\n  version: 1.0.0\n  description: x\n  size: 9\n  digest: ";
    let digest = "6e".repeat(32);
    let older = offer.replace("1.0.0", "0.9.0-rc.1");
    vec![
        b"registry: 1\nname: main\nserial: 3\npackages: []\n".to_vec(),
        format!("registry: 1\nname: main\nserial: 3\npackages:\n{offer}{digest}\n{older}{digest}\n")
            .into_bytes(),
    ]
}

const META: &str = "tso: 1\nname: a\nversion: 1.0.0-rc.1+b\ndescription: x\nentry: main\nargs: [--a]\nenv: [A=b]\n\
    resources: { memory: 1M, cpu_time: 1s }\n";
const PERMISSIONS: &str = "version: 1\nfiles:\n- { path: /, access: read }\n- { path: /tmp, access: write }\n\
    env: [LANG]\nclocks: { wall: 1ms, monotonic: 1us }\nrandom: true\n\
    limits: { memory: 1M, cpu_time: 1s, open_files: 9, file_bytes: 1M, output: 1K }\n";

pub fn kernel_files() -> Vec<Vec<u8>> {
    let Ok(kernel) = KernelImage::embedded() else { return Vec::new() };
    let elf = kernel.elf();
    let (start, end) = (elf.iter().take(2048), elf.iter().skip(elf.len().saturating_sub(2048)));
    vec![
        start.clone().copied().collect(),
        end.clone().copied().collect(),
        start.chain(end).copied().collect(),
    ]
}

pub fn cache_entries() -> Vec<Vec<u8>> {
    let entry = || {
        let folder = tempfile::tempdir().ok()?;
        let cache = ImageCache::new(Some(folder.path().to_owned()));
        cache.image(SMALL).ok()?;
        std::fs::read(cache.path(SMALL)?).ok()
    };
    entry().into_iter().collect()
}

pub fn modules() -> Vec<Vec<u8>> {
    let containers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../resources/containers");
    let real = ["hello/hello.wasm", "kernels/kernels.wasm"].map(|name| std::fs::read(containers.join(name)));
    let component = wat::parse_str(COMPONENT).unwrap_or_default();
    let small = [SMALL.to_vec(), IMPORTING.to_vec(), component];
    small.into_iter().chain(real.into_iter().flatten()).collect()
}
