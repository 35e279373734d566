#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::meta::Meta;
use super::permissions::{FileAccess, NOTHING, Permissions};
use super::signature::{Algorithm, Key, Signatures};
use super::*;
use std::fs;
use std::time::Duration;
use tar::{EntryType, Header};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const DESCRIPTION: &str = "tso: 1\nname: greeter\nversion: 1.2.0\n";

fn key() -> Key {
    Key::new(Algorithm::Ed25519, &[7; 32])
}

fn file<'a>(path: &str, bytes: &'a [u8]) -> File<'a> {
    File { path: path.into(), bytes }
}

/// A package of these files, which are described and signed as they are.
fn sealed(description: &str, files: &[File<'_>], keys: &[Key]) -> Vec<u8> {
    let meta = Meta::parse(description).unwrap().with_files(files).unwrap().to_text().unwrap();
    described(&meta, files, keys)
}

fn described(meta: &str, files: &[File<'_>], keys: &[Key]) -> Vec<u8> {
    let signatures = Signatures::make(&Digest::of(meta.as_bytes()), keys).unwrap().to_text().unwrap();
    let mut all = files.to_vec();
    all.push(file(META, meta.as_bytes()));
    all.push(file(SIGNATURES, signatures.as_bytes()));
    archive::write(&all).unwrap()
}

fn usual() -> [File<'static>; 3] {
    [file(PROGRAM, MODULE), file(PERMISSIONS, NOTHING.as_bytes()), file("assets/a/motd", b"welcome")]
}

fn refused(bytes: &[u8]) -> String {
    Package::open(bytes).unwrap_err().to_string()
}

#[test]
fn a_folder_becomes_a_package_and_the_same_one_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("assets/a")).unwrap();
    fs::write(at("meta.yaml"), format!("{DESCRIPTION}args: [--loud]\n")).unwrap();
    fs::write(at("main.wasm"), MODULE).unwrap();
    fs::write(at("main.c"), "not packed").unwrap();
    for (name, content) in [("assets/a/motd", "welcome"), ("assets/a-b", "x"), ("assets/z", "")] {
        fs::write(at(name), content).unwrap();
    }
    let pack = || pack::Folder::read(folder.path()).unwrap().pack(&[key()]).unwrap();
    let packed = pack();
    assert_eq!(packed.bytes, pack().bytes);
    assert!(Package::is_likely(&packed.bytes) && !Package::is_likely(MODULE));
    let package = Package::open(&packed.bytes).unwrap();
    assert_eq!((package.digest, &package.meta), (packed.digest, &packed.meta));
    assert_eq!((package.meta.name.as_str(), package.meta.entry.as_str()), ("greeter", "_start"));
    assert_eq!((package.program, package.meta.args.as_slice()), (MODULE, &["--loud".to_owned()][..]));
    let assets: Vec<_> = package.assets().collect();
    assert_eq!(assets, [("a-b", &b"x"[..]), ("a/motd", b"welcome"), ("z", b"")]);
    package.check_signer(&key().public().to_string()).unwrap();
    let other = Key::new(Algorithm::Ed25519, &[8; 32]).public().to_string();
    assert!(package.check_signer(&other).unwrap_err().to_string().contains(&other));
    // What was unpacked can be packed again; what was changed meanwhile is told.
    fs::write(at("meta.yaml"), package.meta.to_text().unwrap()).unwrap();
    assert_eq!(pack().bytes, packed.bytes);
    fs::write(at("assets/z"), "changed").unwrap();
    let error = pack::Folder::read(folder.path()).unwrap().pack(&[key()]).unwrap_err().to_string();
    assert!(error.contains("assets/z is not the file that was packed"), "{error}");
    // What is neither a file nor a folder is not packed.
    std::os::unix::fs::symlink("/etc/passwd", at("assets/link")).unwrap();
    let error = || pack::Folder::read(folder.path()).unwrap_err().to_string();
    assert!(error().contains("assets/link: it is a symbolic link"), "{}", error());
    fs::remove_dir_all(at("assets")).unwrap();
    std::os::unix::fs::symlink("/etc", at("assets")).unwrap();
    assert!(error().contains("assets: it is a symbolic link"), "{}", error());
}

