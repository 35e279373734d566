//! Random numbers for containers: ChaCha20, seeded by the VMM.
//!
//! The seed of the time page is there at once, so that a container that never asks for random numbers does
//! not wait for any. The first that does also gets 32 bytes of the entropy device mixed in. A machine that
//! was rolled back, restored or forked finds another seed in the page, and mixes that in before it gives
//! out anything: two machines with one past do not draw the same numbers. It looks again when it has drawn them,
//! and draws anew if its life has begun meanwhile.

use crate::machine::Machine;
use crate::virtqueue::VirtQueue;
use crate::{clock, devices};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sentient_abi::layout::queues;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::RegionKind;
use spin::Mutex;

/// Bytes of a seed.
const SEED: usize = 32;

struct Generator {
    chacha: ChaCha20Rng,
    /// The machine's life that the numbers are for.
    generation: u64,
    /// The entropy device, until it has been asked.
    device: Option<EntropyDevice>,
}

/// The entropy device's queue, and where its answer goes.
struct EntropyDevice {
    queue: VirtQueue,
    buffer: u64,
}

static GENERATOR: Mutex<Option<Generator>> = Mutex::new(None);

/// Seeds the generator from the time page; under a foreign loader from the processor's generator.
pub fn start(machine: &Machine) {
    let (generation, seed) = clock::generation().unwrap_or_else(|| (0, seed_from_processor()));
    let device = entropy_device(machine);
    *GENERATOR.lock() = Some(Generator { chacha: ChaCha20Rng::from_seed(seed), generation, device });
}

/// The machine was booted since the generator was seeded: whoever has kept it knows the rest of its numbers.
pub fn go_on(machine: &Machine) {
    if let Some(generator) = GENERATOR.lock().as_mut() {
        generator.mix(seed_from_processor());
        generator.device = entropy_device(machine);
    }
}

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) {
    if let Some(generator) = GENERATOR.lock().as_mut() {
        if let Some(device) = generator.device.take() {
            generator.mix(device.ask());
        }
        generator.renew();
        loop {
            generator.chacha.fill_bytes(buffer);
            // The machine may have been copied while they were made, by a snapshot that knows the rest of them.
            if !generator.renew() {
                return;
            }
        }
    }
}

impl Generator {
    /// Mixes the seed of a new life in; whether it is one.
    fn renew(&mut self) -> bool {
        let Some((generation, seed)) = clock::generation().filter(|(now, _)| *now != self.generation) else {
            return false;
        };
        self.generation = generation;
        self.mix(seed);
        true
    }

    /// Fresh bytes on top of what there is: neither alone decides.
    fn mix(&mut self, fresh: [u8; SEED]) {
        let mut seed = [0; SEED];
        self.chacha.fill_bytes(&mut seed);
        for (byte, fresh) in seed.iter_mut().zip(fresh) {
            *byte ^= fresh;
        }
        self.chacha = ChaCha20Rng::from_seed(seed);
    }
}

impl EntropyDevice {
    /// Asks once; zeros if the device does not answer within a while.
    fn ask(mut self) -> [u8; SEED] {
        /// A tenth of a second; the device takes some ten microseconds.
        const PATIENCE_NS: u64 = 100_000_000;
        // SAFETY: the buffer lies in a page of the region of device buffers that nothing else uses, and
        // is not read before the device has given it back.
        unsafe { self.queue.offer(0, self.buffer, SEED as u32, true) }
        self.queue.notify();
        let start = clock::monotonic_ns();
        while clock::monotonic_ns().saturating_sub(start) < PATIENCE_NS {
            if self.queue.take_used().is_some() {
                // SAFETY: as above; 32 bytes from the buffer are within its page.
                return unsafe { (self.buffer as *const [u8; SEED]).read_volatile() };
            }
            core::hint::spin_loop();
        }
        [0; SEED]
    }
}

fn entropy_device(machine: &Machine) -> Option<EntropyDevice> {
    let device = devices::find(machine, DeviceKind::Rng)?;
    let buffer = machine.region(RegionKind::DeviceBuffers)?.base + queues::ENTROPY * queues::STRIDE;
    // SAFETY: this page is the entropy device's, and used here alone.
    let mut queue = unsafe { device.queue(machine, DeviceKind::Rng, 0) }?;
    queue.want_interrupts(false);
    Some(EntropyDevice { queue, buffer })
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
