//! The screen that the loader has set up, for ring 3, which draws on it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::RamRange;
use sentient_abi::screen::ScreenInfo;

/// What there is: the address (0 for no screen), pitch and width, height and format.
static SCREEN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Notes a screen; gives the pages that are to be mapped for it.
pub fn set(screen: ScreenInfo) -> Option<RamRange> {
    let len = screen.bytes()?.next_multiple_of(PAGE_SIZE);
    let [address, line, rest] = &SCREEN;
    address.store(screen.address, Relaxed);
    line.store(u64::from(screen.pitch) | u64::from(screen.width) << 32, Relaxed);
    rest.store(u64::from(screen.height) | u64::from(screen.format) << 32, Relaxed);
    Some(RamRange { base: screen.address, len })
}

/// There is none after all.
pub fn forget() {
    SCREEN[0].store(0, Relaxed);
}

/// The screen, if there is one.
pub fn get() -> Option<ScreenInfo> {
    let [address, line, rest] = [0, 1, 2].map(|at: usize| SCREEN[at].load(Relaxed));
    (address != 0).then_some(ScreenInfo {
        address,
        pitch: line as u32,
        width: (line >> 32) as u32,
        height: rest as u32,
        format: (rest >> 32) as u32,
    })
}
