//! What the user may type.

#[cfg(any(debug_assertions, feature = "chaos"))]
pub mod chaos;
pub mod containers;
pub mod iso;
pub mod machine;
pub mod package;
pub mod repo;
pub mod run;
pub mod zk;

use clap::{Args, Parser, Subcommand, ValueEnum};
use run::{BootFilesArgs, RunArgs, UnsecureCommand};
use sentient_control::machine_process::Verify;
use std::path::PathBuf;

/// Runs WebAssembly programs inside SentientOS, a guest of its own under KVM.
#[derive(Debug, Parser)]
#[command(
    name = "sentctl",
    version,
    about,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  sentctl run resources/containers/hello/hello.wasm
  echo '{\"a\":[1,2]}' | sentctl run resources/containers/jsonq/jsonq.wasm -- '.a[1]'
  sentctl doctor

Exit codes: the program's own; 124 time is up, 125 sentctl failed, 126 the program cannot run,
127 it does not exist, 134 it trapped, 152 CPU time is up, 110-114 the guest failed.
See docs/exit-codes.md.")]
pub struct Cli {
    /// Print results and errors as JSON.
    #[arg(long, global = true)]
    pub json: bool,

    /// Log to standard error what sentctl does, from this level on.
    #[arg(long, global = true, value_name = "LEVEL", env = LOG_LEVEL)]
    pub log_level: Option<LogLevel>,

    /// Where machines are kept; by default $XDG_DATA_HOME/sentientos.
    #[arg(long, global = true, value_name = "FOLDER", env = "SENTCTL_HOME", hide_env_values = true)]
    pub home: Option<PathBuf>,

    /// The machine that is meant, where there are several.
    #[arg(short, long, global = true, value_name = "NAME", env = "SENTCTL_MACHINE", hide_env_values = true)]
    pub machine: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When the memory of a restored machine is read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyArg {
    /// Each page before it is first used, while the machine runs.
    Lazy,
    /// All of it before the machine runs.
    Eager,
}

impl From<VerifyArg> for Verify {
    fn from(arg: VerifyArg) -> Self {
        match arg {
            VerifyArg::Lazy => Self::Lazy,
            VerifyArg::Eager => Self::Eager,
        }
    }
}

/// The variable that says how much is logged.
pub const LOG_LEVEL: &str = "SENTCTL_LOG_LEVEL";

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What went wrong.
    Error,
    /// What looks wrong.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// The verbs. What one of them takes is only put together for the one that was typed: for all of them it costs
/// as much as making a virtual machine.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Run a WebAssembly program or a package in a fresh machine.
    #[command(
        visible_alias = "tso-run",
        after_help = "Examples:
  sentctl run hello.wasm
  sentctl run --env GREETING=Hi hello.wasm -- Ada
  sentctl run --memory 16M --cpu-time 2s --timeout 10s jsonq.wasm -- '.name' < data.json
  sentctl run --invoke fib kernels.wasm -- 30
  sentctl run --explain greeter.tso

The program's standard input, output and error are those of sentctl, and its exit code becomes
sentctl's. With --json, a report of the run goes to standard error as one line."
    )]
    Run(RunArgs),

    /// Make a machine that stays: boot it, and take its first snapshot.
    #[command(after_help = "Examples:
  sentctl init demo
  sentctl init big --memory 4G
  sentctl init scratch --zk=false")]
    Init(machine::InitArgs),

    /// Start a machine that was stopped: it goes on from its current snapshot.
    #[command(after_help = "Examples:
  sentctl boot
  sentctl boot demo
  sentctl boot --verify eager demo
  sentctl boot --zero demo

