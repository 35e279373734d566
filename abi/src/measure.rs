//! Measured boot: what a medium boots is hashed before it runs, and each hash is bound to all before it, as a TPM's platform
//! configuration registers are extended (TPM 2.0 library, part 1, 17.2): a new value is the hash of the old one and of what was
//! measured. One value at the end stands for everything.
//!
//! Whoever makes the medium comes to the same value from what it should be, and may sign it. What measures is the kernel itself: it
//! says what runs, and not that the firmware and the loader are honest.

use crate::boot_module::{BootModule, EntryKind};

/// A BLAKE3 digest.
pub type Digest = [u8; 32];

/// What values are extended under, so that none is a hash of something else.
const DOMAIN: &[u8] = b"SentientOS 2026 measured boot v1";

/// What is before the value in what is signed.
pub const SIGNED: &[u8] = b"SentientOS 2026 medium v1";

/// Bytes of a seal: an ed25519 key (RFC 8032), and its signature of [`SIGNED`] and the value.
pub const SEAL_LEN: usize = 32 + 64;

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// How the machine is to behave: the module's flags, and how often it is kept.
    Mode,
    /// What the kernel has in its region of this kind.
    Kernel(u32),
    /// The contract.
    Contract,
    /// How the container of this number is run: its name, arguments, permissions, files and ports.
    Settings(u32),
    /// The image of the container of this number.
    Image(u32),
}

impl Step {
    /// The step as two words.
    const fn words(self) -> [u32; 2] {
        match self {
            Self::Mode => [1, 0],
            Self::Kernel(kind) => [2, kind],
            Self::Contract => [3, 0],
            Self::Settings(container) => [4, container],
            Self::Image(container) => [5, container],
        }
    }
}

/// A value that stands for all that was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(Digest);

impl Chain {
    /// Goes on by what was measured.
    pub fn extend(&mut self, step: Step, digest: &Digest) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN).update(&self.0);
        for word in step.words() {
            hasher.update(&word.to_le_bytes());
        }
        self.0 = *hasher.update(digest).finalize().as_bytes();
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &Digest {
        &self.0
    }

    /// The value that a module comes to if everything is what it should be; `None` if it does not say of everything what that is.
    #[must_use]
    pub fn expected(module: &BootModule<'_>) -> Option<Self> {
        let mut chain = Self::default();
        for (step, digest) in steps(module) {
            chain.extend(step, &digest?);
        }
        Some(chain)
    }
}

/// All that is measured of a module, in order, with what it should be. Of the kernel and of images that is what the module says; of
/// all else, what is in it.
pub fn steps<'a>(module: &BootModule<'a>) -> impl Iterator<Item = (Step, Option<Digest>)> + use<'a> {
    let module = *module;
    let mut mode = blake3::Hasher::new();
    mode.update(&module.flags().to_le_bytes());
    module.entries().filter(|entry| entry.kind == EntryKind::Keep).for_each(|entry| {
        mode.update(module.data(&entry).unwrap_or_default());
    });
    let mode = *mode.finalize().as_bytes();
    let of_kind = move |kind| {
        let entries = module.entries().filter(move |entry| entry.kind == kind);
        entries.map(move |entry| (entry, module.data(&entry).unwrap_or_default()))
    };
    let digest = |bytes: &[u8]| Digest::try_from(bytes).ok();
    let kernel =
        of_kind(EntryKind::Digest).map(move |(entry, bytes)| (Step::Kernel(entry.index), digest(bytes)));
    let contract =
        of_kind(EntryKind::Contract).map(|(_, text)| (Step::Contract, Some(*blake3::hash(text).as_bytes())));
    let containers = of_kind(EntryKind::Container).flat_map(move |(entry, _)| {
        let image = module.find(EntryKind::ImageHash, entry.index).and_then(|entry| module.data(&entry));
        [
            (Step::Settings(entry.index), Some(settings(&module, entry.index))),
            (Step::Image(entry.index), image.and_then(digest)),
        ]
    });
    [(Step::Mode, Some(mode))].into_iter().chain(kernel).chain(contract).chain(containers)
}

