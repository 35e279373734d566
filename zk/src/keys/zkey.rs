//! Keys of a ceremony: snarkjs' `.zkey` files for Groth16 over BN254.
//!
//! Coordinates are little-endian and in Montgomery form, factors multiplied by R^2. What is checked: the
//! curve, that sizes and constraints are our circuit's, every point, and, by making a proof and checking
//! it, that the parts belong together. What cannot be checked here is that the ceremony was one:
//! `snarkjs zkey verify circuit.r1cs final.ptau circuit.zkey` does that, and whoever imports the key runs
//! it first.

use ark_bn254::{Fq, Fq2, G1Affine, G2Affine};
use ark_ec::short_weierstrass::Affine;
use ark_ff::{BigInt, BigInteger, PrimeField};
use rayon::prelude::*;

use super::binfile::{BinFile, take};
use super::points::{self, G1_LEN, G2_LEN, Place, Point};
use super::proving::ProvingKey;
use super::verifying::{KeyOrigin, VerifyingKey};
use super::{KeyError, KeySet};
use crate::circuit::shape::DOMAIN;
use crate::circuit::{PUBLIC, Shape, Statement};
use crate::commitment::{Memory, SLOTS, SlotSet, StateOpening};
use crate::prove::{Prover, prover::Threads};
use crate::scalar::Scalar;

const NAME: &str = ".zkey file";
/// Bytes of a factor: matrix, constraint and wire, u32 each, and the factor.
const FACTOR_LEN: usize = 3 * 4 + 32;

/// Most bytes of a `.zkey` for our circuit: points, factors, and up to 1 MiB for the contributions' list.
#[must_use]
pub fn max_len() -> usize {
    let shape = Shape::transition();
    let factors: usize = shape.left.iter().chain(&shape.right).map(Vec::len).sum();
    ProvingKey::encoded_len() + (factors + 1 + PUBLIC) * FACTOR_LEN + (2 << 20)
}

/// The keys in a `.zkey` file.
///
/// # Errors
///
/// [`KeyError`] by the first part that is not what it has to be.
pub fn import(bytes: &[u8]) -> Result<KeySet, KeyError> {
    let keys = read(bytes)?;
    if try_out(&keys) {
        return Ok(keys);
    }
    Err(KeyError::encoding(NAME, "makes proofs that do not pass"))
}

/// The keys in a `.zkey` file, not tried out.
///
/// # Errors
///
/// As [`import`].
pub fn read(bytes: &[u8]) -> Result<KeySet, KeyError> {
    let file = BinFile::parse(bytes, *b"zkey", 1, NAME)?;
    if file.section(1)? != 1u32.to_le_bytes() {
        return Err(KeyError::encoding(NAME, "is not for Groth16"));
    }
    let shape = Shape::transition();
    let mut header = file.section(2)?;
    check_header(&mut header, shape)?;
    let g1 = |bytes: &mut &[u8], count, part| read_points::<G1Affine>(bytes, count, part);
    let start = g1(&mut header, 2, "alpha and beta")?;
    let mut ends = read_points::<G2Affine>(&mut header, 2, "beta and gamma in G2")?;
    let delta = g1(&mut header, 1, "delta")?;
    ends.extend(read_points::<G2Affine>(&mut header, 1, "delta in G2")?);
    let ([alpha_g1, beta_g1], [beta_g2, gamma_g2, delta_g2], [delta_g1]) =
        (start.as_slice(), ends.as_slice(), delta.as_slice())
    else {
        return Err(KeyError::encoding(NAME, "has a header that is cut short"));
    };
    all_read(header, "header")?;
    check_factors(file.section(4)?, shape)?;
    let whole = |kind, count, part| -> Result<Vec<G1Affine>, KeyError> {
        let mut section = file.section(kind)?;
        let points = g1(&mut section, count, part)?;
        all_read(section, part).map(|()| points)
    };
    let verifying = ark_groth16::VerifyingKey {
        alpha_g1: *alpha_g1,
        beta_g2: *beta_g2,
        gamma_g2: *gamma_g2,
        delta_g2: *delta_g2,
        gamma_abc_g1: whole(3, 1 + PUBLIC, "public inputs")?,
    };
    let mut b_g2 = file.section(7)?;
    let proving = ark_groth16::ProvingKey {
        vk: verifying.clone(),
        beta_g1: *beta_g1,
        delta_g1: *delta_g1,
        a_query: whole(5, shape.wires(), "A")?,
        b_g1_query: whole(6, shape.wires(), "B in G1")?,
        b_g2_query: read_points(&mut b_g2, shape.wires(), "B in G2")?,
        l_query: whole(8, shape.witness, "L")?,
        h_query: whole(9, DOMAIN, "H")?,
    };
    all_read(b_g2, "B in G2")?;
    let verifying = VerifyingKey::new(KeyOrigin::Ceremony, verifying)?;
    Ok(KeySet::new(ProvingKey::new(verifying, proving)?))
}

/// Curve and sizes; leaves the points.
fn check_header(header: &mut &[u8], shape: &Shape) -> Result<(), KeyError> {
    let cut = || KeyError::encoding(NAME, "has a header that is cut short");
    for (order, field) in
        [(Fq::MODULUS.to_bytes_le(), "coordinates"), (Scalar::MODULUS.to_bytes_le(), "scalars")]
    {
        let len: [u8; 4] = take(header).ok_or_else(cut)?;
        let found: [u8; 32] = take(header).ok_or_else(cut)?;
        if len != 32u32.to_le_bytes() || found.as_slice() != order {
            return Err(KeyError::encoding(NAME, format!("has {field} of another curve than BN254")));
        }
    }
    for (what, expected) in [("wires", shape.wires()), ("public inputs", PUBLIC), ("domain", DOMAIN)] {
        let found = take(header).map(u32::from_le_bytes).ok_or_else(cut)?;
        if found as usize != expected {
            let problem = format!("is for another circuit: {found} {what}, and ours has {expected}");
            return Err(KeyError::encoding(NAME, problem));
        }
    }
    Ok(())
}

