//! Random functions with random parameters on a random memory: whatever happens, nothing panics,
//! limits hold, and what was taken is given back.
//!
//! [`run`] takes a seed and a length, so that a fuzzer can drive it as well.

use std::collections::BTreeSet;

use sentient_wasi::{Access, Builder, Errno, Limits, Outcome, Usage};

use crate::fake_host::FakeHost;
use crate::function_table::{FUNCTIONS, dispatch};
use crate::guest::Guest;

/// A small deterministic generator (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const MEMORY: usize = 4096;
/// Where paths, lists of buffers and the buffers themselves are put; 16 slots of 16 bytes each.
const PATHS: u64 = 0x100;
const LISTS: u64 = 0x200;
const BUFFERS: u64 = 0x400;

const LIMITS: Limits =
    Limits { descriptors: 16, file_bytes: 300_000, inodes: 40, path_bytes: 64, name_bytes: 16 };

/// A value that has nothing to do with what the parameter means.
fn wild(random: &mut Random) -> u64 {
    let extremes = [
        u64::MAX,
        i64::MAX as u64,
        i64::MIN as u64,
        u64::from(u32::MAX),
        1 << 40,
        MEMORY as u64 - 1,
        MEMORY as u64,
        0x3fff_ffff,
    ];
    match random.below(3) {
        0 => random.next(),
        1 => random.below(MEMORY as u64),
        _ => extremes[random.below(8) as usize],
    }
}

/// A value for a parameter of this name: mostly one that gets somewhere.
fn parameter(random: &mut Random, name: &str) -> u64 {
    if random.below(12) == 0 {
        return wild(random);
    }
    match name {
        "fd" | "old_fd" | "new_fd" if random.below(3) == 0 => 3,
        "fd" | "old_fd" | "new_fd" | "to" => random.below(10),
        "path" | "old_path" | "new_path" => PATHS + 16 * random.below(16),
        "path_len" | "old_path_len" | "new_path_len" => 1 + random.below(4),
        "iovs" => LISTS + 16 * random.below(16),
        "ri_data" | "si_data" => LISTS + 16 * random.below(16),
        "ri_flags" | "si_flags" => random.below(2),
        "how" | "ri_data_len" | "si_data_len" => random.below(4),
        "iovs_len" | "id" | "whence" | "nsubscriptions" => random.below(4),
        "dirflags" | "flags" | "old_flags" => random.below(2),
        "oflags" => [0, 1, 1, 1, 2, 5, 9, 15][random.below(8) as usize],
        "fst_flags" | "fdflags" => random.below(16),
        "rights_base" | "rights_inheriting" if random.below(4) == 0 => 0,
        "rights_base" | "rights_inheriting" => u64::MAX >> (34 + random.below(4)),
        "offset" | "len" | "size" | "atim" | "mtim" => random.below(200_000),
        "cookie" | "advice" => random.below(6),
        "sig" => random.below(32),
        "buf_len" => random.below(100),
        "subscriptions" => 0x800 + 48 * random.below(8),
        _ => BUFFERS + 8 * random.below(64),
    }
}

/// Puts a path, a list or subscriptions where parameters point to.
fn season(random: &mut Random, mem: &mut [u8]) {
    let words: [&[u8]; 12] =
        [b"a", b"b", b"..", b".", b"a/b", b"a/c", b"./b", b"/", b"a/d/", b"b/a", b"\xff", b"a/.."];
    let slot = (16 * random.below(16)) as usize;
    match random.below(3) {
        0 => {
            let word = words[random.below(12) as usize];
            mem[PATHS as usize + slot..][..word.len()].copy_from_slice(word);
        }
        1 => {
            let (at, len) = (random.below(4096) as u32, random.below(512) as u32);
            mem[LISTS as usize + slot..][..8]
                .copy_from_slice(&[at.to_le_bytes(), len.to_le_bytes()].concat());
        }
        _ => {
            let subscription = 0x800 + 48 * random.below(8) as usize;
            mem[subscription..][..48].fill(0);
            mem[subscription + 8] = random.below(4) as u8;
            mem[subscription + 16] = random.below(8) as u8;
            mem[subscription + 24] = random.next() as u8;
        }
    }
}

