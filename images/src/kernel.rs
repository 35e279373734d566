//! The guest kernel as one file: an ELF with its BLAKE3 digest behind it.

use object::Endianness;
use object::elf::{FileHeader64, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use sentient_abi::ABI_VERSION;
use sentient_abi::kernel_header::{KernelHeader, MAGIC, Segment};
use sentient_abi::region::access;
use std::borrow::Cow;

/// Before the digest at the end of the file; the build script writes the same.
const DIGEST_MAGIC: &[u8; 16] = b"SENTIENT-BLAKE3\0";
const DIGEST_LEN: usize = 32;

/// Offset of the kernel header in the file: the first segment's data, on the first page boundary.
const HEADER_AT: usize = sentient_abi::PAGE_SIZE as usize;

static EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.elf"));

static EMBEDDED_SYMBOLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.symbols"));

/// The embedded kernel's functions, encoded: `sentient_crash::SymbolTable` reads them. They are those of no
/// other kernel.
#[must_use]
pub fn embedded_symbols() -> &'static [u8] {
    EMBEDDED_SYMBOLS
}

/// The embedded kernel's digest, in hexadecimal.
pub const EMBEDDED_DIGEST: &str = env!("SENTIENT_KERNEL_DIGEST");

/// Why a kernel image is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KernelError {
    /// It does not end with a digest.
    #[error("the kernel image ({len} bytes) carries no digest: it is cut short, or not a SentientOS kernel")]
    NoDigest {
        /// Its length in bytes.
        len: usize,
    },
    /// Its digest is not that of its contents.
    #[error(
        "the kernel image is damaged: its contents hash to {found}, its digest says {expected}; build or fetch it again"
    )]
    Damaged {
        /// BLAKE3 of the contents, hexadecimal.
        found: String,
        /// The digest it carries, hexadecimal.
        expected: String,
    },
    /// It is no kernel of ours.
    #[error("the kernel image has no kernel header where one must be: not a SentientOS kernel")]
    NoHeader,
    /// It was built for another version of the interface between VMM and guest.
    #[error(
        "the kernel image speaks ABI version {found}, this VMM speaks {ABI_VERSION}: use the kernel that came with it"
    )]
    Version {
        /// The kernel's ABI version.
        found: u32,
    },
}

/// A kernel image of this version.
#[derive(Clone, Debug)]
pub struct KernelImage {
    elf: Cow<'static, [u8]>,
    header: KernelHeader,
    /// Its digest has been compared with its contents.
    checked: bool,
}

impl KernelImage {
    /// The kernel this program was built with.
    ///
    /// # Errors
    /// [`KernelError`] if the program file is damaged.
    pub fn embedded() -> Result<Self, KernelError> {
        Self::check(Cow::Borrowed(EMBEDDED))
    }

    /// The same, for a machine that [checks its digest](Self::check_digest) while it boots, and passes on nothing
    /// of what the guest says before that: hashing takes longer than the guest needs to be ready.
    ///
    /// # Errors
    /// [`KernelError`] if the damage is seen without looking closely.
    pub fn embedded_unchecked() -> Result<Self, KernelError> {
        match header(EMBEDDED) {
            Ok(header) => Ok(Self { elf: Cow::Borrowed(EMBEDDED), header, checked: false }),
            // A better message, if there is one.
            Err(_) => Self::embedded(),
        }
    }

    /// A kernel from elsewhere.
    ///
    /// # Errors
    /// See [`KernelError`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, KernelError> {
        Self::check(Cow::Owned(bytes))
    }

    fn check(elf: Cow<'static, [u8]>) -> Result<Self, KernelError> {
        check_digest(&elf)?;
        let header = header(&elf)?;
        Ok(Self { elf, header, checked: true })
    }

    /// Compares its digest with its contents, if that has not been done.
    ///
    /// # Errors
    /// [`KernelError::NoDigest`], [`KernelError::Damaged`].
    pub fn check_digest(&self) -> Result<(), KernelError> {
        if self.checked { Ok(()) } else { check_digest(&self.elf) }
    }

    /// The ELF file, its digest behind it.
    #[must_use]
    pub fn elf(&self) -> &[u8] {
        &self.elf
    }

    /// The ELF file, if it is the one embedded in this program.
    #[must_use]
    pub fn embedded_elf(&self) -> Option<&'static [u8]> {
        match self.elf {
            Cow::Borrowed(elf) => Some(elf),
            Cow::Owned(_) => None,
        }
    }

    /// What the regions must hold that ring 3 can read and nobody writes: their kinds, and BLAKE3 digests of all their pages.
    ///
    /// # Errors
    /// [`KernelError::NoHeader`] if the file has no such segments.
    pub fn digests(&self) -> Result<Vec<(u32, [u8; 32])>, KernelError> {
        let headers = FileHeader64::<Endianness>::parse(self.elf())
            .and_then(|header| Ok((header.endian()?, header.program_headers(header.endian()?, self.elf())?)));
        let (endian, programs) = headers.map_err(|_| KernelError::NoHeader)?;
        let is_wanted = |segment: &&Segment| segment.access & access::WRITE == 0;
        let digest = |segment: &Segment| {
            let is_it = |program: &&ProgramHeader64<Endianness>| program.p_vaddr(endian) == segment.base;
            let program = programs.iter().find(is_it).ok_or(KernelError::NoHeader)?;
            let data = program.data(endian, self.elf()).map_err(|()| KernelError::NoHeader)?;
            let mut hasher = blake3::Hasher::new();
            hasher.update(data);
            // What the file does not have is zero.
            let missing = usize::try_from(segment.len).unwrap_or(0).saturating_sub(data.len());
            hasher.update(&vec![0; missing]);
            Ok((segment.kind, *hasher.finalize().as_bytes()))
        };
        self.header.segments().filter(is_wanted).map(digest).collect()
    }

    /// The kernel header.
    #[must_use]
    pub fn header(&self) -> &KernelHeader {
        &self.header
    }
}

