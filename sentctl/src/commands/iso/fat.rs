//! The partition that a machine with UEFI starts from: a small FAT with one file (UEFI specification 2.10, 13.3).

use crate::errors::CommandError;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use std::io::{Cursor, Write};

/// Room beside the file, in bytes: the FAT's own tables and folders.
const BESIDE: usize = 256 << 10;
/// Lengths are multiples of this: a sector of a drive.
const SECTOR: usize = 2048;
/// The serial number of the volume, which would otherwise be the time.
const SERIAL: u32 = 0x5345_4e54;

/// The partition with a loader.
///
/// # Errors
/// [`CommandError`] if it cannot be made.
pub fn efi_partition(loader: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut bytes = vec![0; (loader.len() + BESIDE).next_multiple_of(SECTOR)];
    fill(&mut bytes, loader).map_err(CommandError::io("making the partition for UEFI"))?;
    Ok(bytes)
}

fn fill(bytes: &mut Vec<u8>, loader: &[u8]) -> std::io::Result<()> {
    let options = FormatVolumeOptions::new().volume_id(SERIAL).volume_label(*b"SENTIENTOS ");
    format_volume(Cursor::new(&mut *bytes), options)?;
    let system = FileSystem::new(Cursor::new(bytes), FsOptions::new())?;
    {
        let folder = system.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = folder.create_file("BOOTX64.EFI")?;
        file.write_all(loader)?;
        file.flush()?;
    }
    system.unmount()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_loader_is_where_firmware_looks_and_the_same_input_gives_the_same_bytes() -> std::io::Result<()> {
        let loader: Vec<u8> = (0..700_000u32).map(|number| number as u8).collect();
        let make = || efi_partition(&loader).map_err(|error| std::io::Error::other(error.to_string()));
        let partition = make()?;
        assert_eq!(partition, make()?);
        let system = FileSystem::new(Cursor::new(partition), FsOptions::new())?;
        let mut found = Vec::new();
        system.root_dir().open_file("EFI/BOOT/BOOTX64.EFI")?.read_to_end(&mut found)?;
        assert_eq!(found, loader);
        Ok(())
    }
}
