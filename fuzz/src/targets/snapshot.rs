//! What the snapshot crate reads: records, exports, tree nodes, pages, databases, names.

use sentient_snapshot::hash::Domain;
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::record::signed::DOMAIN;
use sentient_snapshot::stream::{self, spool::InMemory};
use sentient_snapshot::timeline::{Settings, TIMELINE_FILE, check_tag};
use sentient_snapshot::tree::node::NODE_LEN;
use sentient_snapshot::tree::{NodeSource, Tree, TreeError};
use sentient_snapshot::{Hash, PAGE_SIZE, Record, SignedRecord, SnapshotId, Timeline, Trust, fuzzing};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Files of the first format, which the crate's own tests keep readable.
const RECORD: &[u8] = include_bytes!("../../../snapshot/tests/golden/record-v1.bin");
const EXPORT: &[u8] = include_bytes!("../../../snapshot/tests/golden/export-v1.bin");

/// What an envelope has before the record, and after it.
const ENVELOPE: (usize, usize) = (8, 32 + 32 + 64);
/// What an export has before its record: magic, format, length.
const EXPORT_HEADER: usize = 16;

fn key() -> MachineKey {
    MachineKey::from_secret(&[0x42; 32])
}

/// An envelope around any bytes, whose id and signature fit.
fn sign(body: &[u8]) -> Vec<u8> {
    let id = SnapshotId::of(body);
    let signature = key().sign(&[DOMAIN, &id.0].concat());
    let len = (body.len() as u32).to_le_bytes();
    [&1u32.to_le_bytes()[..], &len, body, &id.0, &key().public(), &signature].concat()
}

/// A record from whoever has the key: it decodes, and then encodes to the same bytes, or is refused.
pub fn record(data: &[u8]) {
    let trust = Trust::only(key().public());
    match SignedRecord::decode(&sign(data), &trust) {
        Ok(signed) => {
            assert_eq!(signed.record().encode(), data, "a record with two encodings");
            assert!(Record::decode(data).is_ok_and(|record| &record == signed.record()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A signed record from anybody.
pub fn signed_record(data: &[u8]) {
    let trust = SignedRecord::claimed_key(data).map(Trust::only).unwrap_or_default();
    if SignedRecord::decode(data, &trust).is_ok() {
        assert!(fuzzing::record(data), "an envelope with two encodings");
    }
}

/// An export from anybody.
pub fn stream(data: &[u8]) {
    let accepted = fuzzing::stream(data, &Trust::only(key().public()));
    // Its digest covers every byte, so there is one export of the corpus that is right: itself.
    assert!(!accepted || data == EXPORT, "another export of the same snapshot");
}

/// An export with another record, signed by a key that counts: its objects are not the ones that belong
/// to it, or its lengths lie.
pub fn stream_record(data: &[u8]) {
    let signed = sign(data);
    let header = EXPORT.get(..EXPORT_HEADER - 4).unwrap_or_default();
    let len = (signed.len() as u32).to_le_bytes();
    let objects = EXPORT.get(EXPORT_HEADER + RECORD.len()..).unwrap_or_default();
    let export = [header, &len, &signed, objects].concat();
    let read = stream::read(export.as_slice(), &Trust::only(key().public()), &mut InMemory::default());
    assert!(read.is_err() || data == body(), "an export with objects of another");
}

/// A page as it lies in a pack.
pub fn compressed_page(data: &[u8]) {
    let again = fuzzing::compressed_page(data);
    assert_eq!(again, fuzzing::compressed_page(data));
}

/// Nodes by their hashes.
struct Nodes(HashMap<Hash, Vec<u8>>);

impl NodeSource for Nodes {
    type Error = TreeError;

    fn nodes(&mut self, hashes: &[Hash]) -> Result<Vec<Vec<u8>>, TreeError> {
        let node = |hash: &Hash| {
            self.0
                .get(hash)
                .cloned()
                .ok_or_else(|| TreeError::Node { hash: *hash, problem: "is missing".to_owned() })
        };
        hashes.iter().map(node).collect()
    }
}

/// A tree of any shape, each node under its own hash. Eight bytes: pages of the region. Then a node after
/// the other: a byte for its level, one for how many children follow, and for each a byte for its slot and
/// one that names an earlier node, from the last back, or a page. The last node is the root.
pub fn tree(data: &[u8]) {
    let Some((pages, mut rest)) = data.split_first_chunk() else { return };
    let pages = u64::from_le_bytes(*pages).max(1);
    let (mut nodes, mut order) = (HashMap::new(), Vec::new());
    while let Some(([level, children], after)) = rest.split_first_chunk() {
        let mut bytes = vec![0; NODE_LEN];
        if let Some(first) = bytes.first_mut() {
            *first = *level;
        }
        rest = after;
        for _ in 0..children % 65 {
            let Some(([slot, child], after)) = rest.split_first_chunk() else { break };
            rest = after;
            let named = usize::from(*child) + 1;
            let child = match order.len().checked_sub(named).and_then(|at| order.get(at)) {
                Some(node) if *level > 0 => *node,
                _ => Domain::Page.hash(&[*child]),
            };
            let at = 1 + usize::from(slot % 64) * 32;
            if let Some(room) = bytes.get_mut(at..at + 32) {
                room.copy_from_slice(&child.0);
            }
        }
        let hash = Domain::Node.hash(&bytes);
        nodes.insert(hash, bytes);
        order.push(hash);
    }
    let Some(root) = order.last() else { return };
    if let Ok(tree) = Tree::load(pages, *root, &mut Nodes(nodes)) {
        assert_eq!(tree.root(), *root);
        assert!(tree.used_pages() <= pages, "{} used of {pages} pages", tree.used_pages());
        assert!(tree.get(pages - 1) == tree.get(pages - 1) && tree.get(pages).is_zero());
    }
}

/// A timeline with a snapshot, and the bytes of its file.
struct Made {
    folder: TempDir,
    file: Vec<u8>,
}

static MADE: LazyLock<Option<Made>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join(TIMELINE_FILE);
    let timeline = Timeline::open(&path).ok()?;
    timeline.adopt(&known()?, Some("golden")).ok()?;
    drop(timeline);
    Some(Made { file: fs::read(path).ok()?, folder })
});

pub fn known() -> Option<SignedRecord> {
    // Checking a signature takes longer than all that targets do.
    static KNOWN: LazyLock<Option<SignedRecord>> =
        LazyLock::new(|| SignedRecord::decode(RECORD, &Trust::only(key().public())).ok());
    KNOWN.clone()
}

/// A timeline's file, a few bytes of which are others: it says what it said, or is refused. Each patch is
/// four bytes of offset and one that is xored.
pub fn sealed(data: &[u8]) {
    let Some(made) = &*MADE else { return };
    let mut file = made.file.clone();
    for patch in data.chunks_exact(5) {
        let [a, b, c, d, change] = patch else { continue };
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % file.len();
        if let Some(byte) = file.get_mut(at) {
            *byte ^= change;
        }
    }
    let path = made.folder.path().join(format!("{:x}.redb", std::process::id()));
    if fs::write(&path, &file).is_ok() {
        read_all(&path);
    }
}

fn read_all(path: &Path) {
    let Ok(timeline) = Timeline::open(path) else { return };
    let Some(known) = known() else { return };
    if let Ok(ids) = timeline.ids() {
        assert_eq!(ids, [known.id()]);
    }
    if let Ok(found) = timeline.get(known.id()) {
        assert_eq!(found, known);
    }
    if let Ok(id) = timeline.resolve("golden") {
        assert_eq!(id, known.id());
    }
    // And is written to: what is refused here was not yet read.
    let _ = timeline.log();
    let _ = timeline.set_settings(Settings { keep: 7, quota: None });
    let _ = timeline.remove(known.id(), true);
}

static TIMELINE: LazyLock<Option<(TempDir, Timeline)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().ok()?;
    let timeline = Timeline::open(&folder.path().join(TIMELINE_FILE)).ok()?;
    timeline.adopt(&known()?, Some("golden")).ok()?;
    Some((folder, timeline))
});

/// A name leads to the one snapshot there is, or nowhere; what may be a tag is no id.
pub fn tag(data: &[u8]) {
    let name = String::from_utf8_lossy(data);
    let id = SnapshotId::parse(&name);
    if check_tag(&name).is_ok() {
        assert!(id.is_none() && name.len() <= 64);
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'@'));
    }
    let (Some((_, timeline)), Some(known)) = (&*TIMELINE, known()) else { return };
    if let Ok(found) = timeline.resolve(&name) {
        assert_eq!(found, known.id());
    }
}

