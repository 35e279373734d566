//! Files of format 1, as they were when it was settled. If one of these tests fails, the format has
//! changed: either by mistake, or it needs another number. (The export's bytes also follow from the
//! compressor; should a newer version of that compress better, decoding must still work, and the file is
//! written anew with `SNAPSHOT_GOLDEN=write`.)

use std::path::Path;
use std::{env, fs};

use sentient_snapshot::capture::{Capture, Details};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::layout::Region;
use sentient_snapshot::record::{ContainerEntry, OutputPosition};
use sentient_snapshot::stream::{export, import};
use sentient_snapshot::{Page, SignedRecord, SnapshotId, Store, Trust};

use crate::guest::{HOLDER, layout, memory_of, store};

fn key() -> MachineKey {
    MachineKey::from_secret(&[0x42; 32])
}

fn pages() -> [(u64, Page); 4] {
    [
        (0, std::array::from_fn(|at| (at % 7) as u8)),
        (17, [0x5a; 4096]),
        (18, std::array::from_fn(|at| ((at * at) >> 4) as u8)),
        (90, [0x5a; 4096]),
    ]
}

fn made(store: &Store) -> SignedRecord {
    let region = |name: &str, kind, owner, access, first: u64, pages| Region {
        name: name.to_owned(),
        kind,
        owner,
        access,
        base: first * 4096,
        pages,
    };
    let layout =
        layout(vec![region("runtime-text", 5, 0, 6, 16, 4), region("container", 14, 3, 5, 24, 70)], 100);
    let pages = pages();
    let dirty: Vec<(u64, &Page)> = pages.iter().map(|(gpn, page)| (*gpn, page)).collect();
    let capture =
        Capture { previous: None, layout: &layout, dirty: &dirty, state: b"state of vCPUs and devices" };
    let mut commit = capture
        .commit(Details {
            machine: *b"golden machine 1",
            parent: Some(SnapshotId([0x11; 32])),
            created_unix_ns: 1_800_000_000_123_456_789,
            message: "gölden".to_owned(),
            kernel: [0x22; 32],
            containers: vec![ContainerEntry { name: "hello".to_owned(), index: 3, base: 24 * 4096 }],
            outputs: vec![OutputPosition { container: 3, stream: 1, bytes: 14 }],
        })
        .unwrap();
    commit.store(store).unwrap();
    SignedRecord::sign(commit.record().clone(), &key()).unwrap()
}

fn golden(name: &str, made: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var("SNAPSHOT_GOLDEN").is_ok_and(|value| value == "write") {
        fs::write(&path, made).unwrap();
    }
    fs::read(&path).unwrap()
}

#[test]
fn a_record_of_format_1_still_decodes_and_is_still_written_so() {
    let folder = tempfile::tempdir().unwrap();
    let signed = made(&store(folder.path()));
    let bytes = golden("record-v1.bin", &signed.encode());
    assert_eq!(SignedRecord::decode(&bytes, &Trust::only(key().public())).unwrap(), signed);
    assert_eq!(signed.encode(), bytes);
}

#[test]
fn an_export_of_format_1_is_still_read_and_is_still_written_so() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (store(here.path()), store(there.path()));
    let signed = made(&here);
    let mut bytes = Vec::new();
    export(&here, &signed, &mut bytes).unwrap();
    let golden = golden("export-v1.bin", &bytes);
    let (imported, _) = import(&there, HOLDER, &Trust::only(key().public()), golden.as_slice()).unwrap();
    assert_eq!(imported, signed);
    assert_eq!(memory_of(&there, imported.record()).unwrap(), pages().into_iter().collect());
    assert!(bytes == golden, "the same input gives other bytes");
}
