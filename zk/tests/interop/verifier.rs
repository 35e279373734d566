//! The Solidity verifier, compiled with solc, in an EVM.

use crate::node::{Called, evm, solc};
use crate::one_key::{KEYS, proved};
use sentient_zk::export::solidity;

/// Whether the contract has accepted a proof.
fn accepts(called: &Called) -> bool {
    assert_eq!(called.error, None, "{called:?}");
    called.output.ends_with('1')
}

#[test]
fn the_contract_accepts_a_good_proof_and_no_other() {
    let (statement, proof) = proved(20);
    let code = solc(&solidity::verifier(KEYS.verifying()));
    let data = solidity::call(&statement, &proof);

    let mut other = statement;
    other.dirty.0 ^= 1 << 40;
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
    let mut off = data.clone();
    off[4 + 31] ^= 1;

    let calls = [data, solidity::call(&other, &proof), again, off];
    let [good, bad @ ..] = &evm(&code, &calls)[..] else { panic!("no answers") };
    println!("gas of a good proof: {}", good.gas);
    assert!(accepts(good));
    assert!(good.gas < 300_000, "{good:?}");
    assert_eq!(bad.iter().map(accepts).collect::<Vec<_>>(), [false; 3]);
}
