//! From an export's bytes to a state, by docs/proofs.md and docs/snapshots-format.md. Uses hash crates
//! alone; panics over whatever is not as it should be.

use std::collections::HashMap;

use ark_bn254::Fr;
use ark_ff::{BigInteger, PrimeField};
use light_poseidon::{Poseidon, PoseidonHasher};
use sha3::{Digest, Sha3_256};

pub struct Found {
    pub slots: [[u8; 32]; 64],
    pub root: [u8; 32],
    pub pages: Vec<(u64, [u8; 32])>,
    pub state: [u8; 32],
}

struct Region {
    kind: u32,
    owner: u32,
    base: u64,
    pages: u64,
    tree: [u8; 32],
    root: [u8; 32],
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(len);
        self.0 = rest;
        first
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn text(&mut self) -> &'a [u8] {
        let len = self.u32() as usize;
        self.bytes(len)
    }
}

/// The state of an export's snapshot, as a machine's first.
pub fn first_state(export: &[u8]) -> Found {
    let mut reader = Reader(export);
    assert_eq!(reader.bytes(8), b"SENTSNAP");
    assert_eq!(reader.u32(), 1);
    let signed = reader.text();
    let nodes = tree_nodes(&mut reader);

    let mut envelope = Reader(signed);
    assert_eq!(envelope.u32(), 1);
    let record = envelope.text();
    let id: [u8; 32] = Sha3_256::digest(record).into();
    assert_eq!(envelope.array::<32>(), id);

    let mut record = Reader(record);
    assert_eq!(record.u32(), 1);
    let machine: [u8; 16] = record.array();
    if record.bytes(1) == [1] {
        record.bytes(32);
    }
    record.u64();
    record.text();
    record.u64();
    record.bytes(32);
    let regions: Vec<Region> = (0..record.u32()).map(|_| region(&mut record)).collect();
    let machine_state: [u8; 32] = record.array();

    let mut in_slot: Vec<Vec<[u8; 32]>> = vec![Vec::new(); 64];
    in_slot[0].push(machine_state);
    let mut pages = Vec::new();
    for region in &regions {
        let slot = match region.kind {
            0 => 14,
            14 => 18 + 2 * (region.owner % 23),
            17 => 19 + 2 * (region.owner % 23),
            kind @ (1..=13 | 15 | 16) => kind,
            _ => 17,
        };
        in_slot[slot as usize].push(region.root);
        let mut levels = 1;
        while 64u64.pow(levels) < region.pages {
            levels += 1;
        }
        walk(&nodes, region.tree, levels - 1, region.base / 4096, &mut pages);
    }
    let slots: Vec<Fr> = in_slot
        .iter()
        .map(|roots| match roots.as_slice() {
            [] => Fr::from(0u8),
            [root] => truncated(*root),
            roots => truncated(blake3::derive_key("SentientOS 2026 region slot v1", &roots.concat())),
        })
        .collect();
    let top: Vec<Fr> = slots.chunks(8).map(poseidon).collect();
    let root = poseidon(&top);

    let mut delta = Sha3_256::new();
    delta.update(b"SentientOS 2026 delta v1");
    delta.update([0; 32]);
    delta.update(machine_state);
    delta.update((pages.len() as u64).to_le_bytes());
    for (gpn, hash) in &pages {
        delta.update(gpn.to_le_bytes());
        delta.update([0; 32]);
        delta.update(hash);
    }
    let meta = Sha3_256::digest([b"SentientOS 2026 transition v1".as_slice(), &[0], &id].concat());
    let before = Sha3_256::digest([b"SentientOS 2026 genesis v1".as_slice(), &machine].concat());
    let parts = [truncated(before.into()), root, truncated(delta.finalize().into()), truncated(meta.into())];
    let slots: Vec<[u8; 32]> = slots.iter().map(bytes).collect();
    Found { slots: slots.try_into().unwrap(), root: bytes(&root), pages, state: bytes(&poseidon(&parts)) }
}

fn region(record: &mut Reader<'_>) -> Region {
    record.text();
    let (kind, owner, _access) = (record.u32(), record.u32(), record.u32());
    let (base, pages) = (record.u64(), record.u64());
    let (tree, root): ([u8; 32], [u8; 32]) = (record.array(), record.array());
    let mut place = kind.to_le_bytes().to_vec();
    place.extend(owner.to_le_bytes());
    place.extend(base.to_le_bytes());
    place.extend(pages.to_le_bytes());
    place.extend(tree);
    assert_eq!(blake3::derive_key("SentientOS 2026 region v1", &place), root);
    Region { kind, owner, base, pages, tree, root }
}

/// The tree nodes of an export, by their hashes. Nodes are never compressed to a length that is not theirs;
/// those that are compressed are LZ4, which this reader leaves to its crate.
fn tree_nodes(reader: &mut Reader<'_>) -> HashMap<[u8; 32], Vec<u8>> {
    let mut nodes = HashMap::new();
    loop {
        let kind = reader.bytes(1)[0];
        if kind == 0 {
            return nodes;
        }
        let encoding = reader.bytes(1)[0];
        let stored = reader.text();
        if kind == 2 {
            let node = match encoding {
                0 => stored.to_vec(),
                _ => lz4_flex::block::decompress(stored, 2049).unwrap(),
            };
            assert_eq!(node.len(), 2049);
            nodes.insert(blake3::derive_key("SentientOS 2026 tree node v1", &node), node);
        }
    }
}

fn walk(
    nodes: &HashMap<[u8; 32], Vec<u8>>,
    hash: [u8; 32],
    level: u32,
    first: u64,
    pages: &mut Vec<(u64, [u8; 32])>,
) {
    if hash == [0; 32] {
        return;
    }
    let node = &nodes[&hash];
    assert_eq!(u32::from(node[0]), level);
    for (at, child) in (0..).zip(node[1..].chunks(32)) {
        let child: [u8; 32] = child.try_into().unwrap();
        let place = first + at * 64u64.pow(level);
        if level > 0 {
            walk(nodes, child, level - 1, place, pages);
        } else if child != [0; 32] {
            pages.push((place, child));
        }
    }
}

fn poseidon(inputs: &[Fr]) -> Fr {
    Poseidon::<Fr>::new_circom(inputs.len()).unwrap().hash(inputs).unwrap()
}

fn truncated(hash: [u8; 32]) -> Fr {
    Fr::from_le_bytes_mod_order(&hash[..31])
}

fn bytes(scalar: &Fr) -> [u8; 32] {
    scalar.into_bigint().to_bytes_le().try_into().unwrap()
}
