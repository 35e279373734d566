//! `permissions.zky`: what a program may do. Whatever it does not say, it may not.
//!
//! ```yaml
//! version: 1
//! files:
//! - { path: /, access: read }             # everything below it, too
//! - { path: /tmp, access: write }         # and read; the nearest rule above a file counts
//! env: [LANG, TZ]                         # variables it may be given at its start; or all: ["*"]
//! clocks: { wall: 1ms, monotonic: 1us }   # clocks it may read, and how finely
//! random: true
//! network:
//!   listen: [80, 443]                     # ports that it may be given to listen on
//!   connect: ['api.example.com:443']      # where it may connect to
//! limits: { memory: 64M, cpu_time: 1m, open_files: 64, file_bytes: 16M, output: 1M }   # output: each second
//! ```

use super::{PERMISSIONS, TsoError, yaml};
use crate::quantity::{Time, parse_size};
use sentient_abi::network::{Destination, MAX_DESTINATIONS, MAX_PORTS};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version of the format that is read and written.
const VERSION: u64 = 1;
/// Most bytes of the text.
const MAX_LEN: usize = 64 << 10;
/// Most rules about files, and most names of variables.
pub const MAX_RULES: usize = 256;
/// Most bytes of a path in a rule (Linux's `PATH_MAX`).
const MAX_PATH: usize = 4096;
/// The least number of open files: the three streams, the root, and one.
const LEAST_FILES: u32 = 5;
/// The coarsest clock: coarser ones are no clocks.
const COARSEST: Duration = Duration::from_secs(3600);

/// The text of a program that may do nothing but compute, and read and write its streams.
pub const NOTHING: &str = "version: 1\n";

/// The text of a program that may do everything that permissions are about, listen on these ports, and connect to these
/// destinations.
#[must_use]
pub fn everything(ports: &[u16], connect: &[String]) -> String {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    // In quotes: a host may begin with `*` or `[`.
    let connect = connect.iter().map(|to| format!("'{to}'")).collect::<Vec<_>>().join(", ");
    format!(
        "version: 1\nfiles:\n- {{ path: /, access: write }}\nenv: ['*']\nclocks: {{ wall: 1ns, monotonic: 1ns }}\n\
         random: true\nnetwork: {{ listen: [{ports}], connect: [{connect}] }}\n"
    )
}

/// What may be done with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileAccess {
    /// Nothing: of use below a rule that allows more.
    None,
    /// Read.
    Read,
    /// Read and change.
    Write,
}

/// What holds for a file or folder, and for everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    /// Where, from `/` on.
    pub path: String,
    /// What may be done there.
    pub access: FileAccess,
}

/// How much it may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of memory.
    pub memory: Option<u64>,
    /// Most CPU time.
    pub cpu_time: Option<Duration>,
    /// Most open files, its streams among them.
    pub open_files: Option<u32>,
    /// Most bytes of all its files.
    pub file_bytes: Option<u64>,
    /// Most bytes of output a second.
    pub output: Option<u64>,
}

/// What a program may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// What holds for files; for those that no rule is about, [`FileAccess::None`].
    pub files: Vec<FileRule>,
    /// How finely it may read the time of day.
    pub wall_clock: Option<Duration>,
    /// How finely it may read time that has passed.
    pub monotonic_clock: Option<Duration>,
    /// Whether it may have random numbers.
    pub random: bool,
    /// Ports that it may be given to listen on.
    pub listen: Vec<u16>,
    /// [Destinations](Destination) that it may connect to.
    pub connect: Vec<String>,
    /// How much it may take.
    pub limits: Limits,
    env: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[expect(dead_code, reason = "it was looked at before anything else")]
    version: u64,
    #[serde(default)]
    files: Vec<FileRule>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    clocks: Clocks,
    #[serde(default)]
    random: bool,
    #[serde(default)]
    network: NetworkText,
    #[serde(default)]
    limits: LimitsText,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clocks {
    wall: Option<Time>,
    monotonic: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkText {
    #[serde(default)]
    listen: Vec<u16>,
    #[serde(default)]
    connect: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    memory: Option<Size>,
    cpu_time: Option<Time>,
    open_files: Option<u32>,
    file_bytes: Option<Size>,
    output: Option<Size>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match parse_size(&text)? {
            0 => Err("a size of zero would allow nothing; leave it out for no limit".into()),
            size => Ok(Self(size)),
        }
    }
}

