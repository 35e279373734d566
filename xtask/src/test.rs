//! `cargo xtask test`.

use crate::cli::TestArgs;
use crate::needs;
use crate::root;
use crate::step::{self, Failure, Steps};

/// The steps, by the names `--skip` takes, in the order they run in.
pub const STEPS: [&str; 7] =
    ["format", "licences", "containers", "lints", "guest-lints", "examples", "tests"];

/// The workspaces of the guest's two programs, with what to call them.
const GUEST: [(&str, &str); 2] =
    [("nucleus", "guest-kernel/nucleus/Cargo.toml"), ("runtime", "guest-kernel/runtime/Cargo.toml")];

/// What nextest's last line holds.
const SUMMARY: &str = "Summary [";

/// Runs every step, quick ones first, the test runner last.
///
/// # Errors
/// [`Failure`] if something is missing that nothing can do without, or a step failed.
pub fn run(args: &TestArgs) -> Result<(), Failure> {
    needs::kvm()?;
    let wanted = |step: &str| !args.skip.iter().any(|skipped| skipped == step);
    let mut steps = Steps::default();
    if wanted("format") {
        steps.run("format", &mut step::cargo(&["fmt", "--all", "--check"]));
        for (name, manifest) in GUEST {
            steps.run(
                &format!("format of the {name}"),
                &mut step::cargo(&["fmt", "--manifest-path", manifest, "--check"]),
            );
        }
    }
    if wanted("licences") {
        licences(&mut steps);
    }
    if wanted("containers") && needs::has_zig() {
        // The example programs' sources still give the files that are checked in.
        steps.run("containers", &mut step::command("resources/containers/build.sh", &["--check"]));
    }
    if wanted("lints") {
        let mut clippy =
            step::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
        steps.run("lints", &mut clippy);
    }
    if wanted("guest-lints") {
        guest_lints(&mut steps);
    }
    if wanted("examples") {
        steps.run("examples", &mut step::cargo(&["test", "--doc", "--workspace", "--locked", "--quiet"]));
    }
    let mut summary = None;
    if wanted("tests") {
        if let Err(missing) = needs::qemu() {
            steps.note("qemu", &missing);
        }
        if let Err(missing) = needs::media() {
            steps.note("media", &missing);
        }
        if let Err(missing) = needs::registry() {
            steps.note("registry", &missing);
        }
        if let Err(missing) = needs::curl() {
            steps.note("curl", &missing);
        }
        if let Err(missing) = needs::gdb() {
            steps.note("gdb", &missing);
        }
        summary = tests(&mut steps, &args.filter);
    }
    finish(steps, summary)
}

/// Licences and sources of all that is linked, for the three lock files.
fn licences(steps: &mut Steps) {
    let deny = match needs::deny() {
        Ok(deny) => deny,
        Err(failure) => return steps.note("licences", &failure),
    };
    for (name, manifest) in [("host's part", "Cargo.toml")].into_iter().chain(GUEST) {
        let mut check = step::command(&deny.to_string_lossy(), &["--manifest-path", manifest, "--locked"]);
        check.args(["--log-level", "error", "--config"]).arg(root::join("deny.toml"));
        // Not `advisories`: their database comes over the network.
        steps.run(&format!("licences of the {name}"), check.args(["check", "licenses", "bans", "sources"]));
    }
}

/// The guest's lints: cargo runs none when the build script of images/ builds it.
fn guest_lints(steps: &mut Steps) {
    for (name, manifest) in GUEST {
        let mut clippy = step::cargo(&["clippy", "--release", "--locked", "--manifest-path", manifest]);
        // An explicit target keeps the flags off build scripts. The flags are those without which the
        // guest does not pass the compiler's checks; images/build/guest.rs has all of them.
        clippy
            .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"])
            .arg(root::target().join("guest-lints"));
        steps.run(&format!("lints of the {name}"), clippy.args(["--", "-D", "warnings"]));
    }
}

/// The tests; gives the runner's summary.
fn tests(steps: &mut Steps, filter: &[String]) -> Option<String> {
    if needs::has_nextest() {
        let mut run = step::cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"]);
        run.args(["--color", step::colour()]).args(filter);
        return steps.run_for_line("tests", &mut run, SUMMARY);
    }
    let mut run = step::cargo(&["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast", "--"]);
    // Two machines at a time, as .config/nextest.toml has it.
    steps.run("tests", run.args(["--test-threads=2"]).args(filter));
    None
}

/// Names what failed; then, as the last line, says again what the runner said.
fn finish(steps: Steps, summary: Option<String>) -> Result<(), Failure> {
    steps.print_times();
    let done = steps.finish();
    if let Err(failure) = &done {
        eprintln!("xtask: {failure}");
    }
    if let Some(summary) = summary {
        eprintln!("{summary}");
    }
    done.map_err(|_| Failure::Said)
}