fn body() -> &'static [u8] {
    RECORD.get(ENVELOPE.0..RECORD.len() - ENVELOPE.1).unwrap_or_default()
}

pub fn records() -> Vec<Vec<u8>> {
    vec![body().to_vec()]
}

pub fn signed_records() -> Vec<Vec<u8>> {
    vec![RECORD.to_vec()]
}

pub fn streams() -> Vec<Vec<u8>> {
    vec![EXPORT.to_vec()]
}

pub fn compressed_pages() -> Vec<Vec<u8>> {
    let mut mixed = [0; PAGE_SIZE];
    mixed.iter_mut().enumerate().for_each(|(at, byte)| *byte = ((at * at) >> 7) as u8);
    [[7; PAGE_SIZE], mixed]
        .iter()
        .map(|page| sentient_snapshot::store::object::encode(page).1.into_owned())
        .collect()
}

pub fn trees() -> Vec<Vec<u8>> {
    let pages = |pages: u64| pages.to_le_bytes().to_vec();
    let leaf = [0, 2, 0, 200, 63, 201];
    vec![
        [&pages(64)[..], &leaf].concat(),
        [&pages(4096)[..], &leaf, &[0, 1, 5, 77], &[1, 2, 0, 0, 63, 1]].concat(),
        // One node, named everywhere: a small file that stands for 16 million pages.
        [&pages(1 << 24)[..], &leaf, &[1, 2, 0, 0, 1, 0], &[2, 2, 0, 0, 1, 0], &[3, 1, 0, 0]].concat(),
    ]
}

pub fn databases() -> Vec<Vec<u8>> {
    let patch = |at: u32, change: u8| [&at.to_le_bytes()[..], &[change]].concat();
    let header = (0..16).map(|at| patch(at * 22, 1));
    let blocks = (0..16).map(|number| patch(16 + number * 4100 + 50, 0x80));
    header.chain(blocks).chain([patch(0, 0)]).collect()
}

pub fn tags() -> Vec<Vec<u8>> {
    let id = known().map(|known| known.id().to_string()).unwrap_or_default();
    let names =
        ["@", "@~1", "@~18446744073709551616", "golden", "v1.2_a-b", &id, id.get(..8).unwrap_or("abcd")];
    names.map(|name| name.as_bytes().to_vec()).to_vec()
}
