//! What a machine keeps: settings, and names of snapshots.

use super::{Context, Reach, tree};
use crate::cli::machine::{Property, SetArgs, TagArgs};
use crate::errors::CommandError;
use sentient_control::api::{Properties, PutTag, SetProperties, Tagged};
use sentient_control::client::encoded;
use std::io::Write;
use std::process::ExitCode;

impl Context {
    /// `get`.
    pub fn get(&self) -> Result<ExitCode, CommandError> {
        let found: Properties = match self.reach()? {
            Reach::Running(client) => client.get("/v1/properties")?,
            Reach::Stopped(history) => history.properties()?,
        };
        self.answer(&found, write)
    }

    /// `set`.
    pub fn set(&self, args: &SetArgs) -> Result<ExitCode, CommandError> {
        let mut wanted = SetProperties::default();
        for property in &args.properties {
            let twice = match property {
                Property::Keep(count) => wanted.keep.replace(*count).is_some(),
                Property::Quota(bytes) => wanted.quota_bytes.replace(*bytes).is_some(),
            };
            if twice {
                return Err(CommandError::Usage("a setting is given twice: leave one of the two out".into()));
            }
        }
        let found: Properties = match self.reach()? {
            Reach::Running(client) => client.patch("/v1/properties", &wanted)?,
            Reach::Stopped(history) => history.set_properties(&wanted)?,
        };
        self.answer(&found, write)
    }

    /// `tag`.
    pub fn tag(&self, args: &TagArgs) -> Result<ExitCode, CommandError> {
        let done = match (&args.rm, &args.snapshot, &args.name) {
            (Some(tag), ..) => self.remove_tag(tag)?,
            (None, Some(snapshot), Some(tag)) => {
                self.put_tag(tag, &PutTag { snapshot: snapshot.clone(), moving: args.moving })?
            }
            _ => {
                let message = "tag needs a snapshot and a name, or --rm and a name";
                return Err(CommandError::Usage(message.into()));
            }
        };
        self.answer(&done, |out, done| {
            let id = tree::short(&done.id);
            match (&args.rm, &done.moved_from) {
                (Some(_), _) => writeln!(out, "{id} is no longer called {}", done.tag),
                (None, None) => writeln!(out, "{id} is called {}", done.tag),
                (None, Some(from)) => {
                    writeln!(out, "{id} is called {}, and {} no longer", done.tag, tree::short(from))
                }
            }
        })
    }

    fn put_tag(&self, tag: &str, wanted: &PutTag) -> Result<Tagged, CommandError> {
        Ok(match self.reach()? {
            Reach::Running(client) => client.put(&format!("/v1/tags/{}", encoded(tag)), wanted)?,
            Reach::Stopped(history) => history.tag(tag, wanted)?,
        })
    }

    fn remove_tag(&self, tag: &str) -> Result<Tagged, CommandError> {
        Ok(match self.reach()? {
            Reach::Running(client) => client.delete(&format!("/v1/tags/{}", encoded(tag)))?,
            Reach::Stopped(history) => history.remove_tag(tag)?,
        })
    }
}

fn write(out: &mut dyn Write, found: &Properties) -> std::io::Result<()> {
    let quota = found.quota_bytes.map_or_else(|| "none".to_owned(), tree::bytes);
    writeln!(out, "keep   {:<10}  snapshots that pruning leaves", found.keep)?;
    writeln!(out, "quota  {quota:<10}  most space of the home's store")?;
    writeln!(out, "store  {:<10}  its space now, for all machines", tree::bytes(found.store_bytes))?;
    writeln!(out, "used   {:<10}  memory in this machine's snapshots", tree::bytes(found.used_bytes))
}
