//! All targets under libFuzzer: which one, `SENTIENT_FUZZ_TARGET` says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sentient_fuzz::{Target, targets};
use std::sync::LazyLock;

static TARGET: LazyLock<Option<&Target>> =
    LazyLock::new(|| targets::find(&std::env::var("SENTIENT_FUZZ_TARGET").unwrap_or_default()));

fuzz_target!(|data: &[u8]| {
    match *TARGET {
        Some(target) => (target.run)(data),
        None => {
            eprintln!("SENTIENT_FUZZ_TARGET names no target: see `cargo xtask fuzz --list`");
            std::process::exit(1);
        }
    }
});
