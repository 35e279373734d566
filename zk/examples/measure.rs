//! How long proofs take: `cargo run --release -p sentient-zk --example measure [COUNT]`.

use std::time::{Duration, Instant};

use ark_bn254::{Bn254, Fr};
use ark_groth16::Groth16;
use ark_std::UniformRand;
use ark_std::rand::rngs::OsRng;
use sentient_zk::circuit::{Assignment, Inputs, PUBLIC, Shape, Statement};
use sentient_zk::commitment::{Memory, SLOTS, SlotSet, StateOpening};
use sentient_zk::keys::{KeySet, development};
use sentient_zk::prove::prover::{Prover, Threads};
use sentient_zk::prove::reduction::CircomReduction;
use sentient_zk::verify::{Proof, Verifier};

type Any = Box<dyn std::error::Error>;

fn main() -> Result<(), Any> {
    let count = std::env::args().nth(1).map_or(Ok(20), |count| count.parse())?;
    let shape = Shape::transition();
    println!("{} constraints, {} wires", shape.constraints(), shape.wires());
    let keys = once("setup", development::setup)?;
    let prover = once("multiples", || Prover::new(&keys, Threads { count: 0, niceness: 0 }))?;
    let folder = tempfile::tempdir()?;
    keys.save(folder.path())?;
    once("load and check keys", || KeySet::load(folder.path()))?;

    let old = StateOpening {
        previous: Fr::rand(&mut OsRng),
        memory: Memory::from_slots([(); SLOTS].map(|()| Fr::rand(&mut OsRng))),
        delta: Fr::rand(&mut OsRng),
        meta: Fr::rand(&mut OsRng),
    };
    let new = StateOpening { previous: old.state(), ..old.clone() };
    let statement = Statement {
        old_state: old.state(),
        new_state: new.state(),
        dirty: SlotSet(0xf0),
        frozen: SlotSet(0x0f),
        contract: [1; 32],
    };
    let inputs = Inputs::honest(&statement, &old, &new);
    let matrices = [shape.left.clone(), shape.right.clone(), shape.product.clone()];
    let mut proof: Option<Proof> = None;
    many("witness", count, || {
        std::hint::black_box(Assignment::of(&inputs));
        Ok(())
    })?;
    many("prove, with ark-groth16", count, || {
        let values = Assignment::of(&inputs).values;
        Groth16::<Bn254, CircomReduction>::create_proof_with_reduction_and_matrices(
            keys.proving().points(),
            Fr::rand(&mut OsRng),
            Fr::rand(&mut OsRng),
            &matrices,
            1 + PUBLIC,
            shape.constraints(),
            &values,
        )?;
        Ok(())
    })?;
    many("prove, with multiples, checked", count, || {
        proof = Some(prover.prove(&statement, &old, &new)?);
        Ok(())
    })?;
    let proof = proof.ok_or("no proof")?;
    let verifier = Verifier::new(keys.verifying().clone());
    many("verify", count, || Ok(verifier.verify(&statement, &proof)?))?;
    let batch = vec![(statement, proof); 64];
    many("verify 64", count, || Ok(verifier.verify_batch(&batch)?))?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn once<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let began = Instant::now();
    let done = work();
    println!("{name}: {:.1} ms", millis(began.elapsed()));
    done
}

fn many(name: &str, count: usize, mut work: impl FnMut() -> Result<(), Any>) -> Result<(), Any> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        work()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(part * times.len() / 100).copied().map_or(0.0, millis);
    println!("{name}: median {:.1} ms, 90th percentile {:.1} ms, n = {count}", at(50), at(90));
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
