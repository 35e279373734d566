//! A machine as people keep it: a folder with its snapshots, and a process that runs it and answers on a
//! socket.
//!
//! * [`home`], [`description`]: where machines live, and what each is;
//! * [`lock`]: who owns one;
//! * [`history`]: its snapshots, whether it runs or not;
//! * [`removal`]: how one goes;
//! * [`process`], [`machine_process`]: how it is started, and what it does then;
//! * [`filling`]: its memory, while it is being restored;
//! * [`fork`]: machines that go on from where another one is;
//! * [`session`], with [`live`], [`cache`] and [`containers`]: the running machine;
//! * [`image_store`], [`repositories`]: packages that are run by their names, and where they come from;
//! * [`logs`]: what containers have written, in files;
//! * [`ports`], [`folders`]: containers' ports, and the folders they are given, as users write them;
//! * [`proofs`]: what happened to a machine, held against its contract and proved;
//! * [`api`]: what is said over the socket, and in answers with `--json`;
//! * [`server`], [`client`]: the side that answers, and the side that asks.
//!
//! Invariant: whatever touches a machine's timeline holds its [`lock`].

pub mod api;
pub mod cache;
pub mod client;
pub mod containers;
mod copying;
pub mod description;
pub mod error;
pub mod filling;
pub mod folders;
pub mod fork;
mod healing;
pub mod history;
pub mod home;
pub mod image_store;
pub mod live;
pub mod lock;
pub mod logs;
pub mod machine_process;
pub mod ports;
pub mod process;
pub mod proofs;
pub mod recovery;
pub mod removal;
pub mod repositories;
pub mod server;
pub mod session;
mod streaming;
