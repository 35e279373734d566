//! From a statement and its witness to a proof.

use std::fmt;

use ark_bn254::{Bn254, Fr, G1Projective, G2Projective, g1, g2};
use ark_ec::CurveGroup;
use ark_ff::{Field, UniformRand};
use ark_std::rand::rngs::OsRng;
use rayon::{ThreadPool, ThreadPoolBuilder};
use rustix::process::nice;

use super::multiples::Multiples;
use super::reduction::quotient;
use super::transform::Transform;
use crate::circuit::shape::DOMAIN;
use crate::circuit::{Assignment, Inputs, PUBLIC, Statement};
use crate::commitment::StateOpening;
use crate::keys::{KeySet, VerifyingKey};
use crate::verify::{Proof, Verifier};

/// Makes proofs with one key. Holds some 40 MB of multiples of the key's points.
pub struct Prover {
    verifier: Verifier,
    a: Multiples<g1::Config>,
    b: Multiples<g2::Config>,
    /// L, then H.
    c: Multiples<g1::Config>,
    alpha: G1Projective,
    beta: G2Projective,
    delta: G2Projective,
    transform: Transform<Fr>,
    threads: ThreadPool,
}

/// Threads that proofs are made on. They are the prover's own: what else the process does, never waits.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// How many; 0 for one a processor.
    pub count: usize,
    /// How much they give way to others, 0 to 19 (nice(2)).
    pub niceness: i32,
}

impl Default for Threads {
    fn default() -> Self {
        Self { count: 0, niceness: 10 }
    }
}

impl Threads {
    /// The threads. Whoever reads keys on them, too, gives way while doing so.
    ///
    /// # Errors
    ///
    /// [`ProveError::Threads`].
    pub fn start(self) -> Result<ThreadPool, ProveError> {
        ThreadPoolBuilder::new()
            .num_threads(self.count)
            .thread_name(|number| format!("prover-{number}"))
            // A thread that cannot give way works all the same.
            .start_handler(move |_| {
                let _ = nice(self.niceness);
            })
            .build()
            .map_err(|error| ProveError::Threads(error.to_string()))
    }
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The witness does not fit the statement.
    #[error("the transition is not one that can be proved: {0}")]
    False(&'static str),
    /// The key made a proof that does not pass.
    #[error(
        "the proof that was made does not pass: the proving key is not the one that goes with the verifying key; import both again"
    )]
    Key,
    /// No threads.
    #[error("no threads for the prover: {0}; the system's limit of threads is too low")]
    Threads(String),
    /// The constraints do not fit.
    #[error("the polynomials could not be computed: {0}; this is a fault of the program, please report it")]
    Polynomials(String),
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover").field("key", &self.verifier.key().digest()).finish_non_exhaustive()
    }
}

impl Prover {
    /// A prover with these keys. Takes a second or so: the multiples are computed.
    ///
    /// # Errors
    ///
    /// [`ProveError::Threads`], and as [`on`](Self::on).
    pub fn new(keys: &KeySet, threads: Threads) -> Result<Self, ProveError> {
        Self::on(threads.start()?, keys)
    }

    /// The same, on threads that are there.
    ///
    /// # Errors
    ///
    /// [`ProveError::Polynomials`], which cannot happen for our circuit.
    pub fn on(pool: ThreadPool, keys: &KeySet) -> Result<Self, ProveError> {
        let transform = Transform::new(DOMAIN.trailing_zeros())
            .ok_or_else(|| ProveError::Polynomials("the field has no root of unity".to_owned()))?;
        let key = keys.proving().points();
        let c = [key.l_query.as_slice(), key.h_query.as_slice()].concat();
        let (b, (a, c)) = pool.install(|| {
            rayon::join(
                || Multiples::new(&key.b_g2_query),
                || rayon::join(|| Multiples::new(&key.a_query), || Multiples::new(&c)),
            )
        });
        Ok(Self {
            verifier: Verifier::new(keys.verifying().clone()),
            a,
            b,
            c,
            alpha: key.vk.alpha_g1.into(),
            beta: key.vk.beta_g2.into(),
            delta: key.vk.delta_g2.into(),
            transform,
            threads: pool,
        })
    }

