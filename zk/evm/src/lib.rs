//! Nothing but tests, in `tests/verifier.rs`: the contract that `sentient_zk::export::solidity` writes, compiled with
//! solc, on good and bad proofs in an EVM.
