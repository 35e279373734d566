//! A ceremony with snarkjs, of the size that ours needs, and its key in our prover.

use std::fs;

use sentient_zk::circuit::Shape;
use sentient_zk::keys::{KeyOrigin, r1cs_file, zkey};
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use sentient_zk::verify::Verifier;

use crate::node::snarkjs_does;
use crate::one_key::proved_with;

#[test]
fn a_ceremonys_key_is_imported_and_proves() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| snarkjs_does(args, folder.path());
    fs::write(folder.path().join("circuit.r1cs"), r1cs_file::export(Shape::transition())).unwrap();
    let info = run(&["r1cs", "info", "circuit.r1cs"]);
    assert!(info.contains(&format!("# of Constraints: {}", Shape::transition().constraints())), "{info}");
    // 2^13 is the domain.
    run(&["powersoftau", "new", "bn128", "13", "0.ptau"]);
    run(&["powersoftau", "contribute", "0.ptau", "1.ptau", "--name=one", "-e=some entropy"]);
    run(&["powersoftau", "prepare", "phase2", "1.ptau", "final.ptau"]);
    run(&["groth16", "setup", "circuit.r1cs", "final.ptau", "0.zkey"]);
    run(&["zkey", "contribute", "0.zkey", "final.zkey", "--name=two", "-e=more entropy"]);
    let bytes = fs::read(folder.path().join("final.zkey")).unwrap();
    assert!(bytes.len() <= zkey::max_len(), "{} bytes", bytes.len());

    let keys = zkey::import(&bytes).unwrap();
    assert_eq!(keys.verifying().origin(), KeyOrigin::Ceremony);
    let prover = Prover::new(&keys, Threads::default()).unwrap();
    let (statement, proof) = proved_with(&prover, 20);
    Verifier::new(keys.verifying().clone()).verify(&statement, &proof).unwrap();
    // snarkjs exports the same verifying key that we read.
    run(&["zkey", "export", "verificationkey", "final.zkey", "vk.json"]);
    let theirs: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("vk.json")).unwrap()).unwrap();
    let ours = sentient_zk::export::snarkjs::verification_key(keys.verifying());
    for part in ["nPublic", "vk_alpha_1", "vk_beta_2", "vk_gamma_2", "vk_delta_2", "IC"] {
        assert_eq!(theirs[part], ours[part], "{part}");
    }

    // Wherever a byte is changed, the key is refused, before any proof is tried.
    for at in (0..bytes.len() - 600).step_by(bytes.len() / 20) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x04;
        assert!(zkey::read(&bad).is_err(), "byte {at} of {}", bytes.len());
    }
    assert!(zkey::read(&bytes[..bytes.len() - 1]).is_err());
}
