//! What is executed in a machine, by its roots: `.lock/binary.zk/kernel.json`, and one file for each image.
//!
//! Whoever has the kernel's file or a program's image can compute the same roots, and compare. The files follow
//! from the record of the snapshot that they name, which signs for them; `sentctl zk-verify` compares the two.

use super::judging::Judged;
use crate::description::note as write_note;
use crate::error::ControlError;
use crate::home::make_folder;
use sentient_abi::region::RegionKind;
use sentient_snapshot::Record;
use sentient_snapshot::hash::hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Kinds of regions that hold the kernel.
const KERNEL: [RegionKind; 4] = [
    RegionKind::NucleusText,
    RegionKind::NucleusConstants,
    RegionKind::RuntimeText,
    RegionKind::RuntimeConstants,
];

/// Roots of the kernel, or of an image that containers run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// BLAKE3 of the kernel's file; `None` for an image.
    pub kernel: Option<String>,
    /// The image's number; `None` for the kernel.
    pub image: Option<u32>,
    /// Its regions, by ascending base.
    pub regions: Vec<Root>,
    /// The snapshot that this was first true of.
    pub snapshot: String,
}

/// A region's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The region's name.
    pub region: String,
    /// Its base.
    pub base: u64,
    /// Its pages.
    pub pages: u64,
    /// Root of the tree over its pages.
    pub tree: String,
}

/// What is executed in a snapshot, by the names of the files.
#[must_use]
pub fn of(record: &Record, snapshot: &str) -> BTreeMap<String, Binary> {
    let roots = |wanted: &dyn Fn(u32, u32) -> bool| -> Vec<Root> {
        let regions = record.regions.iter().filter(|region| wanted(region.kind, region.owner));
        regions
            .map(|region| Root {
                region: region.name.clone(),
                base: region.base,
                pages: region.pages,
                tree: hex(&region.tree_root.0),
            })
            .collect()
    };
    let is_kernel = |kind, _| KERNEL.iter().any(|kernel| *kernel as u32 == kind);
    let kernel = Binary {
        kernel: Some(hex(&record.kernel)),
        image: None,
        regions: roots(&is_kernel),
        snapshot: snapshot.to_owned(),
    };
    let mut found = BTreeMap::from([("kernel.json".to_owned(), kernel)]);
    for region in record.regions.iter().filter(|region| region.kind == RegionKind::Image as u32) {
        let image = region.owner;
        let binary = Binary {
            kernel: None,
            image: Some(image),
            regions: roots(&|kind, owner| kind == RegionKind::Image as u32 && owner == image),
            snapshot: snapshot.to_owned(),
        };
        found.insert(format!("image-{image}.json"), binary);
    }
    found
}

/// Writes down what is executed from this transition on, and takes away what is not any more.
///
/// # Errors
/// The error of writing.
pub fn note(folder: &Path, judged: &Judged) -> Result<(), ControlError> {
    let wanted = of(&judged.to.record, &judged.to.snapshot.to_string());
    make_folder(folder).map_err(ControlError::io(folder))?;
    let there = read(folder)?;
    for (name, binary) in &wanted {
        if !there.get(name).is_some_and(|there| same(there, binary)) {
            let text =
                serde_json::to_string_pretty(binary).map_err(|error| ControlError::Bug(error.to_string()))?;
            write_note(&folder.join(name), &format!("{text}\n"))?;
        }
    }
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(ControlError::io(&path))?;
    }
    Ok(())
}

/// What is wrong with the files, if the machine is at this snapshot; a sentence each.
///
/// # Errors
/// The error of reading the folder.
pub fn compare(folder: &Path, record: &Record) -> Result<Vec<String>, ControlError> {
    let (wanted, there) = (of(record, ""), read(folder)?);
    let names = wanted.keys().chain(there.keys().filter(|name| !wanted.contains_key(*name)));
    let wrong = names.filter(|name| match (wanted.get(*name), there.get(*name)) {
        (Some(wanted), Some(there)) => !same(wanted, there),
        _ => true,
    });
    let say = |name: &String| {
        format!(
            "{} is not what the current snapshot says; the next snapshot writes it anew",
            folder.join(name).display()
        )
    };
    Ok(wrong.map(say).collect())
}

fn same(one: &Binary, two: &Binary) -> bool {
    (&one.kernel, &one.image, &one.regions) == (&two.kernel, &two.image, &two.regions)
}

/// All files that are of this kind. One that cannot be understood is as good as another's.
fn read(folder: &Path) -> Result<BTreeMap<String, Binary>, ControlError> {
    let nothing = Binary { kernel: None, image: None, regions: Vec::new(), snapshot: String::new() };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(ControlError::io(folder))?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(ControlError::io(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            let binary = fs::read(entry.path()).ok().and_then(|text| serde_json::from_slice(&text).ok());
            found.insert(name, binary.unwrap_or_else(|| nothing.clone()));
        }
    }
    Ok(found)
}
