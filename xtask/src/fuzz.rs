//! `cargo xtask fuzz`: hands over to the package in fuzz/.

use crate::cli::FuzzArgs;
use crate::root;
use crate::step::{self, Failure};

/// Builds the fuzzers and runs them.
///
/// # Errors
/// [`Failure`] if one finds something, or they cannot be built.
pub fn run(args: &FuzzArgs) -> Result<(), Failure> {
    if args.libfuzzer {
        return libfuzzer(args);
    }
    // Unoptimised: with the checks of a debug build, and without a build of its own.
    let mut fuzz = step::cargo(&["run", "--quiet", "--locked", "--package", "sentient-fuzz", "--"]);
    if args.list {
        return step::must(fuzz.arg("list"));
    }
    if let (Some(target), Some(input)) = (&args.target, &args.input) {
        return step::must(fuzz.args(["replay", target]).arg(input));
    }
    fuzz.args(["run", "--seconds", &args.seconds.to_string(), "--findings"]).arg(root::target().join("fuzz"));
    if let Some(seed) = args.seed {
        fuzz.args(["--seed", &seed.to_string()]);
    }
    step::must(fuzz.args(&args.target))
}

/// With coverage: cargo-fuzz, on nightly.
fn libfuzzer(args: &FuzzArgs) -> Result<(), Failure> {
    let seconds = format!("-max_total_time={}", args.seconds);
    let mut fuzz = step::command(
        "cargo",
        &["+nightly", "fuzz", "run", "--features", "libfuzzer", "libfuzzer", "--", &seconds],
    );
    if let Some(seed) = args.seed {
        fuzz.arg(format!("-seed={seed}"));
    }
    // rustup's `+nightly` must reach rustup, not this toolchain's cargo.
    fuzz.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    fuzz.env("SENTIENT_FUZZ_TARGET", args.target.as_deref().unwrap_or_default());
    step::must(&mut fuzz)
}