--zero boots the kernel alone, for repair: no containers, nothing of the machine's snapshots, and on this terminal a console
with a handful of commands. `reboot` there boots the machine as usual.")]
    Boot {
        /// The machine; the one that --machine names, or the only one, if not given.
        name: Option<String>,

        /// Boot the kernel alone, with a console on this terminal.
        #[arg(long, conflicts_with = "verify")]
        zero: bool,

        /// When its memory is read and checked: each page before it is first used, or all before it runs.
        #[arg(long, value_name = "WHEN", default_value = "lazy")]
        verify: VerifyArg,
    },

    /// Stop a machine, after a last snapshot.
    #[command(after_help = "Examples:
  sentctl stop
  sentctl stop --discard")]
    Stop(machine::StopArgs),

    /// Remove a machine: its folder with all output, and its snapshots from the store.
    #[command(after_help = "Examples:
  sentctl rm demo
  sentctl rm --force demo

Nothing is asked, and nothing can be undone. A machine that runs is refused, unless --force stops it first.
What other machines share with it stays.")]
    Rm(machine::RmArgs),

    /// Show what a machine is and does.
    #[command(after_help = "Examples:
  sentctl status
  sentctl status --json")]
    Status,

    /// List all machines of the home, with what they do and take.
    #[command(
        visible_alias = "machines",
        after_help = "Examples:
  sentctl ls
  sentctl ls --json"
    )]
    Ls,

    /// Run programs without permissions.
    Unsecure {
        /// What to do.
        #[command(subcommand)]
        command: UnsecureCommand,
    },

    /// List the containers of the machine.
    #[command(after_help = "Examples:
  sentctl ps
  sentctl ps --all --json")]
    Ps(containers::PsArgs),

    /// Show what a container has written, and follow it.
    #[command(after_help = "Examples:
  sentctl logs web
  sentctl logs --follow web
  sentctl logs --tail 20 web

What it has written to standard error goes there. Output belongs to the host: it is there when the machine is stopped,
and stays when it is put back.")]
    Logs(containers::LogsArgs),

    /// Be where a container's streams are, until it has ended.
    #[command(after_help = "Examples:
  sentctl attach shell
  sentctl attach --no-stdin web
  echo 'select 1;' | sentctl attach db

Standard input goes to the container, if it was started with `run --detach --interactive`, and ends with this one's.
What it writes comes here, and its exit code is that of the command. Ctrl-C leaves it running.")]
    Attach(containers::AttachArgs),

    /// Run another program with a container's files.
    #[command(after_help = "Examples:
  sentctl exec web ls.wasm -- /etc
  sentctl exec --interactive db shell.wasm

It is a container of its own beside that one, whose files and volumes it has, and is gone when it has ended, or that one.
Its output comes here, and its exit code is that of the command. Ctrl-C leaves it running.")]
    Exec(containers::ExecArgs),

    /// End containers at once.
    #[command(after_help = "Examples:
  sentctl kill web
  sentctl kill web db")]
    Kill(containers::Names),

    /// Keep containers from running, in a machine that runs.
    #[command(after_help = "Examples:
  sentctl pause web
  sentctl pause web db && sentctl snapshot && sentctl unpause web db

They keep what they have. That they are paused is part of a snapshot, and of what a rollback brings back.")]
    Pause(containers::Names),

    /// Let paused containers go on.
    #[command(after_help = "Examples:
  sentctl unpause web")]
    Unpause(containers::Names),

    /// Show what the containers of the machine take.
    #[command(after_help = "Examples:
  sentctl stats
  sentctl stats --interval 10s web
  sentctl stats --follow --json")]
    Stats(containers::StatsArgs),

    /// Copy files into a container that runs, or out of it.
    #[command(after_help = "Examples:
  sentctl cp settings.json web:/etc/settings.json
  sentctl cp web:/data .                      # the folder data, here
  sentctl cp web:/data/. saved                # what is in it, in the folder saved
  sentctl cp web:/ - | tar t
  sentctl cp a:/data - | sentctl cp - b:/

It goes on running meanwhile; `sentctl pause` keeps it from changing what is copied. Permissions are about what the
program does: its owner may see and change all of its files.")]
    Cp(containers::CpArgs),

    /// Make an image of a container that runs.
    #[command(after_help = "Examples:
  sentctl commit web greeter:1.3.0 && sentctl run -d greeter
  sentctl commit web greeter:1.3.0 --output greeter.tso

