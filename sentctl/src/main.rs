//! `sentctl`: the command-line tool of SentientOS.
//!
//! Thin: it turns arguments into calls of the crates below it, and what they give into text or JSON. Each
//! verb is a file in `commands/`; [`cli`] is what the user may type.

mod boot_time;
mod cli;
mod commands;
mod errors;
mod paths;
mod progress;
mod registry;
mod saving;

use clap::{Parser, ValueEnum};
use cli::package::CreateCommand;
use cli::run::UnsecureCommand;
use cli::{Cli, Command, LOG_LEVEL, LogLevel};
use commands::machine::{Context, life};
use errors::CommandError;
use sentient_control::process::VERB;
use sentient_vmm::machine::Early;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let started = boot_time::process_start();
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == VERB) {
        start_logging(Some(process_log_level()));
        return life::process(words).unwrap_or_else(|error| report(&error, false));
    }
    let early = begin_early();
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    if let Command::Unsecure { command: UnsecureCommand::Run(run) } = &mut cli.command {
        run.program.unconfined = true;
    }
    start_logging(cli.log_level);
    let json = cli.json;
    let done = match &cli.command {
        Command::Run(run) | Command::Unsecure { command: UnsecureCommand::Run(run) } if !run.detach => {
            commands::run::run(run, cli.home.as_deref(), json, started, early)
        }
        Command::BootFiles(files) => commands::boot_files::write(files, cli.home.as_deref(), json),
        Command::IsoBuild(args) => commands::iso::build(args, cli.home.as_deref(), json),
        Command::IsoRun(args) => commands::iso::run(args),
        Command::Bench(bench) => commands::bench::run(bench, json),
        Command::Doctor => commands::doctor::run(json),
        Command::Version => commands::version::run(json),
        Command::Completions { shell } => commands::completions::run(*shell),
        _ => on_machine(&cli),
    };
    done.unwrap_or_else(|error| report(&error, json))
}

/// Begins a machine where one of the words may be a verb that needs one: what KVM does goes on while the words are
/// understood. A wrong guess costs a virtual machine without anything in it; what is in the way of a right one is
/// told when the machine is built.
fn begin_early() -> Option<Early> {
    std::env::args_os()
        .skip(1)
        .find_map(|word| match word.to_str()? {
            "run" | "tso-run" => Some(Early::begin_to_boot()),
            _ => None,
        })?
        .ok()
}

/// The verbs about machines that stay.
fn on_machine(cli: &Cli) -> Result<ExitCode, CommandError> {
    let context = Context::new(cli)?;
    match &cli.command {
        Command::Init(args) => context.init(args),
        Command::Boot { name, zero: true, verify } => context.boot_zero(name.as_deref(), *verify),
        Command::Boot { name, verify, .. } => context.boot(name.as_deref(), *verify),
        Command::Stop(args) => context.stop(args),
        Command::Rm(args) => context.rm(args),
        Command::Status => context.status(),
        Command::Ls => context.list(),
        Command::Ps(args) => context.ps(args),
        Command::Logs(args) => context.logs(args),
        Command::Attach(args) => context.attach(args),
        Command::Exec(args) => context.exec(args),
        Command::Kill(args) => context.kill(args),
        Command::Pause(args) => context.pause(args, true),
        Command::Unpause(args) => context.pause(args, false),
        Command::Stats(args) => context.stats(args),
        Command::Cp(args) => context.cp(args),
        Command::Commit(args) => context.commit(args),
        Command::MatrixBox { command } => context.matrixbox(command),
        Command::Heal { command } => context.heal(command),
        #[cfg(any(debug_assertions, feature = "chaos"))]
        Command::Chaos { command } => context.chaos(command),
        Command::Health => context.health(),
        Command::Panic { command } => context.panic(command),
        Command::Snapshot(args) => context.snapshot(args),
        Command::Tag(args) => context.tag(args),
        Command::Log => context.log(),
        Command::Rollback(args) => context.rollback(args),
        Command::Diff(args) => context.diff(args),
        Command::Fork(args) => context.fork(args),
        Command::Export(args) => context.export(args),
        Command::Import(args) => context.import(args),
        Command::Get => context.get(),
        Command::Set(args) => context.set(args),
        Command::Prune(args) => context.prune(args),
        Command::Verify { snapshot } => context.verify(snapshot.as_deref()),
        Command::ZkVerify(args) => context.zk_verify(args),
        Command::Zk { command } => context.zk(command),
        Command::Contract { command } => context.contract(command),
        Command::Run(args) | Command::Unsecure { command: UnsecureCommand::Run(args) } => {
            context.run_detached(args)
        }
        Command::Create { command: CreateCommand::Container(args) } => context.create_container(args),
        Command::Pack(args) => context.pack(args),
        Command::Inspect(args) => context.inspect(args),
        Command::Images => context.images(),
        Command::Push(args) => context.push(args),
        Command::Pull(args) => context.pull(args),
        Command::Image { command } => context.image(command),
        Command::Install(args) => context.install(args),
        Command::Search(args) => context.search(args),
        Command::Update(args) => context.update(args),
        Command::Repo { command } => context.repo(command),
        Command::BootFiles(_)
        | Command::IsoBuild(_)
        | Command::IsoRun(_)
        | Command::Bench(_)
        | Command::Doctor
        | Command::Version
        | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Arguments that make no sense end with our own code: clap's is 2, which a program may end with, too.
fn refuse(error: &clap::Error) -> ExitCode {
    // If nobody can read it, the exit code still tells.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(sentient_abi::exit::SENTCTL_ERROR) } else { ExitCode::SUCCESS }
}

/// An error goes to standard error, as text or as an object.
fn report(error: &CommandError, json: bool) -> ExitCode {
    let code = error.process_code();
    let mut stderr = std::io::stderr().lock();
    // Nothing is left to do if that fails, too.
    let _ = if json {
        let object = serde_json::json!({ "error": { "kind": error.kind(), "message": error.to_string(), "exit_code": code } });
        writeln!(stderr, "{object}")
    } else {
        writeln!(stderr, "sentctl: {error}")
    };
    ExitCode::from(code)
}

/// What a machine's process writes into its log: what somebody should look at, unless more was asked for.
fn process_log_level() -> LogLevel {
    let wanted = std::env::var(LOG_LEVEL).ok();
    wanted.and_then(|wanted| LogLevel::from_str(&wanted, true).ok()).unwrap_or(LogLevel::Warn)
}

/// Logging costs nothing until it is asked for. The level is ours; of the libraries only warnings are shown.
fn start_logging(level: Option<LogLevel>) {
    use std::io::IsTerminal;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let Some(level) = level.map(tracing::Level::from) else { return };
    let shown = Targets::new()
        .with_default(level.min(tracing::Level::WARN))
        .with_target("sentctl", level)
        .with_target("sentient", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(shown).init();
}
