use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::record::{ContainerEntry, FORMAT, OutputPosition, RecordError, RegionEntry, UNOWNED};
use sentient_snapshot::tree::region_root;
use sentient_snapshot::{Hash, Record, SignedRecord, SnapshotId, Trust, fuzzing};

use crate::guest::Random;

pub fn entry(kind: u32, base: u64, pages: u64) -> RegionEntry {
    RegionEntry {
        name: format!("region-{kind}"),
        kind,
        owner: 0,
        access: 5,
        base,
        pages,
        tree_root: Hash::ZERO,
        region_root: region_root(kind, 0, base, pages, Hash::ZERO),
    }
}

pub fn record() -> Record {
    Record {
        format: FORMAT,
        machine: [1; 16],
        parent: Some(SnapshotId([2; 32])),
        created_unix_ns: 1_700_000_000_000_000_000,
        message: "before the experiment".to_owned(),
        ram: 5 * 4096,
        kernel: [3; 32],
        regions: vec![entry(UNOWNED, 0, 1), entry(14, 4096, 3), entry(11, 0x10_0000, 1)],
        state: Hash([4; 32]),
        state_len: 1000,
        dirty_pages: 2,
        used_pages: 0,
        containers: vec![ContainerEntry { name: "hello".to_owned(), index: 3, base: 4096 }],
        outputs: vec![
            OutputPosition { container: 3, stream: 1, bytes: 100 },
            OutputPosition { container: 3, stream: 2, bytes: 0 },
        ],
    }
}

fn key() -> MachineKey {
    MachineKey::from_secret(&[9; 32])
}

#[test]
fn a_record_reads_back_as_it_was_signed() {
    let signed = SignedRecord::sign(record(), &key()).unwrap();
    let bytes = signed.encode();
    let decoded = SignedRecord::decode(&bytes, &Trust::only(key().public())).unwrap();
    assert_eq!(decoded, signed);
    assert_eq!(decoded.record(), &record());
    assert_eq!(SignedRecord::claimed_key(&bytes), Some(key().public()));
    assert!(fuzzing::record(&bytes));
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_record_is_refused() {
    let bytes = SignedRecord::sign(record(), &key()).unwrap().encode();
    let trust = Trust::only(key().public());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(SignedRecord::decode(&bad, &trust).is_err(), "bit {bit} of byte {at}");
        }
        assert!(SignedRecord::decode(&bytes[..at], &trust).is_err(), "cut at {at}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(SignedRecord::decode(&longer, &trust).is_err());
}

#[test]
fn no_bytes_bring_the_decoder_down() {
    let mut random = Random(21);
    let good = SignedRecord::sign(record(), &key()).unwrap().encode();
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        bytes.truncate(random.below(bytes.len() as u64 * 2) as usize);
        let _ = fuzzing::record(&bytes);
        let body = bytes.get(8..).unwrap_or_default();
        let _ = Record::decode(body);
    }
}

#[test]
fn a_future_format_is_refused_by_its_number() {
    let mut bytes = SignedRecord::sign(record(), &key()).unwrap().encode();
    bytes[0] = 2;
    let error = SignedRecord::decode(&bytes, &Trust::only(key().public())).unwrap_err();
    assert_eq!(error, RecordError::Version { found: 2 });
    assert!(error.to_string().contains("format 2"));
    let newer = Record { format: 7, ..record() };
    assert_eq!(Record::decode(&newer.encode()), Err(RecordError::Version { found: 7 }));
    assert!(SignedRecord::sign(newer, &key()).is_err());
}

#[test]
fn a_good_signature_of_a_stranger_is_refused_and_says_whose() {
    let signed = SignedRecord::sign(record(), &key()).unwrap();
    let own = Trust::only([5; 32]);
    let error = SignedRecord::decode(&signed.encode(), &own).unwrap_err();
    let stranger = sentient_snapshot::hash::hex(&key().public());
    assert!(matches!(&error, RecordError::Untrusted { key, .. } if *key == stranger));
    assert!(error.to_string().contains(&format!("--trust {stranger}")));
    let trust = own.and_hex([stranger.as_str()]).unwrap();
    assert!(SignedRecord::decode(&signed.encode(), &trust).is_ok());
    assert!(Trust::default().and_hex(["12"]).is_err());
}

