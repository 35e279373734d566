//! The index against the packs.

use super::index::ReadIndex;
use super::pack::HEADER_LEN;
use super::reader::Packs;
use super::reclaim::count;
use super::{Entry, Store, StoreError};
use crate::hash::Hash;

impl Store {
    /// Everything that is wrong with the store, in no more than `most` findings: packs that are missing
    /// or too short, objects that are not what their hashes say, counts that are off. Reads every byte.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`] if the index itself cannot be read.
    pub fn check(&self, most: usize) -> Result<Vec<StoreError>, StoreError> {
        let index = ReadIndex::open(&self.place)?;
        let mut found = Vec::new();
        let mut packs = Packs::new(&self.packs);
        let known = index.all_packs()?;
        for (number, end, _) in &known {
            let len = packs.file(*number).and_then(|file| {
                file.metadata().map(|metadata| metadata.len()).map_err(StoreError::io("look at", &self.packs))
            });
            match len {
                Ok(len) if len < *end => {
                    let problem = format!("has {len} bytes where the index knows of {end}");
                    found.push(StoreError::Pack { pack: *number, problem });
                }
                Ok(_) => {}
                Err(error) => found.push(error),
            }
        }
        let mut objects = index.all_objects()?;
        objects.sort_by_key(|(_, entry)| (entry.pack, entry.offset));
        check_places(&known, &objects, &mut found);
        for (hash, entry) in &objects {
            if found.len() >= most {
                return Ok(found);
            }
            found.extend(packs.read(*hash, entry).err());
        }
        match count(&index, &mut packs) {
            Ok(counted) => {
                for (hash, entry) in &objects {
                    let counted = counted.get(hash).copied().unwrap_or(0);
                    if counted != entry.references {
                        let held = entry.references;
                        let what = format!("{held} hold on to {} {hash}, and {counted} do", entry.kind);
                        found.push(StoreError::IndexDamaged { what });
                    }
                }
            }
            Err(error) => found.push(error),
        }
        found.truncate(most);
        Ok(found)
    }
}

/// Objects lie inside their packs, do not overlap, and add up to what is live. Both lists are sorted, so that
/// each is gone through once, however many packs there are.
fn check_places(known: &[(u32, u64, u64)], objects: &[(Hash, Entry)], found: &mut Vec<StoreError>) {
    for (number, end, live) in known {
        let mut free = HEADER_LEN;
        let mut sum = 0u64;
        let first = objects.partition_point(|(_, entry)| entry.pack < *number);
        let here = objects.get(first..).unwrap_or_default();
        for (hash, entry) in here.iter().take_while(|(_, entry)| entry.pack == *number) {
            let after = entry.offset + u64::from(entry.stored);
            if entry.offset < free || after > *end {
                let what =
                    format!("{} {hash} lies at {} to {after} of pack {number}", entry.kind, entry.offset);
                found.push(StoreError::IndexDamaged { what });
            }
            free = after;
            sum += u64::from(entry.stored);
        }
        if sum != *live {
            let what = format!("{live} bytes of pack {number} are live, and {sum} are");
            found.push(StoreError::IndexDamaged { what });
        }
    }
    for (hash, entry) in objects {
        if known.binary_search_by_key(&entry.pack, |(number, ..)| *number).is_err() {
            let what = format!("{} {hash} lies in pack {}, which there is not", entry.kind, entry.pack);
            found.push(StoreError::IndexDamaged { what });
        }
    }
}
