//! Hostile drivers, from the devices' own crate: the input is the driver's moves.

pub use sentient_devices::fuzzing::{
    fuzz_console as console, fuzz_mmio as mmio, fuzz_net as net, fuzz_ports as ports,
    fuzz_stdio_mux as stdio_mux, fuzz_volumes as volumes,
};

use crate::mutate::Rng;

/// Any bytes are moves; these are as good as others.
pub fn noise() -> Vec<Vec<u8>> {
    let moves = |seed| {
        let mut rng = Rng::new(seed);
        (0..512).flat_map(|_| rng.bits().to_le_bytes()).collect()
    };
    (0..8).map(moves).collect()
}