#[test]
fn a_signature_of_another_record_or_another_purpose_is_refused() {
    let trust = Trust::only(key().public());
    let signed = SignedRecord::sign(record(), &key()).unwrap();
    let mut bytes = signed.encode();
    let other = SignedRecord::sign(Record { dirty_pages: 3, ..record() }, &key()).unwrap().encode();
    let at = bytes.len() - 64;
    bytes[at..].copy_from_slice(&other[at..]);
    assert!(matches!(SignedRecord::decode(&bytes, &trust), Err(RecordError::Signature { .. })));
    bytes[at..].copy_from_slice(&key().sign(&signed.id().0));
    assert!(matches!(SignedRecord::decode(&bytes, &trust), Err(RecordError::Signature { .. })));
}

#[test]
fn fields_that_no_snapshot_has_are_refused_by_name() {
    type Change = fn(&mut Record);
    let table: &[(&str, Change)] = &[
        ("message length", |r| r.message = "x".repeat(4097)),
        ("ram", |r| r.ram += 4096),
        ("ram", |r| r.ram = u64::MAX),
        ("state length", |r| r.state_len = 65 << 20),
        ("region 1 base", |r| r.regions[1].base = 4097),
        ("region 2 base", |r| r.regions[2].base = 8192),
        ("region 1 base", |r| r.regions.swap(0, 1)),
        ("region 2 pages", |r| r.regions[2].pages = 0),
        ("region 2 pages", |r| r.regions[2].pages = u64::MAX),
        ("region 0 root", |r| r.regions[0].tree_root = Hash([1; 32])),
        ("region 0 root", |r| r.regions[0].owner = 1),
        ("region 0 name length", |r| r.regions[0].name = "x".repeat(17)),
        ("dirty pages", |r| r.dirty_pages = 6),
        ("used pages", |r| r.used_pages = 6),
        ("container 0 base", |r| r.containers[0].base = 0),
        ("container 0 name length", |r| r.containers[0].name = "x".repeat(129)),
        ("container index", |r| r.containers.push(r.containers[0].clone())),
        ("number of containers", |r| r.containers = vec![r.containers[0].clone(); 65]),
        ("output stream", |r| r.outputs[0].stream = 3),
        ("output position", |r| r.outputs.swap(0, 1)),
        ("number of output positions", |r| r.outputs = vec![r.outputs[0]; 193]),
        ("number of regions", |r| r.regions = (0..129).map(|at| entry(1, at * 4096, 1)).collect()),
        ("number of unowned ranges", |r| r.regions = (0..129).map(|at| entry(0, at * 8192, 1)).collect()),
    ];
    for (name, change) in table {
        let mut record = record();
        change(&mut record);
        let error = Record::decode(&record.encode()).unwrap_err();
        assert!(matches!(&error, RecordError::Field { field, .. } if field == name), "{name}: {error}");
        assert!(SignedRecord::sign(record, &key()).is_err());
    }
}

#[test]
fn the_longest_record_there_can_be_fits() {
    let mut record = record();
    record.message = "x".repeat(4096);
    record.regions = (0..256).map(|at| entry(u32::from(at % 2 == 0), at * 4096, 1)).collect();
    for region in &mut record.regions {
        region.name = "x".repeat(16);
    }
    record.ram = 256 * 4096;
    record.containers = (0..64)
        .map(|at| ContainerEntry { name: "x".repeat(128), index: at, base: u64::from(at) * 8192 })
        .collect();
    record.outputs =
        (0..192).map(|at| OutputPosition { container: at / 3, stream: (at % 3) as u8, bytes: 1 }).collect();
    let signed = SignedRecord::sign(record, &key()).unwrap();
    assert!(SignedRecord::decode(&signed.encode(), &Trust::only(key().public())).is_ok());
}