#[test]
fn both_algorithms_sign_and_none_of_their_signatures_is_believed_unseen() {
    let keys = || [key(), Key::new(Algorithm::MlDsa65, &[9; 32])];
    let bytes = sealed(DESCRIPTION, &usual(), &keys());
    assert_eq!(bytes, sealed(DESCRIPTION, &usual(), &keys()), "they are deterministic");
    let package = Package::open(&bytes).unwrap();
    let signers: Vec<String> = package.signatures.iter().map(|one| one.key().to_string()).collect();
    assert_eq!(signers, keys().map(|key| key.public().to_string()));
    // One that is of something else.
    let other = Digest::of(b"something else");
    for (at, key) in keys().iter().enumerate() {
        let wrong = key.sign(&other).unwrap();
        let mut signatures = keys().map(|key| key.sign(&package.digest).unwrap());
        signatures[at] = wrong;
        let list: String = signatures
            .iter()
            .map(|one| format!("- {}", yaml::write("", one).unwrap().trim_end().replace('\n', "\n  ")))
            .collect::<Vec<_>>()
            .join("\n");
        let list = Signatures::parse(&format!("version: 1\nsignatures:\n{list}\n")).unwrap();
        let error = list.checked(&package.digest).unwrap_err().to_string();
        assert!(error.contains(key.public().to_string().as_str()), "{error}");
    }
    assert!(Signatures::make(&other, &[key(), key()]).unwrap_err().to_string().contains("twice"));
    assert!(Signatures::make(&other, &[]).is_err());
}

#[test]
fn no_bit_of_a_package_can_be_another() {
    let good = sealed(DESCRIPTION, &usual(), &[key()]);
    Package::open(&good).unwrap();
    let mut bytes = good.clone();
    for bit in 0..good.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Package::open(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] = good[bit / 8];
    }
    for len in (0..good.len()).step_by(64) {
        assert!(Package::open(&good[..len]).is_err(), "{len} bytes of {}", good.len());
    }
    for more in [1, 511, 512, 1024, 10_240] {
        let mut longer = good.clone();
        longer.resize(good.len() + more, 0);
        assert!(refused(&longer).contains("behind the end"));
    }
}

