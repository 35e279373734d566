//! What the guest asks of folders of the host, and containers of other containers' files.

use sentient_abi::volumes::{Handle, MAX_DATA, Place, Request, Wanted, flags};
use sentient_vmm::volumes::Volumes;
use sentient_wasi::{Builder, Limits};
use std::fs;
use std::os::unix::fs::symlink;

/// Most bytes that a request may have set aside on this disk.
const ROOM: u64 = 1 << 20;

const SECRET: &str = "none of the guest's";

/// A request that is read is written as the same one.
pub fn volume_request(data: &[u8]) {
    if let Some(request) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
}

/// The requests of a conversation: each has its length before it, in a byte.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first()?;
        let (request, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        Some(request)
    })
}

/// Whatever is asked, in whatever order, what lies beside the folder is as it was.
pub fn volumes(data: &[u8]) {
    let Ok(around) = tempfile::tempdir() else { return };
    let (inside, secret) = (around.path().join("v"), around.path().join("secret"));
    let made = fs::create_dir_all(inside.join("d"))
        .and_then(|()| fs::write(&secret, SECRET))
        .and_then(|()| fs::write(inside.join("f"), "file"))
        .and_then(|()| symlink("../secret", inside.join("out")))
        .and_then(|()| symlink("..", inside.join("up")));
    let mut volumes = Volumes::default();
    if made.and_then(|()| volumes.add(0, &inside, false)).is_err() {
        return;
    }
    for request in parts(data) {
        match Request::decode(request).map(|request| request.wanted) {
            Some(Wanted::Allocate(_, at, len)) if at.saturating_add(len) > ROOM => {}
            _ => drop(volumes.serve(request)),
        }
    }
    assert!(fs::read_to_string(&secret).is_ok_and(|text| text == SECRET), "it was changed");
    let names = fs::read_dir(around.path()).map(Iterator::count);
    assert!(names.is_ok_and(|names| names == 2), "something else lies beside the folder");
}

/// Whatever a container asks of another one's files, in whatever order, stays within what these may take.
pub fn served(data: &[u8]) {
    let limits = Limits { inodes: 64, file_bytes: ROOM, ..Limits::default() };
    let Ok(mut wasi) = Builder::new().limits(limits).file("f", b"file").build() else { return };
    let mut asked = 0;
    for request in parts(data) {
        asked += 1;
        if let Some(request) = Request::decode(request) {
            let answer = wasi.files().serve(asked % 2, &request.wanted, asked.into());
            assert!(answer.map_or(0, |bytes| bytes.len()) <= MAX_DATA, "too long an answer");
        }
        let usage = wasi.usage();
        assert!(usage.file_bytes <= limits.file_bytes && usage.inodes <= limits.inodes, "{usage:?}");
    }
    for asker in 0..2 {
        wasi.files().forget(asker);
    }
}

fn requests() -> Vec<Vec<u8>> {
    let at = |path: &'static [u8]| Place { base: b"", path };
    let open = |number, path, flags| Handle { number, flags, place: at(path) };
    let all = flags::READ | flags::WRITE | flags::CREATE | flags::FOLLOW;
    let wanted = [
        Wanted::Look(at(b"up/secret"), flags::FOLLOW),
        Wanted::Open(open(1, b"f", all)),
        Wanted::Write(open(1, b"f", all), 2, b"bytes"),
        Wanted::Read(open(1, b"f", all), 0, 100),
        Wanted::Open(open(2, b"out", all)),
        Wanted::Write(open(2, b"out", all | flags::APPEND), 0, b"bytes"),
        Wanted::Resize(open(1, b"f", all), 1 << 20),
        Wanted::SetTimes(open(1, b"f", flags::MODIFIED), 1, 2),
        Wanted::Open(open(3, b"d", flags::READ | flags::DIRECTORY)),
        Wanted::List(open(3, b"d", flags::READ), 0, 1000),
        Wanted::MakeDirectory(Place { base: b"d", path: b"../up/e" }),
        Wanted::MakeLink(at(b"d/l"), b"../../secret"),
        Wanted::Target(at(b"d/l")),
        Wanted::Rename(at(b"f"), at(b"d/g")),
        Wanted::Name(at(b"out"), flags::FOLLOW, at(b"d/h")),
        Wanted::SetTimesAt(at(b"d/l"), flags::FOLLOW | flags::ACCESSED, 1, 2),
        Wanted::Unlink(at(b"d/l")),
        Wanted::RemoveDirectory(at(b"d")),
        Wanted::Close(open(1, b"f", 0)),
    ];
    wanted.map(|wanted| Request { volume: 0, wanted }.encode()).to_vec()
}

pub fn volume_requests() -> Vec<Vec<u8>> {
    requests()
}

pub fn conversations() -> Vec<Vec<u8>> {
    let with_length = |request: &Vec<u8>| {
        let len = u8::try_from(request.len()).unwrap_or(u8::MAX);
        std::iter::once(len).chain(request.iter().copied()).collect::<Vec<u8>>()
    };
    let all: Vec<Vec<u8>> = requests().iter().map(with_length).collect();
    let backwards = all.iter().rev().flatten().copied().collect();
    vec![all.concat(), backwards]
}
