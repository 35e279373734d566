use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use sentient_snapshot::hash::Domain;
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::record::RecordError;
use sentient_snapshot::store::{Kind, Objects};
use sentient_snapshot::stream::spool::InMemory;
use sentient_snapshot::stream::{ImportError, export, import, read};
use sentient_snapshot::tree::region_root;
use sentient_snapshot::verify::verify;
use sentient_snapshot::{Hash, PAGE_SIZE, Record, SignedRecord, Store, StoreError, Trust, fuzzing};

use crate::guest::{Guest, HOLDER, Random, memory_of, store, without_zeros};
use crate::record::{entry, record};

fn exported(store: &Store, signed: &SignedRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(store, signed, &mut bytes).unwrap();
    bytes
}

/// A stream of two pages in 300.
fn small() -> (Vec<u8>, Guest) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut guest = Guest::new(1);
    guest.memory.insert(11, [1; PAGE_SIZE]);
    guest.memory.insert(250, [2; PAGE_SIZE]);
    let signed = guest.snapshot(&store, &[11, 250]);
    (exported(&store, &signed), guest)
}

#[test]
fn a_snapshot_goes_to_another_store_and_is_the_same_there() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (store(here.path()), store(there.path()));
    let mut random = Random(4);
    let mut guest = Guest::new(1);
    for round in 0..4 {
        let signed = guest.run_and_snapshot(&here, &mut random, 120);
        let bytes = exported(&here, &signed);
        let (imported, added) = import(&there, HOLDER, &guest.trust(), bytes.as_slice()).unwrap();
        assert_eq!(imported, signed);
        assert!(added.objects > 0, "round {round}");
        assert_eq!(memory_of(&there, imported.record()).unwrap(), without_zeros(&guest.memory));
        assert!(verify(&there, imported.record()).unwrap().problems.is_empty());
        assert_eq!(exported(&there, &imported), bytes, "the order of objects is fixed");
        assert_eq!(import(&there, HOLDER, &guest.trust(), bytes.as_slice()).unwrap().1.objects, 0);
    }
    assert!(there.check(10).unwrap().is_empty());
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_stream_is_refused() {
    let (bytes, guest) = small();
    let trust = guest.trust();
    let mut random = Random(8);
    assert!(fuzzing::stream(&bytes, &trust));
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << random.below(8);
        assert!(!fuzzing::stream(&bad, &trust), "byte {at}");
        assert!(!fuzzing::stream(&bytes[..at], &trust), "cut at {at}");
    }
    assert!(!fuzzing::stream(&[&bytes[..], &[0]].concat(), &trust));
}

#[test]
fn a_refused_stream_leaves_the_store_as_it_was() {
    let (bytes, guest) = small();
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let before = store.usage().unwrap();
    let mut random = Random(10);
    for _ in 0..40 {
        let mut bad = bytes.clone();
        bad[random.below(bytes.len() as u64) as usize] ^= 1 << random.below(8);
        assert!(import(&store, HOLDER, &guest.trust(), bad.as_slice()).is_err());
        let cut = random.below(bytes.len() as u64) as usize;
        assert!(import(&store, HOLDER, &guest.trust(), &bytes[..cut]).is_err());
    }
    assert_eq!(store.usage().unwrap(), before);
    assert!(store.roots(None).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(folder.path().join("store/packs")).unwrap().count(), 0);
}

#[test]
fn future_formats_and_other_files_are_refused_by_name() {
    let (mut bytes, guest) = small();
    bytes[8] = 2;
    let error = read(bytes.as_slice(), &guest.trust(), &mut InMemory::default()).unwrap_err();
    assert!(matches!(error, ImportError::Version { found: 2 }));
    bytes[0] = b'X';
    let error = read(bytes.as_slice(), &guest.trust(), &mut InMemory::default()).unwrap_err();
    assert!(matches!(error, ImportError::Magic));
}

#[test]
fn a_stream_of_a_stranger_is_refused_before_its_objects() {
    let (bytes, _) = small();
    let error = read(&bytes[..1000], &Trust::only([5; 32]), &mut InMemory::default()).unwrap_err();
    assert!(matches!(error, ImportError::Record(RecordError::Untrusted { .. })));
}

/// A stream made by somebody who has a trusted key and bad intentions.
struct Forger {
    bytes: Vec<u8>,
    count: u64,
}

const KEY: [u8; 32] = [9; 32];

impl Forger {
    fn new(record: Record) -> Self {
        let signed = SignedRecord::sign(record, &MachineKey::from_secret(&KEY)).unwrap().encode();
        let mut bytes = b"SENTSNAP\x01\0\0\0".to_vec();
        bytes.extend((signed.len() as u32).to_le_bytes());
        bytes.extend(signed);
        Self { bytes, count: 0 }
    }

    fn object(mut self, kind: u8, encoding: u8, stored: &[u8]) -> Self {
        self.bytes.extend([kind, encoding]);
        self.bytes.extend((stored.len() as u32).to_le_bytes());
        self.bytes.extend(stored);
        self.count += 1;
        self
    }

    fn end(mut self) -> Result<SignedRecord, ImportError> {
        self.bytes.push(0);
        self.bytes.extend(self.count.to_le_bytes());
        let digest = blake3::hash(&self.bytes);
        self.bytes.extend(digest.as_bytes());
        let trust = Trust::only(MachineKey::from_secret(&KEY).public());
        read(self.bytes.as_slice(), &trust, &mut InMemory::default())
    }
}

