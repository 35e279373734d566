//! A file behaves as a vector of bytes with an offset.

use crate::guest::{APPEND, CREAT, CUR, END, Guest, SET};
use crate::random_calls::Random;

#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    offset: u64,
    append: bool,
}

impl Model {
    fn put(&mut self, at: u64, data: &[u8]) {
        let end = at as usize + data.len();
        if end > self.bytes.len() && !data.is_empty() {
            self.bytes.resize(end, 0);
        }
        if !data.is_empty() {
            self.bytes[at as usize..end].copy_from_slice(data);
        }
    }

    fn get(&self, at: u64, len: u64) -> Vec<u8> {
        let size = self.bytes.len() as u64;
        let (start, end) = (at.min(size), (at + len).min(size));
        self.bytes[start as usize..end as usize].to_vec()
    }
}

/// Lengths and offsets around what chunks are made of.
fn somewhere(random: &mut Random) -> u64 {
    let around = [0, 500, 512, 1024, 4096, 65_536, 131_072, 200_000];
    let near = around[random.below(8) as usize] + random.below(40);
    near.saturating_sub(random.below(40))
}

fn follow_the_model(seed: u64) {
    let mut random = Random(seed);
    let mut g = Guest::new();
    let mut model = Model::default();
    let fd = g.open("f", CREAT).unwrap();
    for step in 0..1_500 {
        let at = somewhere(&mut random);
        let len = somewhere(&mut random).min(150_000);
        let context = format!("seed {seed} step {step} at {at} len {len}");
        match random.below(9) {
            0 | 1 => {
                let data = vec![random.next() as u8; len as usize];
                assert_eq!(g.write(fd, &data), Ok(len as u32), "{context}");
                let from = if model.append { model.bytes.len() as u64 } else { model.offset };
                model.put(from, &data);
                model.offset = if len > 0 { from + len } else { model.offset };
            }
            2 => {
                let data = vec![random.next() as u8; len as usize];
                assert_eq!(g.pwrite(fd, at, &data), Ok(len as u32), "{context}");
                model.put(at, &data);
            }
            3 => {
                let read = g.read(fd, len as u32).unwrap();
                assert!(read == model.get(model.offset, len), "read: {context}");
                model.offset += read.len() as u64;
            }
            4 => {
                let read = g.pread(fd, at, len as u32).unwrap();
                assert!(read == model.get(at, len), "pread: {context}");
            }
            5 => {
                let (whence, base) = match random.below(3) {
                    0 => (SET, 0),
                    1 => (CUR, model.offset),
                    _ => (END, model.bytes.len() as u64),
                };
                let delta = at as i64 - 1_000;
                match base.checked_add_signed(delta) {
                    Some(to) => {
                        assert_eq!(g.seek(fd, delta, whence), Ok(to), "{context}");
                        model.offset = to;
                    }
                    None => assert!(g.seek(fd, delta, whence).is_err(), "{context}"),
                }
            }
            6 => {
                g.truncate(fd, at).unwrap();
                model.bytes.resize(at as usize, 0);
            }
            7 => {
                model.append = !model.append;
                g.set_flags(fd, if model.append { APPEND } else { 0 }).unwrap();
            }
            _ => {
                g.allocate(fd, at, len + 1).unwrap();
                let size = model.bytes.len().max((at + len + 1) as usize);
                model.bytes.resize(size, 0);
            }
        }
        assert_eq!(g.tell(fd), Ok(model.offset), "{context}");
        assert_eq!(g.fstat(fd).unwrap().size, model.bytes.len() as u64, "{context}");
        // Keeps offsets near the chunks of interest.
        if model.offset > 400_000 {
            g.seek(fd, 0, SET).unwrap();
            model.offset = 0;
        }
        if model.bytes.len() > 600_000 {
            g.truncate(fd, 0).unwrap();
            model.bytes.clear();
        }
    }
    assert!(g.slurp("f").unwrap() == model.bytes, "seed {seed}");
    g.close(fd).unwrap();
    g.unlink("f").unwrap();
    assert_eq!(g.wasi.usage(), Guest::new().wasi.usage());
}

#[test]
fn random_operations_do_to_a_file_what_they_do_to_a_vector() {
    for seed in 0..8 {
        follow_the_model(seed);
    }
}
