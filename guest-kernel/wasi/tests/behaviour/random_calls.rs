//! Random functions with random parameters on a random memory: whatever happens, nothing panics,
//! limits hold, and what was taken is given back.
//!
//! [`run`] takes a seed and a length, so that a fuzzer can drive it as well.

use sentient_wasi::{Access, Builder, Limits, Outcome, Usage};

use crate::function_table::{NAMES, dispatch};
use crate::guest::{FakeHost, Guest};

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
const LIMITS: Limits = Limits {
    descriptors: 16,
    file_bytes: 300_000,
    inodes: 40,
    path_bytes: 64,
    name_bytes: 16,
};

/// A parameter that is likely to get somewhere: a small number, a pointer, a flag, an extreme.
fn parameter(random: &mut Random) -> u64 {
    match random.below(8) {
        0..=2 => random.below(8),
        3..=4 => random.below(MEMORY as u64),
        5 => random.below(64),
        6 => {
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
            extremes[random.below(8) as usize]
        }
        _ => random.next(),
    }
}

/// Puts things that functions take into the memory: paths, lists, small numbers.
fn season(random: &mut Random, mem: &mut [u8]) {
    let at = random.below(MEMORY as u64 - 64) as usize;
    let words: [&[u8]; 12] = [
        b"a",
        b"b",
        b"..",
        ".".as_bytes(),
        b"a/b",
        b"a/",
        b"./a/../b",
        b"/",
        b"a/b/c",
        b"b/a",
        b"\xff",
        b"dir",
    ];
    match random.below(3) {
        0 => {
            let word = words[random.below(12) as usize];
            mem[at..at + word.len()].copy_from_slice(word);
        }
        1 => {
            mem[at..at + 4].copy_from_slice(&(random.below(4096) as u32).to_le_bytes());
            mem[at + 4..at + 8].copy_from_slice(&(random.below(512) as u32).to_le_bytes());
        }
        _ => {
            let len = random.below(48) as usize;
            let byte = random.below(4) as u8;
            mem[at..at + len].fill(byte);
        }
    }
}

/// Runs a random program; what its container holds at the end.
pub fn run(seed: u64, calls: u32) -> Usage {
    let mut random = Random(seed);
    let builder = Builder::new()
        .arg("fuzz")
        .env("A", "b")
        .limits(LIMITS)
        .file("a/b", b"some bytes")
        .symlink("b", "a")
        .preopen("/", Access::ReadWrite)
        .preopen("/a", Access::ReadOnly);
    let mut wasi = builder.build().unwrap();
    let mut host = FakeHost {
        room: 10_000,
        ..FakeHost::default()
    };
    host.stdin.extend([b'x'; 100]);
    let mut mem: Vec<u8> = (0..MEMORY).map(|_| random.below(40) as u8).collect();
    for _ in 0..calls {
        if random.below(3) == 0 {
            season(&mut random, &mut mem);
        }
        // A program that closes what it starts with soon reaches nothing.
        let name = NAMES[random.below(NAMES.len() as u64) as usize];
        let mut parameters = [0; 9].map(|_| parameter(&mut random));
        match name {
            "fd_close" | "fd_renumber" => parameters[0] = parameters[0].max(5),
            "fd_fdstat_set_rights" if random.below(20) > 0 => continue,
            "path_open" if random.below(4) > 0 => {
                parameters[0] = 3;
                parameters[4] = random.below(16);
                parameters[5] |= 0x1fff_ffff;
            }
            _ if name.starts_with("path_") && random.below(2) == 0 => {
                parameters[0] = 3;
                parameters[4] = random.below(16);
            }
            _ => {}
        }
        host.monotonic += random.below(1000);
        let outcome = dispatch(&mut wasi, &mut host, &mut mem, name, &parameters);
        assert!(outcome.is_some(), "{name}");
        if let Some(Outcome::Exit(_)) = outcome {
            assert!(name.starts_with("proc_"), "{name} ended the program");
        }
        host.out.clear();
        host.err.clear();
        let usage = wasi.usage();
        assert!(usage.descriptors <= 16 && usage.inodes <= 40 && usage.file_bytes <= 300_000);
    }
    wasi.usage()
}

#[test]
fn no_random_program_panics_or_passes_its_limits() {
    let mut made_something = 0;
    for seed in 0..200 {
        made_something += u32::from(run(seed, 2_000).inodes > 4);
    }
    assert!(
        made_something > 50,
        "the programs got somewhere: {made_something}"
    );
}

#[test]
fn the_same_random_program_ends_the_same_way() {
    assert_eq!(run(7, 3_000), run(7, 3_000));
}

#[test]
fn random_names_come_and_go_without_losing_anything() {
    let names = [
        "a", "b", "c", "a/x", "a/y", "b/x", "b/y/z", "a/x/q", "c/x", "a/x/b",
    ];
    let mut g = Guest::new();
    let empty = g.wasi.usage();
    let mut random = Random(99);
    for _ in 0..30_000 {
        let old = names[random.below(10) as usize];
        let new = names[random.below(10) as usize];
        let _ = match random.below(7) {
            0 => g.mkdir(old),
            1 => g
                .open(old, 1)
                .and_then(|fd| g.write(fd, b"bytes").and(g.close(fd))),
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
