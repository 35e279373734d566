//! A folder to begin with: a small program, its description, and permissions that allow it nothing.

use super::meta::Meta;
use super::source::Language;
use super::{META, PERMISSIONS, TsoError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What stands in a template for the program's name.
const NAME: &str = "{name}";

const META_TEXT: &str = include_str!("../../../resources/templates/meta.yaml");
const PERMISSIONS_TEXT: &str = include_str!("../../../resources/templates/permissions.zky");

const fn main_text(language: Language) -> &'static str {
    match language {
        Language::C => include_str!("../../../resources/templates/c/main.c"),
        Language::Zig => include_str!("../../../resources/templates/zig/main.zig"),
        Language::Rust => include_str!("../../../resources/templates/rust/main.rs"),
        Language::Wat => include_str!("../../../resources/templates/wat/main.wat"),
    }
}

/// Makes the folder, which must not be there, with a program in it that is called as the folder is. Gives its files.
///
/// # Errors
/// [`TsoError::Text`] for a name that no package can have, [`TsoError::Folder`] if it is there or cannot be made. What
/// was begun is taken away again.
pub fn create(folder: &Path, language: Language) -> Result<Vec<PathBuf>, TsoError> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = |text: &str| text.replace(NAME, name);
    let meta = named(META_TEXT);
    Meta::parse(&meta)?;
    let files =
        [(language.main(), named(main_text(language))), (META, meta), (PERMISSIONS, named(PERMISSIONS_TEXT))];
    fs::create_dir(folder).map_err(|error| failed(folder, &error))?;
    let written = files.map(|(file, text)| {
        let path = folder.join(file);
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
        Ok(path)
    });
    let written: Result<Vec<PathBuf>, TsoError> = written.into_iter().collect();
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::remove_dir_all(folder);
    }
    written
}

fn failed(path: &Path, error: &io::Error) -> TsoError {
    let problem = match error.kind() {
        io::ErrorKind::AlreadyExists => "it is there already; choose another name".to_owned(),
        io::ErrorKind::NotFound => "the folder that it is to be in is not there".to_owned(),
        _ => error.to_string(),
    };
    TsoError::on_disk(path, problem)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::super::pack::Folder;
    use super::*;

    #[test]
    fn what_is_made_can_be_packed() {
        let home = tempfile::tempdir().unwrap();
        for language in Language::ALL {
            let folder = home.path().join(format!("made-{language:?}").to_lowercase());
            let files = create(&folder, language).unwrap();
            assert_eq!(files.len(), 3);
            for file in &files {
                assert!(!fs::read_to_string(file).unwrap().contains(NAME), "{}", file.display());
            }
            if language == Language::Wat {
                Folder::read(&folder).unwrap().check_program().unwrap();
            }
            // Not twice: somebody's work lies there.
            assert!(create(&folder, language).unwrap_err().to_string().contains("another name"));
        }
    }

    #[test]
    fn what_no_package_can_be_called_is_not_made() {
        let home = tempfile::tempdir().unwrap();
        for name in ["Upper", "with space", "-x", "a\nversion: 2", &"n".repeat(65)] {
            assert!(create(&home.path().join(name), Language::C).is_err(), "{name}");
            assert!(!home.path().join(name).exists());
        }
        let nowhere = create(&home.path().join("a/b"), Language::C).unwrap_err();
        assert!(nowhere.to_string().contains("not there"));
    }
}