It has its program, its files as they are, and how it was started. The container stands still while its files are read.
Where it is in its program, and its memory, are not in an image: a
program of it begins at its beginning; `sentctl snapshot` keeps those.")]
    Commit(package::CommitArgs),

    /// Put a part of a machine back, while all else goes on.
    #[command(after_help = "Examples:
  sentctl heal container web
  sentctl heal container web --to before-upgrade
  sentctl heal boot")]
    Heal {
        /// What.
        #[command(subcommand)]
        command: containers::HealCommand,
    },

    /// Make a guest fail, to see that it goes on.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    #[command(after_help = "Examples:
  sentctl chaos inflict exception
  sentctl chaos run --faults 1000

Only in builds with the feature `chaos`.")]
    Chaos {
        /// What.
        #[command(subcommand)]
        command: chaos::ChaosCommand,
    },

    /// Show how the machine fares: its last good snapshot, and how often it was recovered.
    #[command(after_help = "Examples:
  sentctl health
  sentctl health --json")]
    Health,

    /// See to faults of the machine's guest.
    #[command(after_help = "Examples:
  sentctl panic report
  sentctl panic recover")]
    Panic {
        /// What.
        #[command(subcommand)]
        command: machine::PanicCommand,
    },

    /// See to the containers of the machine.
    #[command(
        name = "matrixbox",
        after_help = "Examples:
  sentctl matrixbox ls
  sentctl matrixbox restart web
  sentctl matrixbox rm --force web"
    )]
    MatrixBox {
        /// What to do.
        #[command(subcommand)]
        command: containers::MatrixBoxCommand,
    },

    /// Take a snapshot of the running machine.
    #[command(after_help = "Examples:
  sentctl snapshot -t before-upgrade 'before the upgrade'
  sentctl snapshot rm before-upgrade --force

The snapshot is durable when the command returns.")]
    Snapshot(machine::SnapshotArgs),

    /// Give a snapshot a name, or take one away.
    #[command(after_help = "Examples:
  sentctl tag @ before-upgrade
  sentctl tag --rm before-upgrade
  sentctl tag --move @~1 before-upgrade

Tagged snapshots are never pruned. A tag stays where it is unless --move says otherwise.")]
    Tag(machine::TagArgs),

    /// Show the machine's snapshots as a tree, the current one marked.
    #[command(after_help = "Examples:
  sentctl log
  sentctl log --json

Below each snapshot is how the machine came to be there: whether that is proved, what broke the contract, and which
regions changed.")]
    Log,

    /// Put the running machine back into the state of a snapshot; it goes on from there.
    #[command(after_help = "Examples:
  sentctl rollback before-upgrade
  sentctl rollback -n 5
  sentctl rollback --undo

Where the machine is now is kept as a snapshot first, unless --discard says otherwise.
Newer snapshots stay. What containers have written stays written.")]
    Rollback(machine::RollbackArgs),

    /// Show which regions and pages differ between two snapshots.
    #[command(after_help = "Examples:
  sentctl diff before-upgrade
  sentctl diff before-upgrade after-upgrade -v")]
    Diff(machine::DiffArgs),

    /// Make another machine that goes on from this one's state, with an identity of its own.
    #[command(after_help = "Examples:
  sentctl fork demo demo2
  sentctl fork demo demo2 --from before-upgrade")]
    Fork(machine::ForkArgs),

    /// Write a snapshot as a file that needs nothing else.
    #[command(after_help = "Examples:
  sentctl export before-upgrade > before.snap
  sentctl export @ -o now.snap")]
    Export(machine::ExportArgs),

    /// Read a snapshot from such a file; everything in it is verified while it is read.
    #[command(after_help = "Examples:
  sentctl import before.snap
  sentctl import --trust KEY < before.snap")]
    Import(machine::ImportArgs),

    /// Show what the machine keeps, and what that takes.
    #[command(after_help = "Examples:
  sentctl get
  sentctl get --json")]
    Get,

    /// Change what the machine keeps: how many snapshots, and in how much space.
    #[command(after_help = "Examples:
  sentctl set keep=32
  sentctl set keep=128 quota=2G
  sentctl set quota=none

