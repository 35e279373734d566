//! Folders of the host, as guests ask for what is in them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use sentient_abi::volumes::{Attributes, Handle, Kind, Listed, MAX_DATA, Place, Request, Wanted, flags};
use sentient_vmm::volumes::Volumes;
use sentient_wasi::Errno;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

/// A volume over a folder, which lies beside something that is none of the guest's.
struct Stage {
    around: TempDir,
    volumes: Volumes,
}

const SECRET: &str = "none of the guest's";

impl Stage {
    fn new(read_only: bool) -> Self {
        let around = tempfile::tempdir().unwrap();
        fs::create_dir(around.path().join("v")).unwrap();
        fs::write(around.path().join("secret"), SECRET).unwrap();
        let mut volumes = Volumes::default();
        volumes.add(3, &around.path().join("v"), read_only).unwrap();
        Self { around, volumes }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.around.path().join("v").join(path)
    }

    fn put(&self, path: &str, bytes: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), bytes).unwrap();
    }

    fn ask(&mut self, wanted: Wanted<'_>) -> Result<Vec<u8>, Errno> {
        self.volumes.serve(&Request { volume: 3, wanted }.encode())
    }

    fn look(&mut self, path: &str, how: u32) -> Result<Attributes, Errno> {
        self.ask(Wanted::Look(at(path), how)).map(|bytes| Attributes::decode(&bytes).unwrap())
    }

    fn open(&mut self, number: u64, path: &str, how: u32) -> Result<Attributes, Errno> {
        self.ask(Wanted::Open(handle(number, path, how))).map(|bytes| Attributes::decode(&bytes).unwrap())
    }

    fn read(&mut self, number: u64, path: &str, place: u64) -> Result<String, Errno> {
        let read = self.ask(Wanted::Read(handle(number, path, flags::READ), place, u32::MAX));
        read.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn write(
        &mut self,
        number: u64,
        path: &str,
        how: u32,
        place: u64,
        text: &str,
    ) -> Result<[u64; 2], Errno> {
        let written =
            self.ask(Wanted::Write(handle(number, path, flags::WRITE | how), place, text.as_bytes()))?;
        let word = |at: usize| u64::from_le_bytes(written[at..at + 8].try_into().unwrap());
        Ok([word(0), word(8)])
    }

    fn names(&mut self, number: u64, path: &str) -> Vec<(String, Kind)> {
        let (mut names, mut from) = (Vec::new(), 0);
        loop {
            let page = self.ask(Wanted::List(handle(number, path, flags::READ), from, u32::MAX)).unwrap();
            let mut rest = &page[..];
            while let Some(listed) = Listed::take(&mut rest) {
                names.push((String::from_utf8(listed.name.to_vec()).unwrap(), listed.kind));
                from = listed.next;
            }
            if page.is_empty() {
                names.sort_by(|one, other| one.0.cmp(&other.0));
                return names;
            }
        }
    }
}

fn at(path: &str) -> Place<'_> {
    Place { base: b"", path: path.as_bytes() }
}

fn from<'a>(base: &'a str, path: &'a str) -> Place<'a> {
    Place { base: base.as_bytes(), path: path.as_bytes() }
}

fn handle(number: u64, path: &str, flags: u32) -> Handle<'_> {
    Handle { number, flags, place: at(path) }
}

const READ: u32 = flags::READ;
const WRITE: u32 = flags::WRITE;
const CREATE: u32 = flags::CREATE;
const FOLLOW: u32 = flags::FOLLOW;

