//! The verbs, a file each.

pub mod bench;
pub mod boot_files;
pub mod completions;
pub mod doctor;
pub mod image;
pub mod iso;
pub mod machine;
pub mod package;
pub mod program;
pub mod repo;
pub mod run;
pub mod version;