/// An archive as others might make it.
fn foreign(files: &[File<'_>], change: impl Fn(&str, &mut Header)) -> Vec<u8> {
    let mut bytes = Vec::new();
    for File { path, bytes: content } in files {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        change(path, &mut header);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn archives_in_any_other_form_are_refused_with_the_reason() {
    let good = sealed(DESCRIPTION, &usual(), &[key()]);
    let files = archive::read(&good).unwrap();
    assert_eq!(foreign(&files, |_, _| ()), good, "the form is the one that tar has");

    let with = |path: &str| {
        let mut files = files.clone();
        files.insert(4, file(path, b"x"));
        foreign(&files, |_, _| ())
    };
    for (path, why) in [
        ("assets/../../etc/passwd", "`.` or `..`"),
        ("assets/./x", "`.` or `..`"),
        ("assets//x", "an empty part"),
        ("assets/x/", "an empty part"),
        ("/assets/x", "there are only"),
        ("../x", "there are only"),
        ("extra.txt", "there are only"),
        ("assets/a/motd", "is in it twice"),
        ("assets/a/motd/below", "is a file in it"),
        ("assets/a\nb", "control characters"),
        ("assets/z", "does not list it"),
        ("assets/a/a", "belongs behind"),
    ] {
        let error = refused(&with(path));
        assert!(error.contains(why), "{path}: {error}");
    }
    let long = format!("assets/{}", "x".repeat(93));
    assert_eq!(long.len(), 100);
    assert!(refused(&with(&long)).contains("does not list it"));

    let changed = |change: fn(&mut Header)| {
        refused(&foreign(&files, |path, header| {
            if path == "assets/a/motd" {
                change(header);
            }
        }))
    };
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let error = refused(&foreign(&files, |path, header| {
            if path == "assets/a/motd" {
                header.set_entry_type(kind);
            }
        }));
        assert!(error.contains("only plain files"), "{kind:?}: {error}");
    }
    for change in [
        (|header| header.set_mtime(1)) as fn(&mut Header),
        |header| header.set_mode(0o755),
        |header| header.set_uid(1000),
        |header| header.set_username("ada").unwrap(),
        |header| header.as_mut_bytes()[510] = 1,
    ] {
        assert!(changed(change).contains("something in it that a package has not"));
    }
    assert!(changed(|header| header.set_size(1 << 40)).contains("ends before that"));
    assert!(!changed(|header| header.set_size(u64::MAX)).is_empty());
    for missing in [META, PROGRAM, PERMISSIONS, SIGNATURES] {
        let rest: Vec<_> = files.iter().filter(|file| file.path != missing).cloned().collect();
        let error = refused(&foreign(&rest, |_, _| ()));
        assert!(error.contains(missing), "{error}");
    }
    for nothing in [&b""[..], &[0; 1024], MODULE] {
        assert!(Package::open(nothing).is_err());
    }
}

#[test]
fn what_is_in_a_package_is_what_was_signed() {
    let files = usual();
    let meta = Meta::parse(DESCRIPTION).unwrap().with_files(&files).unwrap().to_text().unwrap();
    let with = |meta: &str, files: &[File<'_>]| refused(&described(meta, files, &[key()]));
    // Another program than the listed one, of the same length; a longer one; one file less.
    let mut others = files.clone();
    others[0].bytes = b"\0asm\x02\0\0\0";
    assert!(with(&meta, &others).contains("main.wasm is not the file that was packed: its SHA3-256"));
    others[0].bytes = b"\0asm\x01\0\0\0\0";
    assert!(with(&meta, &others).contains("its bytes are 9"));
    assert!(with(&meta, &files[..2]).contains("lists assets/a/motd, which is not there"));
    assert!(with(DESCRIPTION, &files).contains("it lists no files"));
    // A description that was changed after it was signed.
    let signed = Signatures::make(&Digest::of(meta.as_bytes()), &[key()]).unwrap().to_text().unwrap();
    let newer = meta.replace("1.2.0", "1.3.0");
    let mut all = files.to_vec();
    all.push(file(META, newer.as_bytes()));
    all.push(file(SIGNATURES, signed.as_bytes()));
    assert!(refused(&archive::write(&all).unwrap()).contains("changed after it was signed"));
}

#[test]
fn texts_are_read_strictly() {
    let meta = |text: &str| Meta::parse(text).unwrap_err().to_string();
    let bomb: String = (1..30)
        .fold("a0: &a0 [x, x]\n".into(), |text, n| format!("{text}a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1));
    for (text, why) in [
        ("", "meta.yaml"),
        ("[1]", "meta.yaml"),
        ("name: x\nversion: 1.0.0\n", "`tso: 1` is missing"),
        ("tso: 2\nwhatever: later\n", "is of version 2"),
        ("tso: 1\nname: x\nversion: 1.0.0\ncolour: red\n", "colour"),
        ("tso: 1\nname: x\nversion: 1.0.0\nname: y\n", "duplicate"),
        ("tso: 1\nname: x\nversion: '1'\n", "version"),
        ("tso: 1\nname: Xy\nversion: 1.0.0\n", "`Xy` cannot be a package's name"),
        ("tso: 1\nname: ../x\nversion: 1.0.0\n", "cannot be a package's name"),
        ("tso: 1\nname: x-\nversion: 1.0.0\n", "cannot be a package's name"),
        ("tso: 1\nname: x\nversion: 1.0.0\nenv: [A]\n", "no NAME=value"),
        ("tso: 1\nname: x\nversion: 1.0.0\nenv: [A=1, A=2]\n", "`A` is there twice"),
        ("tso: 1\nname: x\nversion: 1.0.0\nentry: ''\n", "entry"),
        ("tso: 1\nname: x\nversion: 1.0.0\nresources: { memory: 1X }\n", "no unit of memory"),
        ("tso: 1\nname: x\nversion: 1.0.0\nresources: { memory: 1M, disk: 1M }\n", "disk"),
        (bomb.as_str(), "meta.yaml"),
    ] {
        let error = meta(text);
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!(meta("tso: 1\nname: x\nversion: 1.0.0\nargs: 5\n").contains("line 4"));

    let permissions = |text: &str| Permissions::parse(text).unwrap_err().to_string();
    for (text, why) in [
        ("files: []\n", "`version: 1` is missing"),
        ("version: 7\n", "is of version 7"),
        ("version: 1\nnetwork: []\n", "network"),
        ("version: 1\nfiles:\n- { path: tmp, access: read }\n", "does not begin with `/`"),
        ("version: 1\nfiles:\n- { path: /a/../b, access: read }\n", "`.` or `..`"),
        ("version: 1\nfiles:\n- { path: /a/, access: read }\n", "an empty part"),
        ("version: 1\nfiles:\n- { path: /a, access: read }\n- { path: /a, access: write }\n", "twice"),
        ("version: 1\nfiles:\n- { path: /a, access: execute }\n", "execute"),
        ("version: 1\nenv: [A=b]\n", "variable's name"),
        ("version: 1\nclocks: { wall: 0s }\n", "zero"),
        ("version: 1\nclocks: { wall: 2h }\n", "at most"),
        ("version: 1\nclocks: { cpu: 1s }\n", "cpu"),
        ("version: 1\nrandom: perhaps\n", "random"),
        ("version: 1\nlimits: { open_files: 4 }\n", "at least 5"),
        ("version: 1\nlimits: { memory: 0 }\n", "zero"),
    ] {
        let error = permissions(text);
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!(permissions("version: 1\nfiles:\n- { path: /a, acces: read }\n").contains("line 3"));

    let nothing = Permissions::parse(NOTHING).unwrap();
    assert!(nothing.files.is_empty() && !nothing.random && !nothing.allows_variable("HOME"));
    let some = Permissions::parse(
        "version: 1\nfiles: [{ path: /, access: read }]\nenv: [LANG]\nclocks: { monotonic: 1us }\nlimits: { memory: 1M }\n",
    )
    .unwrap();
    assert_eq!((some.files[0].path.as_str(), some.files[0].access), ("/", FileAccess::Read));
    assert_eq!((some.monotonic_clock, some.wall_clock), (Some(Duration::from_micros(1)), None));
    assert!(some.allows_variable("LANG") && !some.allows_variable("HOME"));
    assert_eq!(some.limits.memory, Some(1 << 20));
}