A machine that runs need not be stopped. Nothing is pruned until the next snapshot.")]
    Set(machine::SetArgs),

    /// Let the oldest snapshots go; never the current one or a tagged one.
    #[command(after_help = "Examples:
  sentctl prune
  sentctl prune --keep 8
  sentctl prune --unclaimed

--unclaimed is about the home's store, and no machine of it: it gives back what was left by machines whose
folder was deleted or moved away, and by an init, a fork or an rm that was killed.")]
    Prune(machine::PruneArgs),

    /// Read all snapshots and check every page.
    #[command(after_help = "Examples:
  sentctl verify
  sentctl verify before-upgrade")]
    Verify {
        /// Only this snapshot.
        snapshot: Option<String>,
    },

    /// Check what is recorded and proved of a machine, and its snapshots against that.
    #[command(after_help = "Examples:
  sentctl zk-verify
  sentctl zk-verify --from before-upgrade --to after-upgrade --json
  sentctl zk-verify --key DIGEST --signer KEY 00000000.rollup 00000064.rollup

With files, made by `sentctl zk rollup`, nothing else is needed: no machine, and no memory.

Exit codes: 0 everything is in order and proved; 1 something is wrong; 2 nothing is wrong, and something is not
proved yet; 125 it could not be checked.")]
    ZkVerify(zk::VerifyArgs),

    /// Prove transitions, export proofs, and see to the keys they are made with.
    #[command(after_help = "Examples:
  sentctl zk prove
  sentctl zk rollup
  sentctl zk export v2 --format snarkjs -o proof/
  sentctl zk keys show")]
    Zk {
        /// What to do.
        #[command(subcommand)]
        command: zk::ZkCommand,
    },

    /// Look at contracts, which say what of a machine may change.
    #[command(after_help = "Examples:
  sentctl contract verify permissions.zky")]
    Contract {
        /// What to do.
        #[command(subcommand)]
        command: zk::ContractCommand,
    },

    /// Make something to begin with: a program and what belongs to it.
    #[command(after_help = "Examples:
  sentctl create container hello --lang c
  sentctl create container hello --lang wat")]
    Create {
        /// What to make.
        #[command(subcommand)]
        command: package::CreateCommand,
    },

    /// Make a signed package of a program, its permissions and its files.
    #[command(after_help = "Examples:
  sentctl pack greeter/
  sentctl pack greeter/ -o greeter.tso --ml-dsa

The folder has meta.yaml and main.wasm, and may have permissions.zky and assets/. Without main.wasm it is made of
main.c, main.zig, main.rs or main.wat, by the compiler that is installed. The same contents, signed with the same
key, are the same bytes. Keys are made when they are first used, in auth/ of the home.")]
    Pack(package::PackArgs),

    /// Check a package, and show what it is and may do.
    #[command(after_help = "Examples:
  sentctl inspect greeter.tso
  sentctl inspect --signer ed25519:KEY greeter.tso --json")]
    Inspect(package::InspectArgs),

    /// List the images of the home: packages that are run by their names.
    #[command(after_help = "Examples:
  sentctl images
  sentctl images --json")]
    Images,

    /// Put a package into an OCI registry.
    #[command(after_help = "Examples:
  sentctl push greeter.tso oci://127.0.0.1:5000/me/greeter
  sentctl push greeter:1.2.0 oci://ghcr.io/me/greeter:1.2

