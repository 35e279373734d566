//! What goes over the socket: requests and answers, as JSON.
//!
//! The OpenAPI file is made from these types; `docs/openapi.json` is compared with it by a test.

use crate::folders::FolderMapping;
use crate::ports::{PortMapping, PublishedPort};
use crate::proofs::api::Transition;
use sentient_images::program::Identity;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// What a machine is and does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineStatus {
    /// Its name.
    pub name: String,
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// The public half of the key that signs its snapshots: 64 hexadecimal digits.
    pub public_key: String,
    /// What it does.
    pub state: MachineState,
    /// The process, if there is one.
    pub pid: Option<u32>,
    /// RAM, in bytes.
    pub ram_bytes: u64,
    /// How long its process has run, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// The snapshot it stands at: its id.
    pub current: Option<String>,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// How it ended last, if it does not run.
    pub last_end: Option<String>,
    /// Its containers.
    pub containers: Vec<ContainerStatus>,
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    /// Its guest runs.
    Running,
    /// It has no process.
    Stopped,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Its number in the machine.
    pub index: u32,
    /// The program's file name.
    pub program: String,
    /// The package it is of.
    pub package: Option<PackageInfo>,
    /// Whether it may do only what permissions allow.
    pub confined: bool,
    /// What it does.
    pub state: ContainerState,
    /// Its exit code, if it has ended: the program's own, or one of docs/exit-codes.md.
    pub exit_code: Option<u8>,
    /// Why it ended or was refused, if there is more to say than a code.
    pub reason: Option<String>,
    /// Its ports on this host.
    pub ports: Vec<PublishedPort>,
    /// Whether its standard input is open.
    pub stdin: bool,
    /// Bytes of standard output so far.
    pub stdout_bytes: u64,
    /// Bytes of standard error so far.
    pub stderr_bytes: u64,
}

/// A file of a container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileType,
    /// Bytes of a file or of a link's target; 0 of a directory.
    pub size: u64,
    /// When it was last modified, in nanoseconds since 1970.
    pub modified_unix_ns: u64,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// What was copied into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Copied {
    /// Files, directories and symbolic links.
    pub files: u64,
    /// Bytes in files.
    pub bytes: u64,
}

/// What a container takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerStats {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: ContainerState,
    /// CPU time it has used since its start, in nanoseconds.
    pub cpu_ns: u64,
    /// Its part of the processor where others want it too, in per cent.
    pub cpu_percent: u32,
    /// Memory it has, in bytes.
    pub memory_bytes: u64,
    /// Most memory that it may have, in bytes.
    pub memory_limit_bytes: u64,
}

/// Which package a program is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageInfo {
    /// What it is called.
    pub name: String,
    /// Which of them.
    pub version: String,
    /// Its SHA3-256 digest.
    pub digest: String,
    /// The public keys of those who have signed it.
    pub signers: Vec<String>,
}

impl From<Identity> for PackageInfo {
    fn from(Identity { name, version, digest, signers }: Identity) -> Self {
        Self { name, version, digest, signers }
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// On its way into the guest.
    Starting,
    /// It runs or waits.
    Running,
    /// It is kept from running.
    Paused,
    /// It has ended.
    Ended,
}

/// How a machine fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineHealth {
    /// Its last good snapshot: one from which it has gone on for a while without a fault.
    pub good: Option<String>,
    /// How often it was recovered since it was started.
    pub recoveries: u64,
    /// It was recovered just now, and has to prove itself.
    pub failing: bool,
    /// Its kernel was copied with the containers that it has: a fault of the kernel's would leave them as they are.
    pub copied: bool,
    /// What its guest says leaves only when the kernel's code was looked at after that.
    pub holds_output: bool,
}

/// A fault of a machine's guest, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovered {
    /// When it was found, in nanoseconds since 1970 (UTC).
    pub unix_ns: u64,
    /// What it was: a word, as in the report of a run.
    pub fault: String,
    /// The same, for people.
    pub what: String,
    /// The snapshot that the machine stood at.
    pub before: Option<String>,
    /// What was done: `heal-boot` (the kernel was put back, and containers kept), `rollback`, `zero`, or `stop`; about one container:
    /// `heal-container`, `restart-container`, or `stop-container`.
    pub action: String,
    /// The snapshot that it was put back to.
    pub to: Option<String>,
    /// How long the guest stood still, in microseconds.
    pub pause_us: u64,
    /// What has gone wrong with that.
    pub error: Option<String>,
    /// Containers that went on as they were, beside a kernel that was put back.
    #[serde(default)]
    pub kept: Vec<String>,
    /// Containers that went back to a snapshot, beside such a kernel or alone.
    #[serde(default)]
    pub healed: Vec<String>,
    /// Containers that were started anew: it was put back without them, or that was what was done.
    #[serde(default)]
    pub lost: Vec<String>,
    /// The name of the files in `.panic/` that have what is kept of the guest: its record, and for a while a core.
    #[serde(default)]
    pub crash: Option<String>,
}