/// The factors of both sides, with those that bind the public inputs, are our constraints'.
fn check_factors(section: &[u8], shape: &Shape) -> Result<(), KeyError> {
    let other = || KeyError::encoding(NAME, "is for other constraints than this build's");
    let mut expected: Vec<(u32, u32, u32, Scalar)> = Vec::new();
    for (matrix, rows) in [(0, &shape.left), (1, &shape.right)] {
        for (row, sum) in (0u32..).zip(rows) {
            expected.extend(sum.iter().map(|(factor, wire)| (matrix, row, *wire as u32, *factor)));
        }
    }
    let first = shape.constraints() as u32;
    expected.extend((0..=PUBLIC as u32).map(|input| (0, first + input, input, Scalar::from(1u8))));
    let mut rest = section;
    let count = take(&mut rest).map(u32::from_le_bytes).ok_or_else(other)?;
    if count as usize != expected.len() || rest.len() != expected.len() * FACTOR_LEN {
        return Err(other());
    }
    let mut found = Vec::with_capacity(expected.len());
    while let (Some(matrix), Some(row), Some(wire), Some(factor)) =
        (take(&mut rest), take(&mut rest), take(&mut rest), take::<32>(&mut rest))
    {
        // Twice in Montgomery form.
        let once = below_order::<Scalar>(&factor).map(Scalar::new_unchecked).ok_or_else(other)?;
        let factor = Scalar::new_unchecked(once.into_bigint());
        found.push((u32::from_le_bytes(matrix), u32::from_le_bytes(row), u32::from_le_bytes(wire), factor));
    }
    let place = |factor: &(u32, u32, u32, Scalar)| (factor.0, factor.1, factor.2);
    expected.sort_unstable_by_key(place);
    found.sort_unstable_by_key(place);
    if expected == found { Ok(()) } else { Err(other()) }
}

fn all_read(rest: &[u8], part: &str) -> Result<(), KeyError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(KeyError::encoding(NAME, format!("has {} bytes too many in {part}", rest.len())))
}

/// A number below a field's order, as limbs.
fn below_order<F: PrimeField<BigInt = BigInt<4>>>(bytes: &[u8]) -> Option<BigInt<4>> {
    let (limbs, _) = bytes.as_chunks::<8>();
    let mut number = BigInt::<4>::default();
    number.0.iter_mut().zip(limbs).for_each(|(to, limb)| *to = u64::from_le_bytes(*limb));
    (number < F::MODULUS).then_some(number)
}

trait Montgomery: Point {
    /// The point of these coordinates, whatever they are.
    fn of(coordinates: &[Fq]) -> Option<Self>;
}

impl Montgomery for Affine<ark_bn254::g1::Config> {
    fn of(coordinates: &[Fq]) -> Option<Self> {
        let [x, y] = coordinates else { return None };
        Some(points::g1(*x, *y))
    }
}

impl Montgomery for Affine<ark_bn254::g2::Config> {
    fn of(coordinates: &[Fq]) -> Option<Self> {
        let [x0, x1, y0, y1] = coordinates else { return None };
        Some(points::g2(Fq2::new(*x0, *x1), Fq2::new(*y0, *y1)))
    }
}

fn read_points<P: Montgomery>(
    bytes: &mut &[u8],
    count: usize,
    part: &'static str,
) -> Result<Vec<P>, KeyError> {
    let place = Place { key: NAME, part };
    let split = count.checked_mul(P::LEN).and_then(|len| bytes.split_at_checked(len));
    let (ours, rest) = split.ok_or_else(|| KeyError::encoding(NAME, format!("ends within its {part}")))?;
    *bytes = rest;
    let point = |(index, bytes): (usize, &[u8])| {
        let problem = "has a coordinate that is not below the field's order";
        let coordinates: Option<Vec<Fq>> =
            bytes.chunks(32).map(|bytes| below_order::<Fq>(bytes).map(Fq::new_unchecked)).collect();
        let point = coordinates.and_then(|coordinates| P::of(&coordinates));
        let point = point.ok_or(KeyError::Point { key: NAME, part, index, problem })?;
        points::checked(point, place, index)
    };
    ours.par_chunks(P::LEN).enumerate().map(point).collect()
}

const _: () = assert!(G2_LEN == 2 * G1_LEN);

/// Makes a proof with the keys, and checks it with them.
fn try_out(keys: &KeySet) -> bool {
    let old = StateOpening {
        previous: 1u8.into(),
        memory: Memory::from_slots([Scalar::from(2u8); SLOTS]),
        delta: 3u8.into(),
        meta: 4u8.into(),
    };
    let mut slots = *old.memory.slots();
    if let Some(last) = slots.last_mut() {
        *last += Scalar::from(1u8);
    }
    let new = StateOpening { previous: old.state(), memory: Memory::from_slots(slots), ..old.clone() };
    let statement = Statement {
        old_state: old.state(),
        new_state: new.state(),
        dirty: SlotSet(1 << (SLOTS - 1)),
        frozen: SlotSet(1),
        contract: [5; 32],
    };
    Prover::new(keys, Threads::default()).is_ok_and(|prover| prover.prove(&statement, &old, &new).is_ok())
}
