//! Keys as files: pinned, and not believed.

use std::fs;

use sentient_zk::keys::store::{self, PIN_FILE, PROVING_FILE, VERIFYING_FILE};
use sentient_zk::keys::{KeyError, KeyOrigin, KeySet, Pin, ProvingKey, VerifyingKey, development};
use sentient_zk::prove::prover::{ProveError, Prover, Threads};

use crate::one_key::{KEYS, transition};

#[test]
fn keys_are_loaded_as_they_were_saved() {
    let folder = tempfile::tempdir().unwrap();
    let pin = KEYS.save(folder.path()).unwrap();
    assert_eq!(pin.origin, "development");
    let loaded = KeySet::load(folder.path()).unwrap();
    assert_eq!(loaded.verifying(), KEYS.verifying());
    assert_eq!(loaded.verifying().origin(), KeyOrigin::Development);
    assert_eq!(loaded.proving().encode(), KEYS.proving().encode());
    assert_eq!(pin.proving, sentient_snapshot::hash::hex(&ProvingKey::digest_of(&loaded.proving().encode())));
    assert_eq!(pin.verifying, loaded.verifying().digest().to_string());
    store::pinned(loaded.verifying(), KEYS.verifying().digest()).unwrap();
}

#[test]
fn keys_other_than_the_pinned_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    KEYS.save(folder.path()).unwrap();
    let other = development::setup().unwrap();
    assert!(store::pinned(other.verifying(), KEYS.verifying().digest()).is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    other.save(elsewhere.path()).unwrap();
    for name in [VERIFYING_FILE, PROVING_FILE] {
        let good = fs::read(folder.path().join(name)).unwrap();
        fs::copy(elsewhere.path().join(name), folder.path().join(name)).unwrap();
        assert!(matches!(KeySet::load(folder.path()), Err(KeyError::Pinned { .. })), "{name}");
        fs::write(folder.path().join(name), good).unwrap();
    }
    KeySet::load(folder.path()).unwrap();
    fs::write(folder.path().join(PIN_FILE), "{}").unwrap();
    assert!(matches!(KeySet::load(folder.path()), Err(KeyError::Encoding { .. })));
    fs::remove_file(folder.path().join(PIN_FILE)).unwrap();
    assert!(matches!(Pin::load(folder.path()), Err(KeyError::Io { .. })));
}

#[test]
fn a_verifying_key_that_was_changed_is_another_or_none() {
    let bytes = KEYS.verifying().encode();
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1 << (at % 8);
        match VerifyingKey::decode(&other) {
            Ok(key) => assert_ne!(key.digest(), KEYS.verifying().digest(), "byte {at}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(VerifyingKey::decode(&bytes[1..]).is_err());
    let mut infinity = bytes.clone();
    let alpha = 45..45 + 64;
    infinity[alpha.clone()].fill(0);
    infinity[alpha.end - 1] = 0x40;
    assert!(matches!(VerifyingKey::decode(&infinity), Err(KeyError::Point { .. })));
    let mut circuit = bytes;
    circuit[13] ^= 1;
    assert!(matches!(VerifyingKey::decode(&circuit), Err(KeyError::Circuit { .. })));
}

#[test]
fn a_proving_key_with_a_bad_point_is_refused() {
    let bytes = KEYS.proving().encode();
    let decode = |bytes: &[u8]| ProvingKey::decode(bytes, KEYS.verifying().clone());
    assert!(matches!(decode(&bytes[..bytes.len() - 1]), Err(KeyError::Encoding { .. })));
    for at in [44, 44 + 64, bytes.len() / 2, bytes.len() - 64] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(matches!(decode(&other), Err(KeyError::Point { .. })), "byte {at}");
    }
    let other = development::setup().unwrap();
    assert!(ProvingKey::decode(&bytes, other.verifying().clone()).is_err());
}

#[test]
fn a_proving_key_of_other_points_makes_no_proof() {
    // Good points in the wrong places: only the proof shows it.
    let mut points = KEYS.proving().points().clone();
    points.h_query.swap(0, 1);
    let keys = KeySet::new(ProvingKey::new(KEYS.verifying().clone(), points).unwrap());
    let prover = Prover::new(&keys, Threads::default()).unwrap();
    let (statement, old, new) = transition(9);
    assert!(matches!(prover.prove(&statement, &old, &new), Err(ProveError::Key)));
}