    /// The key that its proofs are checked with.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        self.verifier.key()
    }

    /// A proof of `statement`, whose states are `old`'s and `new`'s. Two proofs of one statement differ:
    /// each has randomness of its own, which is what keeps the witness secret.
    ///
    /// # Errors
    ///
    /// [`ProveError::False`] if it is not true, [`ProveError::Key`] if the key is wrong.
    pub fn prove(
        &self,
        statement: &Statement,
        old: &StateOpening,
        new: &StateOpening,
    ) -> Result<Proof, ProveError> {
        check(statement, old, new)?;
        let inputs = Inputs::honest(statement, old, new);
        let proof = self.threads.install(|| self.blinded(Assignment::of(&inputs), Blinding::random()))?;
        if self.verifier.verify(statement, &proof).is_err() {
            return Err(ProveError::Key);
        }
        Ok(proof)
    }

    /// The proof with this randomness, unchecked (Groth, EUROCRYPT 2016, section 3.2).
    ///
    /// The paper's prover needs B in G1 to blind C with it: a sum of thousands of points. We make the proof that has no
    /// randomness, and then another one from it, as anybody could: A/x, x(B + y delta), C + yA. Why that hides as much:
    /// docs/decisions/0027.
    fn blinded(&self, assignment: Assignment, blinding: Blinding) -> Result<Proof, ProveError> {
        let Assignment { values, left, right } = assignment;
        let (inputs, witness) = values
            .split_at_checked(1 + PUBLIC)
            .ok_or_else(|| ProveError::Polynomials("there is no witness".to_owned()))?;
        let Blinding { x, over_x, y } = blinding;
        let (b, (c, (a, blind))) = rayon::join(
            || (self.beta + self.b.sum(&values) + self.delta * y) * x,
            || {
                let a = || {
                    let a = self.alpha + self.a.sum(&values);
                    (a * over_x, a * y)
                };
                rayon::join(|| self.products(left, right, inputs, witness), a)
            },
        );
        let points = ark_groth16::Proof::<Bn254> {
            a: a.into_affine(),
            b: b.into_affine(),
            c: (c + blind).into_affine(),
        };
        Ok(Proof::from_points(points))
    }

    /// The part of C that the key's L and H give.
    fn products(&self, left: Vec<Fr>, right: Vec<Fr>, inputs: &[Fr], witness: &[Fr]) -> G1Projective {
        let h = quotient(&self.transform, left, right, inputs);
        self.c.sum(&[witness, h.as_slice()].concat())
    }
}

/// A proof's randomness.
#[derive(Clone, Copy)]
struct Blinding {
    x: Fr,
    over_x: Fr,
    y: Fr,
}

impl Blinding {
    /// Fresh randomness of the operating system's.
    fn random() -> Self {
        loop {
            let x = Fr::rand(&mut OsRng);
            if let Some(over_x) = x.inverse() {
                return Self { x, over_x, y: Fr::rand(&mut OsRng) };
            }
        }
    }
}

/// `Ok` if there is a proof.
fn check(statement: &Statement, old: &StateOpening, new: &StateOpening) -> Result<(), ProveError> {
    if old.state() != statement.old_state {
        return Err(ProveError::False("the old state is not the one that is opened"));
    }
    if new.state() != statement.new_state {
        return Err(ProveError::False("the new state is not the one that is opened"));
    }
    if new.previous != statement.old_state {
        return Err(ProveError::False("the new state does not follow from the old one"));
    }
    if !old.memory.differs(&new.memory).without(statement.dirty).is_empty() {
        return Err(ProveError::False("a slot differs that is not in the mask of dirty slots"));
    }
    if !statement.dirty.and(statement.frozen).is_empty() {
        return Err(ProveError::False("a frozen slot is dirty"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

    use ark_ff::AdditiveGroup;
    use ark_groth16::Groth16;

    use super::*;
    use crate::circuit::Shape;
    use crate::commitment::{Memory, SLOTS, SlotSet};
    use crate::keys::development;
    use crate::prove::reduction::CircomReduction;

    #[test]
    fn the_proof_is_the_one_that_ark_groth16_makes() {
        let keys = development::setup().unwrap();
        let prover = Prover::new(&keys, Threads::default()).unwrap();
        let mut slots = [Fr::from(3u8); SLOTS];
        let old = StateOpening {
            previous: 1u8.into(),
            memory: Memory::from_slots(slots),
            delta: 2u8.into(),
            meta: 3u8.into(),
        };
        slots[9] = 4u8.into();
        let new = StateOpening { previous: old.state(), memory: Memory::from_slots(slots), ..old.clone() };
        let statement = Statement {
            old_state: old.state(),
            new_state: new.state(),
            dirty: SlotSet(1 << 9),
            frozen: SlotSet(2),
            contract: [0; 32],
        };
        let assignment = Assignment::of(&Inputs::honest(&statement, &old, &new));
        let (x, y) = (Fr::from(1_234_567u64), -Fr::from(7_654_321u64));
        // Theirs has A blinded by r, and B by s: without r, and with y for s, what is left is our x.
        let shape = Shape::transition();
        let expected = Groth16::<Bn254, CircomReduction>::create_proof_with_reduction_and_matrices(
            keys.proving().points(),
            Fr::ZERO,
            y,
            &[shape.left.clone(), shape.right.clone(), shape.product.clone()],
            1 + PUBLIC,
            shape.constraints(),
            &assignment.values,
        );
        let expected = expected.unwrap();
        let over_x = x.inverse().unwrap();
        let ours = prover.blinded(assignment.clone(), Blinding { x: Fr::ONE, over_x: Fr::ONE, y }).unwrap();
        assert_eq!(ours, Proof::from_points(expected.clone()));
        let ours = prover.blinded(assignment, Blinding { x, over_x, y }).unwrap();
        let expected = ark_groth16::Proof {
            a: (expected.a * over_x).into_affine(),
            b: (expected.b * x).into_affine(),
            c: expected.c,
        };
        assert_eq!(ours, Proof::from_points(expected));
    }
}
