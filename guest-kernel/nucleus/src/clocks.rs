//! Clocks of a PC, for machines whose loader does not tell: the rates of the counters, the time of day.

use crate::apic;
use crate::ports::{in8, out8, time_stamp};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sentient_abi::gate::{pack_rates, pack_time};

/// Ticks of the PC's interval timer (8254) in 10 ms, at 1,193,182 Hz.
const TEN_MS: u16 = 11_932;
/// Polls before a timer that does not run is given up: seconds, on any machine.
const PATIENCE: u32 = 100_000_000;

/// The time-stamp counter when the kernel was entered.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Notes that the kernel is entered.
pub fn enter() {
    ENTERED.store(time_stamp(), Relaxed);
}

/// What the time-stamp counter was then.
pub fn entered() -> u64 {
    ENTERED.load(Relaxed)
}

/// Measures the time-stamp counter and the local APIC's timer over 10 ms of the interval timer's channel
/// 2; 0 if that does not run.
pub fn measure() -> u64 {
    // Gate on, speaker off; channel 2, both bytes, mode 0: the output goes up when the count is over.
    out8(0x61, (in8(0x61) & !2) | 1);
    out8(0x43, 0b1011_0000);
    out8(0x42, TEN_MS as u8);
    out8(0x42, (TEN_MS >> 8) as u8);
    apic::set_timer(u32::MAX);
    let start = time_stamp();
    let mut polls = 0;
    while in8(0x61) & 0x20 == 0 {
        polls += 1;
        if polls == PATIENCE {
            apic::set_timer(0);
            return 0;
        }
    }
    let ticks = time_stamp() - start;
    let timer = u32::MAX - apic::timer_left();
    apic::set_timer(0);
    pack_rates((ticks / 10) as u32, timer / 10)
}

fn cmos(register: u8) -> u8 {
    out8(0x70, register);
    in8(0x71)
}

/// The real-time clock (MC146818), read twice until it holds still; 0 if it never does.
pub fn real_time() -> u64 {
    let mut last = read_clock();
    for _ in 0..1000 {
        let now = read_clock();
        if now == last {
            return now;
        }
        last = now;
    }
    0
}

fn read_clock() -> u64 {
    let format = cmos(0x0b);
    // Bit 2: binary; otherwise two decimal digits a byte.
    let value = |register| {
        let raw = cmos(register);
        if format & 4 != 0 { raw } else { (raw >> 4) * 10 + (raw & 15) }
    };
    let raw_hour = cmos(4);
    let hour = if format & 2 != 0 {
        value(4)
    } else {
        // Twelve-hour clock: bit 7 is "afternoon".
        let binary =
            if format & 4 != 0 { raw_hour & 0x7f } else { ((raw_hour & 0x70) >> 4) * 10 + (raw_hour & 15) };
        binary % 12 + if raw_hour & 0x80 != 0 { 12 } else { 0 }
    };
    pack_time(value(9), value(8), value(7), hour, value(2), value(0))
}