/// A kernel that was put back, while its containers went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelHealed {
    /// Its containers.
    pub kept: Vec<String>,
    /// Pages that were put back.
    pub pages: u64,
    /// How long the machine stood still for it, in microseconds.
    pub pause_us: u64,
}

/// A container to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartContainer {
    /// The program: an absolute path of a WebAssembly file or a `.tso` package on this host.
    pub program: String,
    /// The container's name; the program's, with a number if that is taken, if there is none.
    #[serde(default)]
    pub name: Option<String>,
    /// Arguments after the program's name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment: `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Most memory, in bytes; what the package says, or 64 MiB, if not given.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Most CPU time, in milliseconds; what the package says, or no limit, if not given.
    #[serde(default)]
    pub cpu_time_ms: Option<u64>,
    /// Its part of the processor where others want it too, in per cent from 1 to 100; what the package says, or 100, if
    /// not given.
    #[serde(default)]
    pub cpu_percent: Option<u32>,
    /// What it may do, instead of what its package says: the text of a `permissions.zky`.
    #[serde(default)]
    pub permissions: Option<String>,
    /// That it may do everything, whatever its package says.
    #[serde(default)]
    pub unconfined: bool,
    /// The public key of who must have signed its package.
    #[serde(default)]
    pub signer: Option<String>,
    /// Whether its standard error tells what it was refused, and which rule would allow it.
    #[serde(default)]
    pub explain: bool,
    /// Its ports on this host: `[ADDRESS:][HOST-PORT:]PORT`, at 127.0.0.1 and a free port if not given.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub ports: Vec<PortMapping>,
    /// Where it may connect to: `HOST:PORT`, with `*` for all ports, and as a host a name, `*.NAME`, an address, a network
    /// or `*`; what its permissions allow, or nowhere without any, if not given.
    #[serde(default)]
    pub connect: Vec<String>,
    /// Folders of this host that it is given: `FOLDER:PATH`, with `:ro` behind it for one that is only to be read.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub volumes: Vec<FolderMapping>,
    /// The container, which has to run, whose files and folders of this host it has instead of its own. It is killed when that
    /// one ends.
    #[serde(default)]
    pub files_of: Option<String>,
    /// Whether its standard input stays open, to be given later; else it is at its end.
    #[serde(default)]
    pub stdin: bool,
}

/// How a container came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// How it was started.
    pub start: StartContainer,
    /// The SHA3-256 digest that its program's file had then.
    pub file_digest: Option<String>,
}

/// Standard input that a container was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// Bytes of it that were taken; what follows them has to be given again.
    pub bytes: u64,
}

/// Where a container is to be put back to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// A snapshot: a tag, an id, or the unique beginning of one; the last one that has the container, if there is none.
    #[serde(default)]
    pub to: Option<String>,
}

/// A container that was put back alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Healed {
    /// Its name.
    pub container: String,
    /// The snapshot that it goes on from.
    pub to: String,
    /// Pages that were put back.
    pub pages: u64,
    /// How long the machine stood still for it, in microseconds.
    pub pause_us: u64,
}

/// A snapshot to take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// What it is for.
    #[serde(default)]
    pub message: String,
    /// A name for it.
    #[serde(default)]
    pub tag: Option<String>,
}

/// A snapshot that was taken, and is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotTaken {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Pages that had changed since the one before.
    pub dirty_pages: u64,
    /// How long the guest stood still, in microseconds.
    pub pause_us: u64,
    /// How long it took until it was durable, in microseconds.
    pub durable_us: u64,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
}

/// A snapshot of a machine's timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotInfo {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The one it was taken after; it may have been removed.
    pub parent: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether the machine stands at it.
    pub current: bool,
    /// When it was taken: nanoseconds since 1970-01-01 UTC.
    pub created_unix_ns: u64,
    /// What it is for.
    pub message: String,
    /// Pages that had changed since the parent.
    pub dirty_pages: u64,
    /// Bytes that it shares with neither its parent nor a child; `null` if that cannot be known.
    pub used_bytes: Option<u64>,
    /// Bytes of memory it refers to in all.
    pub referenced_bytes: u64,
    /// Why `used_bytes`, or how the machine came to be there, is not known, and the way out.
    pub problem: Option<String>,
    /// How the machine came to be there: by taking the snapshot, and each time it went back.
    #[serde(default)]
    pub transitions: Vec<Transition>,
}

