//! How long a machine without a VMM of ours takes until it is ready, and what takes how much of it.

use crate::machine::Machine;
use crate::{clock, gate, report};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use sentient_abi::region::RegionKind;
use spin::Mutex;

/// Ends of stages: what each was, and the time-stamp counter then.
static STAGES: Mutex<Vec<(&'static str, u64)>> = Mutex::new(Vec::new());

/// What was done until now, since the last stage, was this.
pub fn done(what: &'static str) {
    let now = clock::time_stamp();
    STAGES.lock().push((what, now));
}

/// Says how long it took, and what there is.
pub fn tell(machine: &Machine) {
    let facts = gate::facts();
    let stages = core::mem::take(&mut *STAGES.lock());
    let ms = |ticks: u64| clock::ticks_to_ns(ticks) as f64 / 1e6;
    let mut line = String::new();
    let mut before = facts.entered;
    for (what, at) in &stages {
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "{}{what} {:.1}",
            if line.is_empty() { "" } else { ", " },
            ms(at.saturating_sub(before))
        );
        before = *at;
    }
    let all = ms(before.saturating_sub(facts.entered));
    let since = if facts.panics == 0 { "the loader" } else { "a panic of the kernel" };
    report::say(format_args!("ready {all:.1} ms after {since} ({line})"));
    if facts.panics > 0 {
        report::say(format_args!("programs begin anew: `log` says what it was ({} so far)", facts.panics));
    }
    let (mut all, mut free) = (0, 0);
    for region in machine.regions() {
        all += region.len;
        if region.kind == RegionKind::Unassigned as u32 {
            free += region.len;
        }
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report::say(format_args!("{:.1} MiB of {:.1} MiB of memory in use", mib(all - free), mib(all)));
    if facts.processors > 1 {
        report::say(format_args!(
            "1 of {} processors is used: there is no support for more",
            facts.processors
        ));
    }
}
