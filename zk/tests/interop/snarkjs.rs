//! `snarkjs groth16 verify` on our exports.

use std::fs;

use sentient_zk::export::snarkjs as export;
use serde_json::Value;

use crate::node::snarkjs;
use crate::one_key::{KEYS, proved};

#[test]
fn snarkjs_accepts_our_proof_and_refuses_a_changed_one() {
    let (statement, proof) = proved(20);
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, value: &Value| fs::write(folder.path().join(name), value.to_string()).unwrap();
    let verify = || {
        snarkjs(&["groth16", "verify", "verification_key.json", "public.json", "proof.json"], folder.path())
    };
    put("verification_key.json", &export::verification_key(KEYS.verifying()));
    put("public.json", &export::public(&statement));
    put("proof.json", &export::proof(&proof));
    let (good, said) = verify();
    assert!(good && said.contains("OK!"), "{said}");

    let mut other = statement;
    other.contract[0] ^= 1;
    put("public.json", &export::public(&other));
    let (good, said) = verify();
    assert!(!good && said.contains("Invalid proof"), "{said}");

    put("public.json", &export::public(&statement));
    let (_, another) = proved(20);
    let mut mixed = export::proof(&proof);
    mixed["pi_c"] = export::proof(&another)["pi_c"].clone();
    put("proof.json", &mixed);
    let (good, said) = verify();
    assert!(!good && said.contains("Invalid proof"), "{said}");
}