/// Where to go back to. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// A tag, an id, or a unique prefix of one.
    #[serde(default)]
    pub to: Option<String>,
    /// So many snapshots before the current one; 0 is the current one.
    #[serde(default)]
    pub back: Option<u32>,
    /// Do not keep where the machine is now: it cannot be undone.
    #[serde(default)]
    pub discard: bool,
}

/// A machine that was put back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolledBack {
    /// The snapshot it stands at now.
    pub id: String,
    /// The snapshot that was taken of where it was, for `undo`.
    pub kept: Option<String>,
    /// Pages that were put back.
    pub pages: u64,
    /// How long the guest stood still, in microseconds.
    pub pause_us: u64,
    /// How much of that went into keeping where it was: into copying, hashing and syncing that snapshot.
    pub keep_us: u64,
    /// Page tables differed, so that the guest will fault its pages in again.
    pub translations_forgotten: bool,
}

/// What differs between two snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The one.
    pub from: String,
    /// The other.
    pub to: String,
    /// Pages that differ in all.
    pub pages: u64,
    /// By region, those that differ only.
    pub regions: Vec<RegionDifference>,
}

/// What differs in one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegionDifference {
    /// The region's name.
    pub name: String,
    /// The container it belongs to, if it is one's.
    pub container: Option<String>,
    /// Its first guest physical address.
    pub base: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Pages in it that differ.
    pub pages: u64,
    /// Where: address of the first byte and length of each run of pages.
    pub ranges: Vec<PageRange>,
}

/// A run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageRange {
    /// Guest physical address of its first byte.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

/// A machine to be made from this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// Its name.
    pub name: String,
    /// The snapshot it starts from; one of this moment if not given.
    #[serde(default)]
    pub from: Option<String>,
}

/// A machine that was made from another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forked {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its first snapshot.
    pub snapshot: String,
    /// How long this machine's guest stood still, in microseconds.
    pub pause_us: u64,
}

/// A tag to put on a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTag {
    /// A tag, an id, or a unique prefix of one.
    pub snapshot: String,
    /// Take the tag from the snapshot that has it; without this, one that is taken is refused.
    #[serde(default, rename = "move")]
    pub moving: bool,
}

/// A tag that was put on a snapshot, or taken from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tagged {
    /// The tag.
    pub tag: String,
    /// The snapshot's id.
    pub id: String,
    /// The snapshot that had the tag until now, if that is another one.
    pub moved_from: Option<String>,
}

/// What a machine keeps, and what that takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Properties {
    /// Snapshots that pruning leaves, which each new snapshot sees to.
    pub keep: u32,
    /// Most bytes the home's store may have for this machine to add to it; `null` for no limit.
    pub quota_bytes: Option<u64>,
    /// Bytes the store has: pages of all machines of the home, each once, compressed.
    pub store_bytes: u64,
    /// Bytes of memory in this machine's snapshots, each page once, before compression.
    pub used_bytes: u64,
}

/// What a machine is to keep from now on. What is not given stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetProperties {
    /// Snapshots that pruning leaves: 1 or more. Nothing is pruned by setting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// Most bytes of the home's store: 1 or more, or `null` for no limit.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub quota_bytes: Option<Option<u64>>,
}

/// A field that is there, be it `null`; one that is not is `None`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Which snapshots to let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// How many to keep, the newest; the machine's setting if not given.
    #[serde(default)]
    pub keep: Option<u32>,
}

/// An export to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The file: an absolute path.
    pub file: String,
    /// Public keys of others whose snapshots are taken, besides the machine's own: 64 hexadecimal digits each.
    #[serde(default)]
    pub trust: Vec<String>,
    /// A name for the snapshot.
    #[serde(default)]
    pub tag: Option<String>,
}

/// A snapshot that was taken from an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Its id.
    pub id: String,
}

/// Snapshots that were let go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Their ids, oldest first.
    pub removed: Vec<String>,
    /// Bytes of disk given back.
    pub freed_bytes: u64,
    /// Bytes that nothing needs and that are given back later, with those of others: a file of the store is rewritten when
    /// less than half of it is needed.
    #[serde(default)]
    pub waiting_bytes: u64,
}

/// What a check of stored snapshots found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Snapshots that were checked.
    pub snapshots: u64,
    /// Pages that were read and compared with their names.
    pub pages: u64,
    /// What is wrong, a sentence each; none if all is well.
    pub problems: Vec<String>,
}

/// Why a request was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// A word for programs.
    pub kind: String,
    /// What is wrong, and the way out.
    pub message: String,
}
