//! Verbs about repositories of packages.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with repositories.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// List the repositories that packages are installed from.
    #[command(after_help = "Examples:
  sentctl repo ls")]
    Ls,

    /// Know a repository from now on.
    #[command(after_help = "Examples:
  sentctl repo add main /srv/packages --key ed25519:6e5f...
  sentctl repo add main oci://127.0.0.1:5000/me/packages --key ed25519:6e5f...

Whoever has the key says what is in it; `sentctl repo make` shows the key to them.")]
    Add(RepoAddArgs),

    /// Forget repositories. What was installed from them stays.
    #[command(after_help = "Examples:
  sentctl repo rm main")]
    Rm {
        /// The repositories.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },

    /// Make a folder of packages a repository, or one with what is there by now.
    #[command(after_help = "Examples:
  sentctl repo make packages
  sentctl repo make packages --name main --key owner.key")]
    Make(RepoMakeArgs),

    /// Put a repository into a registry of OCI artifacts, with all its packages.
    #[command(after_help = "Examples:
  sentctl repo push packages oci://127.0.0.1:5000/me/packages")]
    Push(RepoPushArgs),
}

/// A repository to know.
#[derive(Args, Debug)]
pub struct RepoAddArgs {
    /// What to call it.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Where it is: a folder, or oci://HOST[:PORT]/REPOSITORY.
    #[arg(value_name = "PLACE")]
    pub place: String,

    /// The public key of its owner.
    #[arg(long, value_name = "KEY")]
    pub key: String,

    /// Speak to the registry without TLS, as to those on this host.
    #[arg(long)]
    pub plain_http: bool,
}

/// A repository to make.
#[derive(Args, Debug)]
pub struct RepoMakeArgs {
    /// The folder with the packages.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// What to call it; by default as before, or else as the folder.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Sign it with the ed25519 key in this file, instead of that of the home: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// A repository to put elsewhere.
#[derive(Args, Debug)]
pub struct RepoPushArgs {
    /// The folder with the packages, and what `sentctl repo make` has made of it.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Where to: oci://HOST[:PORT]/REPOSITORY.
    #[arg(value_name = "PLACE")]
    pub place: String,

    /// Speak to the registry without TLS, as to those on this host.
    #[arg(long)]
    pub plain_http: bool,
}

/// Packages to look for.
#[derive(Args, Debug)]
pub struct SearchArgs {
    /// What their names or descriptions have in them, all of these; everything, if there is nothing.
    #[arg(value_name = "WORD")]
    pub words: Vec<String>,
}

/// Packages to install.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// The packages: NAME or NAME:VERSION; the newest one, if there is no version.
    #[arg(required = true, value_name = "PACKAGE")]
    pub packages: Vec<String>,

    /// Only from this repository.
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,

    /// Take it even if there is another image of its name and version, which is then gone.
    #[arg(long)]
    pub replace: bool,
}

/// Repositories to ask.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// The repositories; all of them, if none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}
