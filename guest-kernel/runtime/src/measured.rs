//! Measured boot (`sentient_abi::measure`): what a medium boots is hashed, shown, and compared with what it should be, before any
//! of it runs; and who answers for it is shown, if anybody does.

use crate::console::terminal;
use crate::machine::Machine;
use crate::{gate, report};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;
use ed25519_dalek::{Signature, VerifyingKey};
use sentient_abi::boot_module::{EntryKind, Image};
use sentient_abi::measure::{Chain, Digest, Step, seal, signed, steps};
use sentient_abi::region::{Region, access};

/// What came of it.
#[derive(Default)]
pub struct Measured {
    /// The value of what was measured, if there was anything: this is a medium.
    value: Option<Digest>,
    /// Containers whose images are not what they should be.
    damaged: Vec<u32>,
    /// Why nothing at all is to be run.
    refused: Option<&'static str>,
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of what is in a region of the kernel's; `None` if that cannot be read.
pub fn of_region(region: &Region) -> Option<Digest> {
    let len = usize::try_from(region.len).ok()?;
    if region.access & access::USER != 0 {
        // SAFETY: a region of the table that ring 3 may read, mapped for the machine's life; nobody writes to it meanwhile, as
        // this is all that runs.
        let bytes = unsafe { core::slice::from_raw_parts(region.base as *const u8, len) };
        return Some(*blake3::hash(bytes).as_bytes());
    }
    // Not more than a kernel has.
    let mut bytes = vec![0; Some(len).filter(|len| *len <= 4 << 20)?];
    gate::read_nucleus(region.base, &mut bytes).then(|| *blake3::hash(&bytes).as_bytes())
}

/// Measures a medium, and shows it; nothing on a machine of our VMM's, which knows what it boots.
pub fn measure(machine: &Machine) -> Measured {
    let mut measured = Measured::default();
    let is_medium = machine.info.is_none() && machine.entries(EntryKind::Digest).next().is_some();
    let Some(module) = machine.module().filter(|_| is_medium) else { return measured };
    measured.value = Some(Digest::default());
    let Some(expected) = Chain::expected(&module) else {
        measured.refused = Some("this medium does not say of everything on it what that should be");
        return measured.tell();
    };
    terminal::say_line("Measured by BLAKE3:");
    let mut chain = Chain::default();
    for (step, wanted) in steps(&module) {
        let region = |kind: u32| machine.regions().find(|region| region.kind == kind);
        let (name, found) = match step {
            // They are what they are.
            Step::Mode | Step::Settings(_) => (None, wanted),
            Step::Contract => (Some(String::from("contract")), wanted),
            Step::Kernel(kind) => match region(kind) {
                Some(region) => (Some(region.name().into()), of_region(region)),
                None => (Some(format!("region {kind}")), None),
            },
            Step::Image(index) => {
                let image = module.container(index).ok().map(|container| container.image);
                let digest = match image {
                    Some(Image::Here(_, bytes)) => Some(*blake3::hash(bytes).as_bytes()),
                    _ => None,
                };
                (Some(machine.container_name(index)), digest)
            }
        };
        let found = found.unwrap_or_default();
        chain.extend(step, &found);
        if let Some(name) = name {
            terminal::say_line(&format!("{name:<15.15} {}", hex(&found)));
        }
        if wanted != Some(found) {
            terminal::say_line(&format!("{:<15.15} {}", "SHOULD BE", hex(&wanted.unwrap_or_default())));
            match step {
                Step::Image(index) => measured.damaged.push(index),
                _ => measured.refused = Some("the kernel is not what it was when this medium was made"),
            }
        }
    }
    measured.value = Some(*chain.value());
    terminal::say_line(&format!("{:<15.15} {}", "all of it", hex(chain.value())));
    match machine.entries(EntryKind::Seal).next() {
        None => terminal::say_line("signed by nobody"),
        Some((_, bytes)) => match seal(bytes).filter(|(key, signature)| holds(key, signature, &expected)) {
            Some((key, _)) => terminal::say_line(&format!("{:<15.15} {}", "signed, ed25519", hex(key))),
            None => measured.refused = Some("the medium's signature is not one of what is on it"),
        },
    }
    measured.tell()
}

fn holds(key: &[u8; 32], signature: &[u8; 64], expected: &Chain) -> bool {
    let key = VerifyingKey::from_bytes(key);
    key.is_ok_and(|key| key.verify_strict(&signed(expected), &Signature::from_bytes(signature)).is_ok())
}

impl Measured {
    fn tell(self) -> Self {
        if let Some(why) = self.refused {
            report::say(format_args!("{why}: no program is run"));
        }
        self
    }

    /// Whether this is a medium, whose boot people watch.
    pub fn is_medium(&self) -> bool {
        self.value.is_some()
    }

    /// The value of what was measured, if that was anything, and is to be run.
    pub fn value(&self) -> Option<[u8; 32]> {
        self.value.filter(|_| self.refused.is_none())
    }

    /// Whether nothing is to be run.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether a container's image is not what it should be.
    pub fn is_damaged(&self, container: u32) -> bool {
        self.damaged.contains(&container)
    }
}