/// The digest of everything that a module has of a container, but of its image.
fn settings(module: &BootModule<'_>, container: u32) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for entry in module.entries().filter(|entry| entry.index == container) {
        let is_setting = match entry.kind {
            EntryKind::Container
            | EntryKind::Permissions
            | EntryKind::Files
            | EntryKind::Ports
            | EntryKind::Mounts
            | EntryKind::Destinations
            | EntryKind::Checkpoints
            | EntryKind::Name => true,
            EntryKind::Machine
            | EntryKind::Image
            | EntryKind::ImageDigest
            | EntryKind::ImageHash
            | EntryKind::Faults
            | EntryKind::Digest
            | EntryKind::Keep
            | EntryKind::Contract
            | EntryKind::Seal => false,
        };
        if is_setting {
            hasher.update(&(entry.kind as u32).to_le_bytes()).update(&entry.len.to_le_bytes());
            hasher.update(module.data(&entry).unwrap_or_default());
        }
    }
    *hasher.finalize().as_bytes()
}

/// A seal's key and signature.
#[must_use]
pub fn seal(bytes: &[u8]) -> Option<(&[u8; 32], &[u8; 64])> {
    let (key, signature) = bytes.split_first_chunk()?;
    Some((key, signature.try_into().ok()?))
}

/// What a seal signs.
#[must_use]
pub fn signed(chain: &Chain) -> [u8; SIGNED.len() + 32] {
    let mut message = [0; SIGNED.len() + 32];
    for (to, from) in message.iter_mut().zip(SIGNED.iter().chain(&chain.0)) {
        *to = *from;
    }
    message
}

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::boot_module::{ModuleBuilder, STAYS};
    use alloc::vec::Vec;

    fn value(flags: u32, entries: &[(EntryKind, u32, &[u8])]) -> Option<Digest> {
        let mut builder = ModuleBuilder::new(flags);
        for (kind, index, bytes) in entries {
            builder.push(*kind, *index, bytes).unwrap();
        }
        let bytes: Vec<u8> = builder.into_bytes().unwrap();
        Chain::expected(&BootModule::parse(&bytes).unwrap()).map(|chain| *chain.value())
    }

    #[test]
    fn whatever_is_another_one_gives_another_value() {
        let (one, other) = ([1u8; 32], [2u8; 32]);
        let usual: [(EntryKind, u32, &[u8]); 6] = [
            (EntryKind::Digest, 1, &one),
            (EntryKind::Contract, 0, b"version: 1"),
            (EntryKind::Name, 0, b"web"),
            (EntryKind::Container, 0, b"how"),
            (EntryKind::Ports, 0, &[80, 0]),
            (EntryKind::ImageHash, 0, &other),
        ];
        let expected = value(0, &usual).unwrap();
        assert_ne!(value(STAYS, &usual), Some(expected));
        for at in 0..usual.len() {
            let mut changed = usual;
            changed[at].2 = &[9; 32];
            assert_ne!(value(0, &changed), Some(expected), "{at}");
            let mut without = usual.to_vec();
            without.remove(at);
            assert_ne!(value(0, &without), Some(expected), "{at}");
        }
        let mut signed_too = usual.to_vec();
        signed_too.push((EntryKind::Seal, 0, &[7; SEAL_LEN]));
        assert_eq!(
            value(0, &signed_too),
            Some(expected),
            "what is signed is the value, and not the signature"
        );
    }

    #[test]
    fn an_image_of_which_nobody_says_what_it_should_be_gives_no_value() {
        assert_eq!(value(0, &[(EntryKind::Container, 0, b"how")]), None);
        assert_eq!(value(0, &[(EntryKind::Digest, 0, b"short")]), None);
    }

    #[test]
    fn a_seal_is_a_key_and_a_signature() {
        assert!(seal(&[0; SEAL_LEN]).is_some());
        assert!(
            seal(&[0; SEAL_LEN - 1]).is_none() && seal(&[0; SEAL_LEN + 1]).is_none() && seal(&[]).is_none()
        );
    }
}
