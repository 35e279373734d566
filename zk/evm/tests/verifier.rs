//! The Solidity verifier, compiled with solc, in an EVM. Needs node and npm, and fails without.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

#[path = "../../tests/interop/node.rs"]
mod node;
#[path = "../../tests/one_key/mod.rs"]
mod one_key;

use revm::context::result::{ExecutionResult, Output};
use revm::context::{Context, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::{Address, Bytes, TxKind};
use revm::{ExecuteCommitEvm, MainBuilder, MainContext};
use sentient_zk::export::solidity;

use node::solc;
use one_key::{KEYS, proved};

const GAS: u64 = 10_000_000;

#[test]
fn the_contract_accepts_a_good_proof_and_no_other() {
    let (statement, proof) = proved(20);
    let code = solc(&solidity::verifier(KEYS.verifying()));
    let code: Vec<u8> =
        (0..code.len() / 2).map(|at| u8::from_str_radix(&code[2 * at..][..2], 16).unwrap()).collect();
    let mut evm = Context::mainnet().with_db(CacheDB::new(EmptyDB::default())).build_mainnet();
    let mut nonce = 0;
    let mut run = |kind: TxKind, data: Vec<u8>| {
        let tx =
            TxEnv::builder().kind(kind).data(Bytes::from(data)).gas_limit(GAS).nonce(nonce).build().unwrap();
        nonce += 1;
        evm.transact_commit(tx).unwrap()
    };
    let deployed = run(TxKind::Create, code);
    let ExecutionResult::Success { output: Output::Create(_, Some(address)), .. } = deployed else {
        panic!("not deployed: {deployed:?}");
    };
    let call = |address: Address, data: Vec<u8>, run: &mut dyn FnMut(TxKind, Vec<u8>) -> ExecutionResult| {
        let result = run(TxKind::Call(address), data);
        let gas = result.tx_gas_used();
        match result {
            ExecutionResult::Success { output, .. } => (output.data().last() == Some(&1), gas),
            other => panic!("{other:?}"),
        }
    };
    let data = solidity::call(&statement, &proof);
    let (good, gas) = call(address, data.clone(), &mut run);
    println!("gas of a good proof: {gas}");
    assert!(good);
    assert!(gas < 300_000, "{gas} gas");

    let mut other = statement;
    other.dirty.0 ^= 1 << 40;
    assert!(!call(address, solidity::call(&other, &proof), &mut run).0);
    // The same scalar with another number, a point that is off its curve.
    let order = "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001";
    let order: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&order[2 * at..][..2], 16).unwrap()).collect();
    let mut again = data.clone();
    let mask = 4 + 32 * (8 + 2)..4 + 32 * (8 + 3);
    let mut carry = 0;
    for (byte, add) in again[mask].iter_mut().zip(&order).rev() {
        let sum = u16::from(*byte) + u16::from(*add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!call(address, again, &mut run).0);
    let mut off = data;
    off[4 + 31] ^= 1;
    assert!(!call(address, off, &mut run).0);
}