/// What a random program came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    usage: Usage,
    /// The functions that did what they were asked, at least once.
    reached: BTreeSet<&'static str>,
}

/// Runs a random program of so many calls.
pub fn run(seed: u64, calls: u32) -> Run {
    let mut random = Random(seed);
    let builder = Builder::new()
        .arg("fuzz")
        .env("A", "b")
        .limits(LIMITS)
        .file("a/b", b"some bytes")
        .symlink("b", "a")
        .preopen("/", Access::ReadWrite)
        .preopen("/a", Access::ReadOnly)
        .listener(80);
    let mut wasi = builder.build().unwrap();
    let mut host = FakeHost { room: 10_000, ..FakeHost::default() };
    host.stdin.extend([b'x'; 100]);
    let mut mem: Vec<u8> = (0..MEMORY).map(|_| random.below(40) as u8).collect();
    let mut reached = BTreeSet::new();
    for _ in 0..calls {
        for _ in 0..random.below(4) {
            season(&mut random, &mut mem);
        }
        let (name, names) = FUNCTIONS[random.below(FUNCTIONS.len() as u64) as usize];
        let mut parameters: Vec<u64> = names.iter().map(|name| parameter(&mut random, name)).collect();
        match name {
            // A program that closes what it starts with soon reaches nothing.
            "fd_close" | "fd_renumber" => parameters[0] = parameters[0].max(6),
            "fd_fdstat_set_rights" if parameters[0] < 6 => continue,
            _ => {}
        }
        host.monotonic += random.below(1000);
        if host.peers.len() < 4 && random.below(30) == 0 {
            host.connect(80, b"some bytes");
        }
        match dispatch(&mut wasi, &mut host, &mut mem, name, &parameters).unwrap() {
            Outcome::Done(Errno::Success) => {
                reached.insert(name);
            }
            Outcome::Exit(_) => assert!(name.starts_with("proc_"), "{name} ended the program"),
            Outcome::Done(_) | Outcome::Block(_) => {}
        }
        host.out.clear();
        host.err.clear();
        let usage = wasi.usage();
        assert!(usage.descriptors <= 16 && usage.inodes <= 40 && usage.file_bytes <= 300_000);
    }
    Run { usage: wasi.usage(), reached }
}

#[test]
fn no_random_program_panics_or_passes_its_limits() {
    let mut reached = BTreeSet::new();
    for seed in 0..150 {
        reached.append(&mut run(seed, 3_000).reached);
    }
    let never: Vec<&str> =
        FUNCTIONS.iter().map(|(name, _)| *name).filter(|name| !reached.contains(name)).collect();
    assert_eq!(never, ["proc_exit"], "every function that can succeed did");
}

#[test]
fn the_same_random_program_ends_the_same_way() {
    assert_eq!(run(7, 3_000), run(7, 3_000));
}

#[test]
fn random_names_come_and_go_without_losing_anything() {
    let names = ["a", "b", "c", "a/x", "a/y", "b/x", "b/y/z", "a/x/q", "c/x", "a/x/b"];
    let mut g = Guest::new();
    let empty = g.wasi.usage();
    let mut random = Random(99);
    for _ in 0..30_000 {
        let old = names[random.below(10) as usize];
        let new = names[random.below(10) as usize];
        let _ = match random.below(7) {
            0 => g.mkdir(old),
            1 => g.open(old, 1).and_then(|fd| g.write(fd, b"bytes").and(g.close(fd))),
            2 => g.rename(old, new),
            3 => g.link(old, new),
            4 => g.symlink("a", old),
            5 => g.unlink(old),
            _ => g.rmdir(old),
        };
    }
    // A directory is found before what is in it.
    for path in all_paths(&mut g).iter().rev() {
        g.unlink(path).or_else(|_| g.rmdir(path)).unwrap();
    }
    assert_eq!(g.names("."), Vec::<String>::new());
    assert_eq!(g.wasi.usage(), empty);
}

/// Every path in the file system.
fn all_paths(g: &mut Guest) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![String::from(".")];
    while let Some(dir) = todo.pop() {
        for name in g.names(&dir) {
            let path = format!("{dir}/{name}");
            if g.lstat(&path).unwrap().filetype == 3 {
                todo.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}
