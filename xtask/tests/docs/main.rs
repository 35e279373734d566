//! What the documents say is so.
//!
//! * Every command in a `console` block of README.md and docs/ is run, and prints what the block shows:
//!   [`transcript`] reads the blocks, [`stage`] runs them.
//! * Tables and lists that repeat the source are compared with it: [`facts`].

mod facts;
mod stage;
mod transcript;

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

fn read(path: &str) -> String {
    let read = std::fs::read_to_string(repository().join(path));
    assert!(read.is_ok(), "{path} can be read: {read:?}");
    read.unwrap_or_default()
}

/// The users' and contributors' documents, by path.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for folder in ["docs", "docs/decisions", "fuzz"] {
        let Ok(entries) = std::fs::read_dir(repository().join(folder)) else { continue };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")));
    }
    found.sort();
    found
}

/// Runs what a document shows, in its order and in one folder.
fn holds(path: &str) {
    let commands = transcript::read(&read(path));
    assert!(!commands.is_empty(), "{path} shows no command: leave it out of the list");
    let stage = stage::Stage::new();
    let wrong: Vec<String> = commands
        .iter()
        .filter_map(|command| {
            let printed = stage.run(&command.text);
            let same = transcript::matches(&command.output, &printed);
            (!same).then(|| {
                let shown = command.output.join("\n");
                format!(
                    "{path}:{}: $ {}\n--- shown\n{shown}\n--- printed\n{printed}",
                    command.line, command.text
                )
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

macro_rules! documents {
    ($($test:ident: $path:literal;)*) => {
        $(#[test] fn $test() { holds($path); })*

        #[test]
        fn every_document_with_commands_is_tested() {
            let listed = [$($path),*];
            for path in documents() {
                let shows = !transcript::read(&read(&path)).is_empty();
                assert!(!shows || listed.contains(&path.as_str()), "{path} shows commands: add it to this list");
            }
        }
    };
}

documents! {
    the_readme_shows_what_happens: "README.md";
    using_shows_what_happens: "docs/using.md";
    exit_codes_shows_what_happens: "docs/exit-codes.md";
    guest_shows_what_happens: "docs/guest.md";
    machines_shows_what_happens: "docs/machines.md";
    proving_shows_what_happens: "docs/proving.md";
    packages_show_what_happens: "docs/tso.md";
}
