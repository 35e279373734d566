//! Tables and lists of the documents, against the source.

use crate::stage::Stage;
use crate::{documents, read, repository};
use std::collections::{BTreeMap, BTreeSet};

/// `| 110 | ... |` rows of a table.
fn rows(document: &str) -> BTreeMap<u8, String> {
    let cells = document.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = cells.filter_map(|line| {
        let (code, text) = line.split_once(" | ")?;
        Some((code.trim().parse().ok()?, text.to_owned()))
    });
    rows.collect()
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_source() {
    let source = read("abi/src/exit.rs");
    let constants: BTreeMap<u8, String> = source
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
            Some((value.trim_end_matches(';').parse().ok()?, name.to_owned()))
        })
        .collect();
    assert!(constants.len() >= 10, "the source is read rightly: {constants:?}");
    assert_eq!(constants.get(&sentient_abi::exit::TRAPPED).map(String::as_str), Some("TRAPPED"));
    let rows = rows(&read("docs/exit-codes.md"));
    let documented: Vec<_> = rows.keys().collect();
    assert_eq!(
        documented,
        constants.keys().collect::<Vec<_>>(),
        "codes in docs/exit-codes.md and in abi/src/exit.rs"
    );
    for (code, name) in constants {
        let row = rows.get(&code).map_or("", String::as_str);
        assert!(row.contains(&format!("`{name}`")), "the row of {code} names {name}: {row}");
    }
}

/// The verbs that `sentctl --help` lists.
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_option_is_in_the_users_guide() {
    let stage = Stage::new();
    let guide = read("docs/using.md");
    let mut verbs = verbs(&stage.run("sentctl --help"));
    assert!(verbs.len() >= 19, "the verbs are read rightly: {verbs:?}");
    verbs.push("snapshot rm".to_owned());
    for verb in verbs {
        assert!(guide.contains(&format!("sentctl {verb}")), "docs/using.md has `sentctl {verb}`");
        let help = stage.run(&format!("sentctl {verb} --help"));
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let options: BTreeSet<&str> = words.filter(|word| word.len() > 2 && word.starts_with("--")).collect();
        for option in options.into_iter().filter(|option| *option != "--help") {
            assert!(guide.contains(option), "docs/using.md explains {option} of {verb}");
        }
    }
}

#[test]
fn every_figure_of_the_benchmark_is_in_the_users_guide() {
    let refused = Stage::new().run("sentctl bench --only no-such-figure");
    let (_, names) = refused.trim().split_once("choose from ").unwrap_or_default();
    assert!(names.contains(", "), "the message lists the figures: {refused}");
    let guide = read("docs/using.md");
    for name in names.split(", ") {
        assert!(guide.contains(&format!("`{name}`")), "docs/using.md explains {name}");
    }
}

/// The key in a line of a JSON document with an object's members a line each, if it is indented that far.
fn key(line: &str, indent: usize) -> Option<&str> {
    let text = line.strip_prefix(&" ".repeat(indent))?.strip_prefix('"')?;
    text.split_once("\": {").map(|(key, _)| key)
}

#[test]
fn every_route_of_the_socket_is_in_its_table() {
    let (description, table) = (read("docs/openapi.json"), read("docs/api.md"));
    let (mut path, mut routes) = (None, 0);
    for line in description.lines() {
        if key(line, 2).is_some() {
            path = None;
        } else if let Some(found) = key(line, 4) {
            path = Some(found).filter(|found| found.starts_with('/'));
        } else if let (Some(path), Some(method)) = (path, key(line, 6)) {
            let row = format!("| {} | `{path}` |", method.to_uppercase());
            assert!(table.contains(&row), "docs/api.md has a row {row}");
            routes += 1;
        }
    }
    assert!(routes >= 15, "docs/openapi.json is read rightly: {routes} routes");
}

#[test]
fn every_kind_of_error_on_the_socket_is_in_its_table() {
    let source = read("control/src/error.rs");
    let (_, after) = source.split_once("fn kind(").unwrap_or_default();
    let (kinds, _) = after.split_once("fn status(").unwrap_or_default();
    let kinds: BTreeSet<&str> = kinds.split('"').skip(1).step_by(2).collect();
    assert!(kinds.len() >= 10, "the source is read rightly: {kinds:?}");
    let table = read("docs/api.md");
    for kind in kinds {
        let mut rows = table.lines().filter(|line| line.starts_with("| `"));
        assert!(rows.any(|row| row.contains(&format!("`{kind}`"))), "docs/api.md has a row for {kind}");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let document = read(&path);
        let folder = repository().join(&path);
        let folder = folder.parent().map(std::path::Path::to_owned).unwrap_or_default();
        for link in document.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{path} links to {file}, which is not there");
            }
        }
    }
}

#[test]
fn every_decision_is_in_the_index() {
    let index = read("docs/decisions/README.md");
    for path in documents() {
        if let Some(name) = path.strip_prefix("docs/decisions/")
            && name != "README.md"
        {
            assert!(index.contains(&format!("({name})")), "docs/decisions/README.md lists {name}");
        }
    }
}