#[test]
fn files_are_made_written_read_and_listed() {
    let mut stage = Stage::new(false);
    stage.put("there/note", "hello");
    assert_eq!(stage.open(1, "new", READ | WRITE), Err(Errno::Noent));
    let made = stage.open(1, "new", READ | WRITE | CREATE).unwrap();
    assert_eq!((made.kind, made.size, made.names), (Kind::File, 0, 1));
    assert_eq!(stage.write(1, "new", 0, 3, "abc"), Ok([3, 6]));
    assert_eq!(stage.write(1, "new", flags::APPEND, 0, "de"), Ok([2, 8]));
    assert_eq!(stage.read(1, "new", 0), Ok("\0\0\0abcde".into()));
    assert_eq!(stage.read(1, "new", 8), Ok(String::new()));
    assert_eq!(fs::read(stage.at("new")).unwrap(), b"\0\0\0abcde");
    assert_eq!(stage.ask(Wanted::Resize(handle(1, "new", 0), 4)), Ok(Vec::new()));
    assert_eq!(stage.ask(Wanted::Allocate(handle(1, "new", 0), 0, 100)), Ok(Vec::new()));
    assert_eq!(stage.ask(Wanted::Sync(handle(1, "new", 0))), Ok(Vec::new()));
    let times = handle(1, "new", flags::MODIFIED);
    assert_eq!(stage.ask(Wanted::SetTimes(times, 1, 2_000_000_003)), Ok(Vec::new()));
    let stat = Attributes::decode(&stage.ask(Wanted::Stat(handle(1, "new", 0))).unwrap()).unwrap();
    assert_eq!((stat.size, stat.modified, stat.inode), (100, 2_000_000_003, made.inode));
    assert!(stat.accessed > 2_000_000_003);
    assert_eq!(stage.open(2, "new", READ | flags::TRUNCATE | WRITE).unwrap().size, 0);
    assert_eq!(stage.open(2, "new", WRITE | CREATE | flags::EXCLUSIVE), Err(Errno::Exist));
    assert_eq!(stage.open(2, "there", WRITE), Err(Errno::Isdir));
    assert_eq!(stage.open(2, "new", READ | flags::DIRECTORY), Err(Errno::Notdir));
    stage.open(9, "there", READ | flags::DIRECTORY).unwrap();
    assert_eq!(stage.names(9, "there"), [("note".to_owned(), Kind::File)]);
    assert_eq!(stage.look("there/note", 0).unwrap().size, 5);
    // More than fits into one answer, of which nothing is listed twice.
    for number in 0..500 {
        stage.put(&format!("many/{number:0200}"), "");
    }
    stage.open(10, "many", READ | flags::DIRECTORY).unwrap();
    let names = stage.names(10, "many");
    assert!(names.len() == 500 && names.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // Large ones go in pieces.
    stage.put("large", &"x".repeat(MAX_DATA + 5));
    stage.open(11, "large", READ).unwrap();
    assert_eq!(stage.read(11, "large", 0).unwrap().len(), MAX_DATA);
    assert_eq!(stage.read(11, "large", MAX_DATA as u64).unwrap(), "xxxxx");
}

#[test]
fn names_are_made_moved_and_removed() {
    let mut stage = Stage::new(false);
    stage.put("d/f", "file");
    for (wanted, answer) in [
        (Wanted::MakeDirectory(at("e")), Ok(Vec::new())),
        (Wanted::MakeDirectory(from("e", "g/")), Ok(Vec::new())),
        (Wanted::MakeDirectory(at("e")), Err(Errno::Exist)),
        (Wanted::MakeDirectory(at(".")), Err(Errno::Exist)),
        (Wanted::Rename(from("d", "f"), from("e/g", "h")), Ok(Vec::new())),
        (Wanted::Rename(at("e/g/h"), at("e/g/i/")), Err(Errno::Notdir)),
        (Wanted::Rename(at("none"), at("x")), Err(Errno::Noent)),
        (Wanted::Name(at("e/g/h"), 0, at("second")), Ok(Vec::new())),
        (Wanted::Name(at("e"), 0, at("third")), Err(Errno::Perm)),
        (Wanted::MakeLink(at("link"), b"e/g"), Ok(Vec::new())),
        (Wanted::MakeLink(at("link"), b"e"), Err(Errno::Exist)),
        (Wanted::MakeLink(at("bad"), b"/etc"), Err(Errno::Perm)),
        (Wanted::Target(at("link")), Ok(b"e/g".to_vec())),
        (Wanted::Target(at("second")), Err(Errno::Inval)),
        (Wanted::Unlink(at("e")), Err(Errno::Isdir)),
        (Wanted::Unlink(at("second/")), Err(Errno::Notdir)),
        (Wanted::RemoveDirectory(at("e")), Err(Errno::Notempty)),
        (Wanted::RemoveDirectory(at("second")), Err(Errno::Notdir)),
        (Wanted::RemoveDirectory(at("d/")), Ok(Vec::new())),
        (Wanted::RemoveDirectory(at("e/.")), Err(Errno::Inval)),
        (Wanted::SetTimesAt(at("link"), flags::MODIFIED, 0, 1_000_000_000), Ok(Vec::new())),
        (Wanted::SetTimesAt(at("link"), FOLLOW | flags::MODIFIED, 0, 2_000_000_000), Ok(Vec::new())),
    ] {
        assert_eq!(stage.ask(wanted), answer, "{wanted:?}");
    }
    assert_eq!(stage.look("link", 0).unwrap().modified, 1_000_000_000);
    assert_eq!(stage.look("link", FOLLOW).unwrap().modified, 2_000_000_000);
    assert_eq!(stage.look("second", 0).unwrap().names, 2);
    // The link itself gets another name, or what it leads to.
    stage.ask(Wanted::MakeLink(at("to-second"), b"second")).unwrap();
    stage.ask(Wanted::Name(at("to-second"), 0, at("same-link"))).unwrap();
    stage.ask(Wanted::Name(at("to-second"), FOLLOW, at("same-file"))).unwrap();
    assert_eq!(stage.look("same-link", 0).unwrap().kind, Kind::Link);
    assert_eq!(stage.look("same-file", 0).unwrap().names, 3);
    stage.ask(Wanted::Unlink(at("to-second"))).unwrap();
    assert_eq!(stage.look("to-second", 0), Err(Errno::Noent));
    assert_eq!(fs::read_to_string(stage.at("link/h")).unwrap(), "file");
}

#[test]
fn no_path_leads_out() {
    let mut stage = Stage::new(false);
    stage.put("d/f", "inside");
    let secret = stage.around.path().join("secret");
    symlink(&secret, stage.at("absolute")).unwrap();
    symlink("../secret", stage.at("relative")).unwrap();
    symlink("..", stage.at("up")).unwrap();
    symlink("../../secret", stage.at("d/deep")).unwrap();
    symlink("/proc/self/root", stage.at("magic")).unwrap();
    symlink("d/f", stage.at("within")).unwrap();
    let out = [
        "../secret",
        "absolute",
        "relative",
        "up/secret",
        "d/deep",
        "d/../../secret",
        "/etc/passwd",
        "magic/etc/passwd",
        "d/../..",
        "..",
        "/",
    ];
    for path in out {
        for wanted in [
            Wanted::Look(at(path), FOLLOW),
            Wanted::Open(handle(1, path, READ | FOLLOW)),
            Wanted::Open(handle(1, path, WRITE | CREATE | FOLLOW)),
            Wanted::Stat(handle(2, path, READ)),
            Wanted::SetTimesAt(at(path), FOLLOW | flags::MODIFIED, 0, 0),
            Wanted::Name(at(path), FOLLOW, at("stolen")),
        ] {
            assert_eq!(stage.ask(wanted), Err(Errno::Perm), "{wanted:?}");
        }
    }
    for path in ["../new", "up/new", "d/../../new", "/new", "magic/tmp/new"] {
        for wanted in [
            Wanted::MakeDirectory(at(path)),
            Wanted::MakeLink(at(path), b"x"),
            Wanted::Rename(at("d/f"), at(path)),
            Wanted::Name(at("d/f"), 0, at(path)),
            Wanted::Open(handle(1, path, WRITE | CREATE | flags::EXCLUSIVE)),
        ] {
            assert_eq!(stage.ask(wanted), Err(Errno::Perm), "{wanted:?}");
        }
    }
    for path in ["../secret", "up/secret"] {
        assert_eq!(stage.ask(Wanted::Unlink(at(path))), Err(Errno::Perm));
        assert_eq!(stage.ask(Wanted::Rename(at(path), at("stolen"))), Err(Errno::Perm));
    }
    // What a program's open folder is, is as far as its paths go.
    assert_eq!(stage.ask(Wanted::Look(from("d", "../within"), 0)), Err(Errno::Perm));
    assert_eq!(stage.ask(Wanted::Look(from("up", "x"), 0)), Err(Errno::Perm));
    assert_eq!(stage.ask(Wanted::Look(from("d", "f"), 0)).map(|bytes| bytes.len()), Ok(Attributes::LEN));
    assert_eq!(stage.open(5, "within", READ | FOLLOW).unwrap().size, 6);
    assert_eq!(stage.open(6, "within", READ), Err(Errno::Loop));
    assert_eq!(fs::read_to_string(secret).unwrap(), SECRET);
    assert_eq!(fs::read_dir(stage.around.path()).unwrap().count(), 2, "nothing was made beside it");
}

#[test]
fn an_open_file_is_found_when_it_is_renamed_or_removed_and_by_its_path_when_nobody_knows_it() {
    let mut stage = Stage::new(false);
    stage.put("f", "first");
    stage.open(1, "f", READ).unwrap();
    fs::rename(stage.at("f"), stage.at("g")).unwrap();
    assert_eq!(stage.read(1, "f", 0).unwrap(), "first");
    fs::remove_file(stage.at("g")).unwrap();
    assert_eq!(stage.read(1, "f", 0).unwrap(), "first");
    // As after a restart of the machine's process.
    stage.volumes.forget();
    assert_eq!(stage.read(1, "f", 0), Err(Errno::Noent));
    stage.put("f", "second");
    assert_eq!(stage.read(1, "f", 0).unwrap(), "second");
    assert_eq!(stage.ask(Wanted::Close(handle(1, "f", 0))), Ok(Vec::new()));
    assert_eq!(stage.ask(Wanted::Close(handle(1, "f", 0))), Ok(Vec::new()));
    // Far more than the host keeps open.
    for number in 0..1000 {
        stage.put(&format!("many/{number}"), &number.to_string());
        stage.open(100 + number, &format!("many/{number}"), READ).unwrap();
    }
    for number in 0..1000 {
        assert_eq!(stage.read(100 + number, &format!("many/{number}"), 0).unwrap(), number.to_string());
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 400, "{open} open files");
    stage.volumes.remove(3);
    assert_eq!(stage.read(1, "f", 0), Err(Errno::Nodev));
}

#[test]
fn what_is_only_to_be_read_is_not_changed() {
    let mut stage = Stage::new(true);
    stage.put("d/f", "file");
    for wanted in [
        Wanted::Open(handle(1, "d/f", READ | WRITE)),
        Wanted::Open(handle(1, "d/f", READ | flags::TRUNCATE)),
        Wanted::Open(handle(1, "new", READ | CREATE)),
        Wanted::Write(handle(1, "d/f", WRITE), 0, b"x"),
        Wanted::Resize(handle(1, "d/f", WRITE), 0),
        Wanted::Allocate(handle(1, "d/f", WRITE), 0, 9),
        Wanted::SetTimes(handle(1, "d/f", flags::MODIFIED), 0, 0),
        Wanted::SetTimesAt(at("d/f"), flags::MODIFIED, 0, 0),
        Wanted::MakeDirectory(at("e")),
        Wanted::MakeLink(at("l"), b"d"),
        Wanted::RemoveDirectory(at("d")),
        Wanted::Unlink(at("d/f")),
        Wanted::Rename(at("d/f"), at("g")),
        Wanted::Name(at("d/f"), 0, at("g")),
    ] {
        assert_eq!(stage.ask(wanted), Err(Errno::Rofs), "{wanted:?}");
    }
    assert_eq!(stage.open(1, "d/f", READ | CREATE).unwrap().size, 4);
    assert_eq!(stage.open(2, "d/f", READ | CREATE | flags::EXCLUSIVE), Err(Errno::Exist));
    assert_eq!(stage.read(1, "d/f", 0).unwrap(), "file");
    assert_eq!(fs::read_dir(stage.at("")).unwrap().count(), 1);
}

#[test]
fn pipes_and_the_like_are_not_opened_and_nonsense_is_refused() {
    let mut stage = Stage::new(false);
    let pipe = stage.at("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(stage.at("socket")).unwrap();
    for path in ["pipe", "socket"] {
        for how in [READ, WRITE, READ | WRITE, WRITE | CREATE] {
            assert_eq!(stage.open(1, path, how), Err(Errno::Notsup), "{path} {how}");
        }
        assert_eq!(stage.look(path, 0).unwrap().kind, Kind::Other);
    }
    stage.put("f", "f");
    for bytes in [&[][..], &[0; 48], &[0xff; 100]] {
        assert_eq!(stage.volumes.serve(bytes), Err(Errno::Inval));
    }
    let elsewhere = Request { volume: 4, wanted: Wanted::Look(at("f"), 0) };
    assert_eq!(stage.volumes.serve(&elsewhere.encode()), Err(Errno::Nodev));
    assert_eq!(stage.look("f\0", 0), Err(Errno::Inval));
    assert_eq!(stage.look(&"a".repeat(300), 0), Err(Errno::Nametoolong));
    assert_eq!(stage.look("f/x", 0), Err(Errno::Notdir));
    assert!(stage.volumes.add(512, Path::new("/"), true).is_err());
    assert!(stage.volumes.add(0, &stage.at("f"), true).is_err());
    assert!(stage.volumes.add(0, &stage.at("none"), true).is_err());
    // Places and sizes that no file has.
    stage.open(1, "f", READ | WRITE).unwrap();
    assert_eq!(stage.read(1, "f", u64::MAX), Err(Errno::Inval));
    assert_eq!(stage.write(1, "f", 0, u64::MAX, "x"), Err(Errno::Inval));
    assert_eq!(stage.ask(Wanted::Resize(handle(1, "f", 0), u64::MAX)), Err(Errno::Inval));
    // What the process that runs the machine may not do, the guest may not either.
    fs::set_permissions(stage.at("f"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(stage.at("f")).is_err() {
        assert_eq!(stage.open(2, "f", READ), Err(Errno::Acces));
    }
}
