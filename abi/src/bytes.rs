//! Reading and writing the shared structs as bytes, without `unsafe`.

/// Reads a little-endian `u32` at `at`; `None` past the end.
#[must_use]
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

/// Reads a little-endian `u64` at `at`; `None` past the end.
#[must_use]
pub fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(u64::from_le_bytes(field))
}

/// Writes a little-endian `u32` at `at`; `None`, and nothing written, past the end.
#[must_use]
pub fn write_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

/// Writes a little-endian `u64` at `at`; `None`, and nothing written, past the end.
#[must_use]
pub fn write_u64(bytes: &mut [u8], at: usize, value: u64) -> Option<()> {
    bytes.get_mut(at..at.checked_add(8)?)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}
