//! Our keys and witnesses in snarkjs' prover, and a contribution to them.

use std::fs;

use sentient_zk::circuit::{Assignment, Inputs};
use sentient_zk::export::{prover_files, snarkjs as export};
use sentient_zk::keys::{KeyOrigin, zkey};
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use sentient_zk::verify::Verifier;

use crate::node::snarkjs_does;
use crate::one_key::{KEYS, proved_with, transition};

#[test]
fn snarkjs_proves_with_our_keys_and_contributes_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| snarkjs_does(args, folder.path());
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let (statement, old, new) = transition(20);
    let ours = prover_files::zkey(&KEYS);
    // The import of ceremonies' keys takes it, and finds the same key in it but for where it comes from.
    let read = zkey::read(&ours).unwrap();
    assert_eq!(read.verifying().points(), KEYS.verifying().points());
    assert_eq!(read.proving().points(), KEYS.proving().points());
    put("first.zkey", &ours);
    put("witness.wtns", &prover_files::witness(&Assignment::of(&Inputs::honest(&statement, &old, &new))));
    put("key.json", export::verification_key(KEYS.verifying()).to_string().as_bytes());
    run(&["groth16", "prove", "first.zkey", "witness.wtns", "proof.json", "public.json"]);
    let public: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("public.json")).unwrap()).unwrap();
    assert_eq!(public, export::public(&statement));
    assert!(run(&["groth16", "verify", "key.json", "public.json", "proof.json"]).contains("OK!"));

    run(&["zkey", "contribute", "first.zkey", "final.zkey", "--name=one", "-e=some entropy"]);
    let keys = zkey::import(&fs::read(folder.path().join("final.zkey")).unwrap()).unwrap();
    assert_eq!(keys.verifying().origin(), KeyOrigin::Ceremony);
    assert_ne!(keys.verifying().points().delta_g2, KEYS.verifying().points().delta_g2);
    let (statement, proof) = proved_with(&Prover::new(&keys, Threads::default()).unwrap(), 20);
    Verifier::new(keys.verifying().clone()).verify(&statement, &proof).unwrap();
}