impl Permissions {
    /// The permissions of a text.
    ///
    /// # Errors
    /// [`TsoError::Text`] with line and column, [`TsoError::Version`].
    pub fn parse(text: &str) -> Result<Self, TsoError> {
        let Text { files, env, clocks, random, network, limits, .. } =
            yaml::read(PERMISSIONS, text, MAX_LEN, ("version", VERSION))?;
        check_files(&files)?;
        if env.len() > MAX_RULES {
            return Err(bad(format!("env: at most {MAX_RULES} names are allowed")));
        }
        if let Some(name) = env.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(bad(format!("env: `{name}` cannot be a variable's name")));
        }
        let clocks = [("wall", clocks.wall), ("monotonic", clocks.monotonic)];
        for (name, clock) in clocks {
            if let Some(Time(resolution)) = clock
                && resolution > COARSEST
            {
                return Err(bad(format!("clocks.{name}: at most {COARSEST:?} are allowed")));
            }
        }
        if limits.open_files.is_some_and(|files| files < LEAST_FILES) {
            return Err(bad(format!(
                "limits.open_files: at least {LEAST_FILES}, for three streams, the root, and one file"
            )));
        }
        let [(_, wall), (_, monotonic)] = clocks;
        let size = |size: Option<Size>| size.map(|Size(bytes)| bytes);
        let time = |time: Option<Time>| time.map(|Time(time)| time);
        Ok(Self {
            files,
            wall_clock: time(wall),
            monotonic_clock: time(monotonic),
            random,
            listen: checked_ports(network.listen)?,
            connect: checked_destinations(network.connect)?,
            limits: Limits {
                memory: size(limits.memory),
                cpu_time: time(limits.cpu_time),
                open_files: limits.open_files,
                file_bytes: size(limits.file_bytes),
                output: size(limits.output),
            },
            env,
        })
    }

    /// Names of variables that it may be given; `*` stands for all.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.env
    }

    /// Whether it may be given a variable of this name.
    #[must_use]
    pub fn allows_variable(&self, name: &str) -> bool {
        self.env.iter().any(|allowed| allowed == "*" || allowed == name)
    }
}

fn check_files(files: &[FileRule]) -> Result<(), TsoError> {
    if files.len() > MAX_RULES {
        return Err(bad(format!("files: at most {MAX_RULES} rules are allowed")));
    }
    for (at, FileRule { path, .. }) in files.iter().enumerate() {
        let wrong = |why: &str| Err(bad(format!("files: the path `{path}` {why}")));
        let Some(below) = path.strip_prefix('/') else { return wrong("does not begin with `/`") };
        if path.len() > MAX_PATH || path.chars().any(char::is_control) {
            return wrong("is longer than 4096 bytes, or has control characters in it");
        }
        if !below.is_empty() && below.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return wrong("has an empty part, `.` or `..` in it");
        }
        if files.iter().take(at).any(|other| other.path == *path) {
            return wrong("is there twice");
        }
    }
    Ok(())
}

/// Ports that can be listened on, each once.
fn checked_ports(ports: Vec<u16>) -> Result<Vec<u16>, TsoError> {
    if ports.len() > MAX_PORTS {
        return Err(bad(format!("network.listen: at most {MAX_PORTS} ports are allowed")));
    }
    for (at, port) in ports.iter().enumerate() {
        if *port == 0 || ports.iter().take(at).any(|other| other == port) {
            return Err(bad(format!("network.listen: {port} is no port, or there twice")));
        }
    }
    Ok(ports)
}

/// Destinations, each once.
fn checked_destinations(all: Vec<String>) -> Result<Vec<String>, TsoError> {
    if all.len() > MAX_DESTINATIONS {
        return Err(bad(format!("network.connect: at most {MAX_DESTINATIONS} destinations are allowed")));
    }
    for (at, to) in all.iter().enumerate() {
        if let Err(why) = Destination::parse(to) {
            return Err(bad(format!("network.connect: `{to}`: {why}")));
        }
        if all.iter().take(at).any(|other| other == to) {
            return Err(bad(format!("network.connect: {to} is there twice")));
        }
    }
    Ok(all)
}

fn bad(problem: impl Into<String>) -> TsoError {
    TsoError::in_text(PERMISSIONS, problem)
}
