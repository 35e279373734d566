//! Keys made here.
//!
//! The setup's randomness is in this process' memory while it runs, so whoever owns the machine could
//! prove anything with the keys. They say `development` for that reason, wherever they are shown.

use ark_groth16::Groth16;
use ark_std::rand::rngs::OsRng;

use super::proving::ProvingKey;
use super::verifying::{KeyOrigin, VerifyingKey};
use super::{KeyError, KeySet};
use crate::circuit::Shape;
use crate::prove::reduction::CircomReduction;

/// Makes keys. Takes some tenths of a second.
///
/// # Errors
///
/// [`KeyError::Setup`], which cannot happen for our circuit.
pub fn setup() -> Result<KeySet, KeyError> {
    let made = Groth16::<ark_bn254::Bn254, CircomReduction>::generate_random_parameters_with_reduction(
        Shape::transition(),
        &mut OsRng,
    );
    let points = made.map_err(|error| KeyError::Setup(error.to_string()))?;
    let verifying = VerifyingKey::new(KeyOrigin::Development, points.vk.clone())?;
    Ok(KeySet::new(ProvingKey::new(verifying, points)?))
}
