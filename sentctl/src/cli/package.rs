//! Verbs about packages.

use clap::{Args, Subcommand, ValueEnum};
use sentient_images::tso::source::Language;
use std::path::PathBuf;

/// What can be made to begin with.
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Make a folder with a program, its description and its permissions.
    #[command(after_help = "Examples:
  sentctl create container hello --lang c
  sentctl create container hello --lang wat && sentctl pack hello && sentctl run hello.tso")]
    Container(CreateContainerArgs),
}

/// A program to begin.
#[derive(Args, Debug)]
pub struct CreateContainerArgs {
    /// The folder, which must not be there; the program is called as it is.
    #[arg(value_name = "NAME")]
    pub folder: PathBuf,

    /// The language it is written in.
    #[arg(long, value_name = "LANGUAGE", value_enum)]
    pub lang: LanguageArg,
}

/// A language that `sentctl pack` compiles, with what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    /// C, by Zig or by clang with WASI's C library.
    C,
    /// Zig.
    Zig,
    /// Rust, with the target wasm32-wasip1.
    Rust,
    /// WebAssembly as text, which takes nothing.
    Wat,
}

impl From<LanguageArg> for Language {
    fn from(arg: LanguageArg) -> Self {
        match arg {
            LanguageArg::C => Self::C,
            LanguageArg::Zig => Self::Zig,
            LanguageArg::Rust => Self::Rust,
            LanguageArg::Wat => Self::Wat,
        }
    }
}

/// A package to make.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// The folder.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The file to write; by default NAME.tso, by the name in meta.yaml.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Sign it with the ed25519 key in this file, instead of that of the home: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Sign it with ML-DSA-65 as well, which quantum computers are not known to break.
    #[arg(long)]
    pub ml_dsa: bool,

    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// A container to make an image of.
#[derive(Args, Debug)]
pub struct CommitArgs {
    /// The container, which runs.
    #[arg(value_name = "CONTAINER")]
    pub container: String,

    /// What the image is called, with its version: `greeter:1.3.0`.
    #[arg(value_name = "IMAGE:VERSION")]
    pub image: String,

    /// Write a package to this file, instead of making it an image of the home.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Sign it with the ed25519 key in this file, instead of that of the home: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Replace another image of this name and version, or a file that is there.
    #[arg(long)]
    pub replace: bool,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// List the images.
    #[command(after_help = "Examples:
  sentctl image ls")]
    Ls,

    /// Take packages as images, so that they can be run by their names.
    #[command(after_help = "Examples:
  sentctl image add greeter.tso && sentctl run greeter

One that is there already is left as it is.")]
    Add {
        /// The packages.
        #[arg(required = true, value_name = "PACKAGE.tso")]
        packages: Vec<PathBuf>,

        /// Take them even if there are others of the same names and versions, which are then gone.
        #[arg(long)]
        replace: bool,
    },

    /// Remove images.
    #[command(after_help = "Examples:
  sentctl image rm greeter:1.2.0
  sentctl image rm greeter

Without a version all of them go. Containers that run go on; they cannot be started again.")]
    Rm {
        /// The images: NAME or NAME:VERSION.
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// A package to put into a registry.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// The package, or the image of this name.
    #[arg(value_name = "PACKAGE")]
    pub package: PathBuf,

    /// Where to: oci://HOST[:PORT]/REPOSITORY[:TAG]; the tag is the package's version, if not given.
    #[arg(value_name = "PLACE")]
    pub place: String,

    /// Speak to the registry without TLS, as to those on this host.
    #[arg(long)]
    pub plain_http: bool,
}

/// A package to get from a registry.
#[derive(Args, Debug)]
pub struct PullArgs {
    /// Where from: oci://HOST[:PORT]/REPOSITORY:TAG.
    #[arg(value_name = "PLACE")]
    pub place: String,

    /// The public key of who must have signed it.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,

    /// Take it even if there is another image of its name and version, which is then gone.
    #[arg(long)]
    pub replace: bool,

    /// Speak to the registry without TLS, as to those on this host.
    #[arg(long)]
    pub plain_http: bool,
}

/// A package to look at.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The package, or the image of this name.
    #[arg(value_name = "PACKAGE")]
    pub package: PathBuf,

    /// The public key of who must have signed it.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,
}
