//! What the kernel's command line says: words of a loader's menu, by which people change how a medium boots.

use crate::{gate, report};
use alloc::string::String;
use alloc::vec::Vec;

/// What it asks for.
#[derive(Default)]
pub struct Options {
    /// No program is run, and there is the console: `zero`.
    pub zero: bool,
    /// Whether there is the console when no program runs any more: `done=console`, or `done=end`.
    pub stays: Option<bool>,
    /// What is kept on a disk is not gone on from: `anew`.
    pub anew: bool,
    /// The only programs that are run: `only=NAME,NAME`.
    pub only: Option<Vec<String>>,
}

impl Options {
    /// Reads it. Of words that are none of its own it tells.
    pub fn read() -> Self {
        let mut options = Self::default();
        for word in String::from_utf8_lossy(&gate::command_line()).split_ascii_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("zero", "") => options.zero = true,
                ("anew", "") => options.anew = true,
                ("done", "console") => options.stays = Some(true),
                ("done", "end") => options.stays = Some(false),
                ("only", names) if !names.is_empty() => {
                    options.only = Some(names.split(',').map(String::from).collect());
                }
                _ => report::say(format_args!(
                    "`{word}` on the command line is none of zero, anew, done=console, done=end, only=NAME,NAME"
                )),
            }
        }
        options
    }

    /// Whether a program is to be run.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|wanted| wanted == name))
    }
}
