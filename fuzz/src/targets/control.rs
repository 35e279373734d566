//! What a machine's sockets are asked, and what a fork is told.

use sentient_control::api::{Fork, Heal, Import, Prune, Rollback, StartContainer, TakeSnapshot};
use sentient_control::fork::{Letter, Packet};
use sentient_control::image_store::Reference;
use sentient_control::logs::{self, ContainerLog, LogFolder, Stream};
use sentient_control::proofs::origin::Original;
use sentient_snapshot::hash::Hash;
use sentient_zk::commitment::{Delta, Memory};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// A request that is taken says the same when it is written and read again.
pub fn api_request(data: &[u8]) {
    fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
        let Ok(request) = serde_json::from_slice::<T>(data) else { return };
        let written = serde_json::to_vec(&request).unwrap_or_default();
        let read = serde_json::from_slice::<T>(&written);
        assert!(read.as_ref().is_ok_and(|read| read == &request), "{request:?} became {read:?}");
    }
    again::<StartContainer>(data);
    again::<TakeSnapshot>(data);
    again::<Rollback>(data);
    again::<Fork>(data);
    again::<Prune>(data);
    again::<Import>(data);
    again::<Heal>(data);
}

/// A name of an image leads to no file but those of images.
pub fn image_reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if Reference::parse(text).is_some() {
        assert!(!text.contains(['/', '\\', '\0']) && !text.starts_with('.'), "{text:?}");
    }
}

pub fn image_references() -> Vec<Vec<u8>> {
    ["greeter", "greeter:1.2.0", "a.b_c-d:1.2.3-rc.1+build.5"].map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn requests() -> Vec<Vec<u8>> {
    [
        r#"{"program": "/a/b.wasm", "name": "b", "args": ["-x", "\u00e4"], "env": ["A=1"], "memory_bytes": 1048576}"#,
        r#"{"program": "/c.wasm", "cpu_time_ms": 18446744073709551615}"#,
        r#"{"message": "before", "tag": "v1"}"#,
        r#"{"to": "v1"}"#,
        r#"{"back": 4294967295}"#,
        r#"{"name": "copy", "from": "@~2"}"#,
        r#"{"keep": 8}"#,
        "{}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A packet that is taken says the same when it is written and read again.
pub fn fork_packet(data: &[u8]) {
    let Ok(packet) = serde_json::from_slice::<Packet>(data) else { return };
    let written = serde_json::to_vec(&packet).unwrap_or_default();
    let read = serde_json::from_slice::<Packet>(&written);
    assert!(read.as_ref().is_ok_and(|read| read == &packet), "{packet:?} became {read:?}");
}

pub fn fork_packets() -> Vec<Vec<u8>> {
    [
        r#"{"fork": "twin"}"#,
        r#"{"containers": ["counter", "b-2"]}"#,
        r#"{"run": {"letter": 12345}}"#,
        r#""runs""#,
        r#""durable""#,
        r#"{"refused": {"kind": "conflict", "message": "no"}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A letter is taken whole, or refused; what it says has no more in it than its bytes.
pub fn fork_letter(data: &[u8]) {
    let Ok(letter) = Letter::decode(data) else { return };
    let words = letter.record.len() + letter.state.len() + 2 * letter.runs.len() + letter.changed.len();
    assert!(words <= data.len(), "{letter:?} of {} bytes", data.len());
    let written = letter.encode().unwrap_or_default();
    assert!(Letter::decode(&written).is_ok_and(|read| read == letter), "{letter:?}");
}

pub fn fork_letters() -> Vec<Vec<u8>> {
    let letters = [
        Letter {
            record: b"record",
            state: b"state",
            runs: vec![(1, 5), (9, 4096)],
            changed: vec![3, 1 << 40],
        },
        Letter { record: &[], state: &[0; 300], runs: Vec::new(), changed: Vec::new() },
    ];
    letters.iter().filter_map(|letter| letter.encode().ok()).collect()
}

/// Where a fork is from is taken whole, or refused; what is taken can be proved from.
pub fn fork_origin(data: &[u8]) {
    let Ok(original) = Original::decode(data) else { return };
    let _ = Memory::of(&original.snapshot);
    let written = original.encode().unwrap_or_default();
    assert_eq!(written, data, "an origin with two encodings");
}

pub fn fork_origins() -> Vec<Vec<u8>> {
    let Some(snapshot) = super::snapshot::known().map(|known| known.record().clone()) else {
        return Vec::new();
    };
    let delta =
        Delta { old_state: [1; 32], new_state: [2; 32], pages: vec![(5, Hash([3; 32]), Hash([4; 32]))] };
    let record = super::zk::signed();
    let origins = [
        Original { record: None, opening: None, snapshot: snapshot.clone(), delta: delta.clone() },
        Original { record, opening: None, snapshot, delta },
    ];
    origins.iter().filter_map(|origin| origin.encode().ok()).collect()
}

/// Whatever the chain says, what a container writes is kept, and the next link follows the last line.
pub fn log_chain(data: &[u8]) {
    let Ok(folder) = tempfile::tempdir() else { return };
    if std::fs::write(folder.path().join("chain.log"), data).is_err() {
        return;
    }
    let mut log = ContainerLog::of(folder.path());
    let written = log.write(Stream::Stdout, b"more").and_then(|()| log.seal());
    assert!(written.is_ok(), "{written:?}");
    let kept = std::fs::read(folder.path().join("stdout.log"));
    assert!(kept.is_ok_and(|kept| kept == b"more"), "what was written is not there");
    let checked = logs::check(folder.path());
    assert!(checked.is_ok_and(|checked| checked.problem.is_some() || checked.stdout_bytes == 4));
    let since = LogFolder::of(folder.path()).since(0);
    assert!(since.is_ok(), "{since:?}");
}

pub fn log_chains() -> Vec<Vec<u8>> {
    let nothing = blake3::hash(b"").to_hex();
    let part = format!("{{\"from\":0,\"to\":0,\"blake3\":\"{nothing}\"}}");
    let previous = "0".repeat(64);
    let line = format!(
        "{{\"segment\":1,\"since_unix_ns\":1,\"until_unix_ns\":2,\"stdout\":{part},\"stderr\":{part},\"previous\":\"{previous}\"}}\n"
    );
    vec![Vec::new(), line.clone().into_bytes(), format!("{line}{line}{{").into_bytes()]
}