fn node(level: u8, children: &[(usize, Hash)]) -> (Hash, Vec<u8>) {
    let mut bytes = vec![0; 1 + 64 * 32];
    bytes[0] = level;
    for (at, child) in children {
        bytes[1 + at * 32..][..32].copy_from_slice(&child.0);
    }
    (Domain::Node.hash(&bytes), bytes)
}

/// A record over one region of three pages with this tree.
fn over(root: Hash, used_pages: u64) -> Record {
    let mut region = entry(14, 4096, 3);
    region.tree_root = root;
    region.region_root = region_root(14, 0, 4096, 3, root);
    let state = Domain::State.hash(b"state");
    Record { ram: 3 * 4096, regions: vec![region], state, state_len: 5, used_pages, ..record() }
}

#[test]
fn a_forged_stream_is_refused_by_what_is_wrong_with_it() {
    let page = [6; PAGE_SIZE];
    let hash = Domain::Page.hash(&page);
    let (root, bytes) = node(0, &[(0, hash), (2, hash)]);
    let begin = || Forger::new(over(root, 2)).object(1, 0, b"state").object(2, 0, &bytes);
    assert!(begin().object(3, 0, &page).end().is_ok(), "the forger can do it right");
    let packed = lz4_flex::block::compress(&page);
    assert!(begin().object(3, 1, &packed).end().is_ok());

    let refused = |what: &str, found: Result<SignedRecord, ImportError>, says: &str| {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(says), "{what}: {error}");
    };
    refused("a page missing", begin().end(), "is missing");
    refused("a page twice", begin().object(3, 0, &page).object(3, 0, &page).end(), "that nothing names");
    refused("another page", begin().object(3, 0, &[7; PAGE_SIZE]).end(), "has contents with the hash");
    refused("an object of no kind", begin().object(9, 0, &page).end(), "kind 9 is in its place");
    refused("an encoding there is not", begin().object(3, 2, &packed).end(), "has encoding 2");
    refused("a short page", begin().object(3, 0, &page[1..]).end(), "4095 bytes");
    refused("a long page", begin().object(3, 0, &[6; PAGE_SIZE + 1]).end(), "4097 bytes");
    let bomb = lz4_flex::block::compress(&vec![6; 500_000]);
    assert!(bomb.len() < PAGE_SIZE);
    refused("a bomb", begin().object(3, 1, &bomb).end(), "does not decompress to 4096 bytes");
    let short = lz4_flex::block::compress(&[6; 4095]);
    refused("less than a page", begin().object(3, 1, &short).end(), "4095 bytes instead of 4096");
    let mut lying = begin();
    lying.bytes.extend([3, 1, 0xff, 0xff, 0xff, 0xff]);
    refused("a lying length", lying.end(), "4294967295 bytes");
    let mut lying = begin().object(3, 0, &page);
    lying.count += 1;
    refused("a lying count", lying.end(), "says it has 4 objects");
    refused(
        "a wrong count of pages",
        Forger::new(over(root, 1)).object(1, 0, b"state").object(2, 0, &bytes).object(3, 0, &page).end(),
        "2 used pages",
    );
    refused("another state", Forger::new(over(root, 2)).object(1, 0, b"stat2").end(), "has contents");
    refused("a longer state", Forger::new(over(root, 2)).object(1, 0, b"state2").end(), "6 bytes");

    let (root, bytes) = node(0, &[(0, hash), (3, hash)]);
    let past = Forger::new(over(root, 2)).object(1, 0, b"state").object(2, 0, &bytes).object(3, 0, &page);
    refused("a page past the end", past.end(), "past the region's end");
    let (top, above) = node(1, &[(0, root)]);
    let deep = Forger::new(over(top, 2)).object(1, 0, b"state").object(2, 0, &above).object(2, 0, &bytes);
    refused("a deeper tree", deep.object(3, 0, &page).end(), "says level 1");
}

#[test]
fn lying_lengths_allocate_nothing_and_take_no_time() {
    let (bytes, guest) = small();
    let began = Instant::now();
    for at in 0..bytes.len().min(2000) {
        let mut bad = bytes.clone();
        for byte in bad.iter_mut().skip(at).take(4) {
            *byte = 0xff;
        }
        assert!(bad == bytes || !fuzzing::stream(&bad, &guest.trust()), "at {at}");
    }
    assert!(began.elapsed().as_secs() < 20);
}

/// A source that lies about what it has.
struct Liar(HashMap<Hash, Vec<u8>>);

impl Objects for Liar {
    fn object(&mut self, _: Kind, hash: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(self.0.get(&hash).map(|bytes| Cow::Borrowed(bytes.as_slice())))
    }
}

#[test]
fn a_source_that_gives_another_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let state = Domain::State.hash(b"state");
    let (root, mut bytes) = node(0, &[(0, Hash([1; 32]))]);
    bytes[40] ^= 1;
    let mut liar = Liar(HashMap::from([(state, b"state".to_vec()), (root, bytes)]));
    let signed = SignedRecord::sign(over(root, 1), &MachineKey::from_secret(&KEY)).unwrap();
    let new = sentient_snapshot::capture::stored(signed.record(), signed.id());
    assert!(matches!(store.add(&new, &mut liar), Err(StoreError::Tree(_))));
    assert_eq!(store.usage().unwrap().objects, 0);
}
