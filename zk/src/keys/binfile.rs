//! The container of iden3's binary files: a magic, and numbered sections.
//!
//! ```text
//! magic 4 | version u32 | number of sections u32
//! section*: type u32 | length u64 | bytes
//! ```
//!
//! <https://github.com/iden3/r1csfile/blob/master/doc/r1cs_bin_format.md>

use super::KeyError;

/// Most sections: a `.zkey` has 10.
const MAX_SECTIONS: u32 = 32;

/// A file's sections; nothing is copied.
#[derive(Debug)]
pub struct BinFile<'a> {
    sections: Vec<(u32, &'a [u8])>,
    key: &'static str,
}

impl<'a> BinFile<'a> {
    /// The sections of `bytes`, all of which belong to one. `key` is for errors.
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] for another magic or version, and lengths that do not fit.
    pub fn parse(bytes: &'a [u8], magic: [u8; 4], version: u32, key: &'static str) -> Result<Self, KeyError> {
        let cut = || KeyError::encoding(key, "is cut short");
        let mut rest = bytes;
        let found: [u8; 4] = take(&mut rest).ok_or_else(cut)?;
        let found_version = take(&mut rest).map(u32::from_le_bytes).ok_or_else(cut)?;
        if found != magic || found_version != version {
            let expected = String::from_utf8_lossy(&magic).into_owned();
            return Err(KeyError::encoding(
                key,
                format!("does not begin with {expected:?}, version {version}"),
            ));
        }
        let count = take(&mut rest).map(u32::from_le_bytes).ok_or_else(cut)?;
        if count > MAX_SECTIONS {
            return Err(KeyError::encoding(key, format!("has {count} sections, more than {MAX_SECTIONS}")));
        }
        let mut sections = Vec::new();
        for _ in 0..count {
            let kind = take(&mut rest).map(u32::from_le_bytes).ok_or_else(cut)?;
            let len = take(&mut rest).map(u64::from_le_bytes).ok_or_else(cut)?;
            let len = usize::try_from(len).map_err(|_| cut())?;
            let (section, after) = rest.split_at_checked(len).ok_or_else(cut)?;
            if sections.iter().any(|(other, _)| *other == kind) {
                return Err(KeyError::encoding(key, format!("has section {kind} twice")));
            }
            sections.push((kind, section));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(KeyError::encoding(key, format!("has {} bytes behind its sections", rest.len())));
        }
        Ok(Self { sections, key })
    }

    /// A section.
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`] if there is none of that type.
    pub fn section(&self, kind: u32) -> Result<&'a [u8], KeyError> {
        let found = self.sections.iter().find(|(other, _)| *other == kind);
        found
            .map(|(_, bytes)| *bytes)
            .ok_or_else(|| KeyError::encoding(self.key, format!("has no section {kind}")))
    }
}

/// The next bytes.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

/// A file of these sections.
#[must_use]
pub fn write(magic: [u8; 4], version: u32, sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((sections.len() as u32).to_le_bytes());
    for (kind, section) in sections {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((section.len() as u64).to_le_bytes());
        bytes.extend(section);
    }
    bytes
}
