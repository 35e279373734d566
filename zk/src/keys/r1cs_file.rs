//! Our constraints as a `.r1cs` file: what a ceremony's coordinator gives to snarkjs.

use ark_ff::{BigInteger, PrimeField};

use super::binfile;
use crate::circuit::shape::Sum;
use crate::circuit::{PRIVATE, PUBLIC, Shape};
use crate::scalar::{Scalar, to_bytes};

/// The file's bytes: 13 MB.
#[must_use]
pub fn export(shape: &Shape) -> Vec<u8> {
    let wires = shape.wires() as u32;
    let mut header = 32u32.to_le_bytes().to_vec();
    header.extend(Scalar::MODULUS.to_bytes_le());
    // Wires, public outputs, public inputs, private inputs.
    for number in [wires, 0, PUBLIC as u32, PRIVATE as u32] {
        header.extend(number.to_le_bytes());
    }
    header.extend(u64::from(wires).to_le_bytes());
    header.extend((shape.constraints() as u32).to_le_bytes());
    let mut constraints = Vec::new();
    for ((left, right), product) in shape.left.iter().zip(&shape.right).zip(&shape.product) {
        for sum in [left, right, product] {
            write_sum(&mut constraints, sum);
        }
    }
    // Each wire is its own label.
    let labels = (0..u64::from(wires)).flat_map(u64::to_le_bytes).collect();
    binfile::write(*b"r1cs", 1, &[(1, header), (2, constraints), (3, labels)])
}

fn write_sum(bytes: &mut Vec<u8>, sum: &Sum) {
    bytes.extend((sum.len() as u32).to_le_bytes());
    for (factor, wire) in sum {
        bytes.extend((*wire as u32).to_le_bytes());
        bytes.extend(to_bytes(factor));
    }
}
