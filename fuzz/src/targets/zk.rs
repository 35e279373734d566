//! What is read of proofs: contracts, records, proofs, rollups, keys.

use sentient_snapshot::SnapshotId;
use sentient_snapshot::keys::MachineKey;
use sentient_zk::chain::record::{ChainRecord, FORMAT};
use sentient_zk::chain::{Rollup, SignedChainRecord};
use sentient_zk::circuit::Shape;
use sentient_zk::commitment::state::genesis;
use sentient_zk::commitment::{Origin, SlotSet};
use sentient_zk::contract::Contract;
use sentient_zk::keys::{VerifyingKey, binfile, zkey as ceremony};
use sentient_zk::scalar::to_bytes;
use sentient_zk::verify::Proof;
use sha3::{Digest, Sha3_256};

/// A contract that is read has its own text, and the kernel's rules hold or not, without a panic.
pub fn contract(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Contract::parse(text) {
        Ok(contract) => {
            assert_eq!(contract.text(), text);
            let _ = contract.always_frozen();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub fn contracts() -> Vec<Vec<u8>> {
    let rules = "version: 1\non_violation: reject\nregions:\n  - { container: web, part: image, rule: mutable }\n\
                 limits: { dirty_pages: 4, region_pages: 9 }\n";
    vec![sentient_zk::contract::file::DEFAULT.into(), rules.into()]
}

pub fn signed() -> Option<SignedChainRecord> {
    let machine = [3; 16];
    let record = ChainRecord {
        format: FORMAT,
        machine,
        sequence: 0,
        parent: None,
        origin: Origin::Genesis,
        snapshot: SnapshotId([1; 32]),
        created_unix_ns: 5,
        old_state: to_bytes(&genesis(&machine)),
        new_state: [1; 32],
        dirty: SlotSet(7),
        frozen: SlotSet::EMPTY,
        flagged: SlotSet::EMPTY,
        contract: [2; 32],
        delta: [4; 32],
    };
    SignedChainRecord::sign(record, &MachineKey::from_secret(&[0x42; 32])).ok()
}

/// A record as it comes, and with id and signature that fit.
pub fn chain_record(data: &[u8]) {
    let id: [u8; 32] = Sha3_256::digest(data).into();
    let key = MachineKey::from_secret(&[0x42; 32]);
    let signature = key.sign(&[sentient_zk::chain::record::DOMAIN, &id].concat());
    let len = (data.len() as u32).to_le_bytes();
    let fitting = [&FORMAT.to_le_bytes()[..], &len, data, &id, &key.public(), &signature].concat();
    for bytes in [data, &fitting] {
        if let Ok(record) = SignedChainRecord::decode(bytes) {
            assert_eq!(record.encode(), bytes, "a record with two encodings");
        }
    }
}

pub fn chain_records() -> Vec<Vec<u8>> {
    signed().map(|signed| vec![signed.record().encode(), signed.encode()]).unwrap_or_default()
}

/// A proof has one encoding.
pub fn proof(data: &[u8]) {
    if let Ok(proof) = Proof::decode(data) {
        assert_eq!(proof.encode(), data, "a proof with two encodings");
    }
}

/// The generators of both groups: points, though no proof.
pub fn proofs() -> Vec<Vec<u8>> {
    let mut bytes = vec![0; 128];
    // Compressed: x = 1 with the smaller y, 2.
    for start in [0, 96] {
        bytes.splice(start..=start, [1]);
    }
    vec![bytes]
}

/// What comes between magic and digest.
pub fn rollup(data: &[u8]) {
    let all = [b"SENTZKRU", data].concat();
    let digest: [u8; 32] = Sha3_256::digest(&all).into();
    let bytes = [all, digest.to_vec()].concat();
    if let Ok(rollup) = Rollup::decode(&bytes) {
        assert_eq!(rollup.encode(), bytes, "a rollup with two encodings");
        let _ = rollup.verify(sentient_zk::keys::KeyDigest([0; 32]), None);
    }
}

/// One record, without a proof, and the built-in contract.
pub fn rollups() -> Vec<Vec<u8>> {
    let record = signed().map(|signed| signed.encode()).unwrap_or_default();
    let contract = sentient_zk::contract::file::DEFAULT.as_bytes();
    let list = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let one = 1u32.to_le_bytes();
    vec![[&one[..], &list(b"key"), &one, &list(contract), &one, &list(&record), &[0]].concat()]
}

/// A key has one encoding.
pub fn verifying_key(data: &[u8]) {
    if let Ok(key) = VerifyingKey::decode(data) {
        assert_eq!(key.encode(), data, "a key with two encodings");
    }
}

/// The header of one, and zeros.
pub fn verifying_keys() -> Vec<Vec<u8>> {
    let header = [b"SENTZKVK".as_slice(), &1u32.to_le_bytes(), &[0], &Shape::transition_digest()].concat();
    let mut bytes = header;
    bytes.resize(sentient_zk::keys::verifying::LEN, 0);
    vec![bytes]
}

/// A `.zkey` of any sections.
pub fn zkey(data: &[u8]) {
    assert!(ceremony::read(data).is_err(), "2 KiB are no key for our circuit");
}

pub fn zkeys() -> Vec<Vec<u8>> {
    let mut header = Vec::new();
    for order in [
        "47fd7cd8168c203c8dca7168916a81975d588181b64550b829a031e1724e6430",
        "010000f093f5e1439170b97948e833285d588181b64550b829a031e1724e6430",
    ] {
        header.extend(32u32.to_le_bytes());
        header.extend(sentient_snapshot::hash::parse_hex(order).unwrap_or_default());
    }
    header.extend([Shape::transition().wires() as u32, 5, 8192].iter().flat_map(|n| n.to_le_bytes()));
    header.resize(header.len() + 3 * 64 + 3 * 128, 0);
    let groth16 = 1u32.to_le_bytes().to_vec();
    let sections = [(1, groth16), (2, header), (3, vec![0; 64]), (4, vec![0; 4])];
    vec![binfile::write(*b"zkey", 1, &sections)]
}