It is a WebAssembly artifact: other runtimes can run its program. A user name and password are found where podman login
and docker login put them.")]
    Push(package::PushArgs),

    /// Get a package from an OCI registry, as an image.
    #[command(after_help = "Examples:
  sentctl pull oci://127.0.0.1:5000/me/greeter:1.2.0
  sentctl pull --signer ed25519:KEY oci://ghcr.io/me/greeter:1.2 && sentctl run greeter")]
    Pull(package::PullArgs),

    /// Install packages from repositories, as images.
    #[command(after_help = "Examples:
  sentctl install greeter && sentctl run greeter
  sentctl install greeter:1.2.0 --from main

A package is taken if its digest is the one that the repository's owner has signed.")]
    Install(repo::InstallArgs),

    /// Look for packages in the repositories.
    #[command(after_help = "Examples:
  sentctl search
  sentctl search hello
  sentctl search json --json

It looks at what the repositories had at the last `sentctl update`.")]
    Search(repo::SearchArgs),

    /// Ask the repositories what they have now.
    #[command(after_help = "Examples:
  sentctl update
  sentctl update main

It shows what of the images can be had in newer versions, and installs none of it.")]
    Update(repo::UpdateArgs),

    /// See to the repositories that packages are installed from, or make one.
    #[command(after_help = "Examples:
  sentctl repo make packages
  sentctl repo add main packages --key ed25519:6e5f...
  sentctl repo ls")]
    Repo {
        /// What to do.
        #[command(subcommand)]
        command: repo::RepoCommand,
    },

    /// See to the images of the home.
    #[command(after_help = "Examples:
  sentctl image add greeter.tso
  sentctl run greeter -- Ada
  sentctl image rm greeter:1.2.0")]
    Image {
        /// What to do.
        #[command(subcommand)]
        command: package::ImageCommand,
    },

    /// Write the kernel and a boot module with a program, for QEMU or another loader.
    #[command(after_help = "Examples:
  sentctl boot-files -o boot/ hello.wasm
  qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 128 -nographic -no-reboot \\
      -kernel boot/kernel.elf -initrd boot/boot.mod")]
    BootFiles(BootFilesArgs),

    /// Make a medium that boots the kernel and programs on a PC.
    #[command(after_help = "Examples:
  sentctl iso-build -o sentient.iso --tso hello.tso --tso web.tso
  sentctl iso-run sentient.iso
  dd if=sentient.iso of=/dev/sdX bs=4M conv=fsync

The medium has a menu: the programs, zero mode, and a look whether all its files are what they should be. It needs GRUB's parts
and xorriso (Debian: apt-get install grub-common grub-pc-bin grub-efi-amd64-bin xorriso). The same programs give the same bytes.")]
    IsoBuild(iso::IsoBuildArgs),

    /// Boot such a medium under QEMU, for a look.
    #[command(after_help = "Examples:
  sentctl iso-run sentient.iso
  sentctl iso-run --uefi --memory 1G --cpus 4 sentient.iso
  sentctl iso-run --screen sentient.iso -- -no-shutdown

The machine's serial port is this terminal; Ctrl-A X ends it. It needs QEMU, and for --uefi OVMF (Debian: apt-get install
qemu-system-x86 ovmf).")]
    IsoRun(iso::IsoRunArgs),

    /// Measure this machine.
    #[command(after_help = "Examples:
  sentctl bench
  sentctl bench --json --only cold_first_byte_ms

Run it on an idle machine: every figure is a median, with its spread.")]
    Bench(BenchArgs),

    /// Look whether this host can run machines, and say what to do if not.
    #[command(after_help = "Examples:
  sentctl doctor
  sentctl doctor --json")]
    Doctor,

    /// Print versions: of sentctl, of the guest kernel in it, of the interface between them.
    #[command(after_help = "Examples:
  sentctl version
  sentctl version --json")]
    Version,

    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  sentctl completions bash > ~/.local/share/bash-completion/completions/sentctl
  sentctl completions zsh > ~/.zfunc/_sentctl")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Only this figure; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// Repeat each measurement this many times.
    #[arg(long, value_name = "COUNT", default_value_t = 21)]
    pub repeat: u32,
}