fn check_digest(elf: &[u8]) -> Result<(), KernelError> {
    let len = elf.len();
    let split = len.checked_sub(DIGEST_MAGIC.len() + DIGEST_LEN).ok_or(KernelError::NoDigest { len })?;
    let (contents, trailer) = elf.split_at(split);
    let expected = trailer.strip_prefix(DIGEST_MAGIC).ok_or(KernelError::NoDigest { len })?;
    let found = blake3::hash(contents);
    if found.as_bytes() == expected {
        Ok(())
    } else {
        Err(KernelError::Damaged { found: found.to_hex().to_string(), expected: hex(expected) })
    }
}

fn header(elf: &[u8]) -> Result<KernelHeader, KernelError> {
    let header = elf.get(HEADER_AT..).and_then(KernelHeader::parse);
    let header = header.filter(|header| header.magic == MAGIC).ok_or(KernelError::NoHeader)?;
    if header.abi_version == ABI_VERSION {
        Ok(header)
    } else {
        Err(KernelError::Version { found: header.abi_version })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use sentient_abi::LARGE_PAGE_SIZE;
    use sentient_abi::region::RegionKind;

    #[test]
    fn the_embedded_kernel_is_whole() {
        let kernel = KernelImage::embedded().unwrap();
        assert_eq!(kernel.header().abi_version, ABI_VERSION);
        assert_eq!(kernel.header().segments().count(), 7);
    }

    /// What goes beyond it costs each machine another two mebibytes, and another page to be mapped by software KVM.
    #[test]
    fn the_runtimes_code_is_one_large_page() {
        let kernel = KernelImage::embedded().unwrap();
        let text = kernel.header().segments().find(|segment| segment.kind == RegionKind::RuntimeText as u32);
        assert_eq!(text.map(|text| text.len), Some(LARGE_PAGE_SIZE));
    }

    #[test]
    fn the_embedded_symbols_are_those_of_the_embedded_kernel() {
        let symbols = sentient_crash::SymbolTable::decode(embedded_symbols()).unwrap();
        let kernel = KernelImage::embedded().unwrap();
        let header = kernel.header();
        assert_eq!(symbols.find(header.runtime_entry), Some(("runtime_start", 0)));
        assert_eq!(symbols.find(header.linux64_entry), Some(("linux64_start", 0)));
        assert_eq!(symbols.find(header.panic_record), None, "it is no function");
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for position in [0, 5000, EMBEDDED.len() / 2, EMBEDDED.len() - 40, EMBEDDED.len() - 1] {
            let mut bad = EMBEDDED.to_vec();
            bad[position] ^= 0x10;
            let refused = KernelImage::from_bytes(bad).unwrap_err();
            assert!(
                matches!(refused, KernelError::Damaged { .. } | KernelError::NoDigest { .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_kernel_cut_short_is_refused() {
        for len in [0, 47, 4096, EMBEDDED.len() - 1] {
            assert!(KernelImage::from_bytes(EMBEDDED[..len].to_vec()).is_err());
        }
    }

    #[test]
    fn a_kernel_of_another_version_is_named() {
        let contents = EMBEDDED.len() - DIGEST_MAGIC.len() - DIGEST_LEN;
        let mut other = EMBEDDED[..contents].to_vec();
        other[HEADER_AT + 8] = 99;
        let digest = blake3::hash(&other);
        other.extend_from_slice(DIGEST_MAGIC);
        other.extend_from_slice(digest.as_bytes());
        assert_eq!(KernelImage::from_bytes(other).unwrap_err(), KernelError::Version { found: 99 });
    }
}
