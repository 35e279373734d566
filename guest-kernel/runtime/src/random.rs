//! Random numbers for containers: ChaCha20, seeded by the VMM.

use crate::clock;
use crate::machine::Machine;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use spin::Mutex;

static GENERATOR: Mutex<Option<ChaCha20Rng>> = Mutex::new(None);

/// Seeds the generator from the VMM's facts; under a foreign loader from the processor's generator.
pub fn start(machine: &Machine) {
    let seed = machine.info.map_or_else(seed_from_processor, |info| info.seed);
    *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(seed));
}

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) {
    if let Some(generator) = GENERATOR.lock().as_mut() {
        generator.fill_bytes(buffer);
    }
}

/// Without a VMM: RDRAND where there is one, mixed with the counter.
fn seed_from_processor() -> [u8; 32] {
    let has_rdrand = core::arch::x86_64::__cpuid(1).ecx & (1 << 30) != 0;
    let mut seed = [0; 32];
    for word in seed.chunks_exact_mut(8) {
        let mut value = clock::time_stamp().rotate_left(23);
        if has_rdrand {
            value ^= rdrand();
        }
        word.copy_from_slice(&value.to_le_bytes());
    }
    seed
}

fn rdrand() -> u64 {
    let value: u64;
    // SAFETY: CPUID says the instruction exists; a failure leaves zero, which the counter is mixed into.
    unsafe { core::arch::asm!("rdrand {}", out(reg) value, options(nomem, nostack)) }
    value
}
