//! What a machine's socket is asked.

use sentient_control::api::{Fork, Prune, Rollback, StartContainer, TakeSnapshot};
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
