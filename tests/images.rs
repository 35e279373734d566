//! Images: packages that a home knows by their names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod greeter;
mod home;
mod machine;

use home::Home;
use serde_json::{Value, json};
use std::fs;

impl Home {
    fn images(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let images = self.json(&["images"]);
        images.as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["version"]))).collect()
    }
}

#[test]
fn an_image_is_added_listed_run_by_its_name_and_removed() {
    let home = Home::empty();
    assert_eq!(home.json(&["images"]), json!([]));
    let missing = home.run(&["run", "greeter"]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no image"), "{missing:?}");
    let (old, new) = (home.greeter("1.9.0", "Good day"), home.greeter("1.10.0", "Hi"));
    assert_eq!(home.ok(&["image", "add", &old, &new]), "greeter:1.9.0\ngreeter:1.10.0\n");
    // Again is nothing new.
    assert_eq!(home.ok(&["image", "add", &old]), "greeter:1.9.0\n");
    // The newest is first, by the rules for versions and not by letters.
    let pair = |version: &str| ("greeter".to_owned(), version.to_owned());
    assert_eq!(home.images(), [pair("1.10.0"), pair("1.9.0")]);
    let listed = home.ok(&["image", "ls"]);
    assert!(listed.starts_with("NAME     VERSION  DIGEST"), "{listed}");
    assert!(listed.contains("greeter  1.10.0   ") && listed.contains("ed25519:"), "{listed}");

    assert_eq!(home.ok(&["run", "greeter", "--", "Ada"]), "Hi, Ada.\n");
    assert_eq!(home.ok(&["run", "greeter:1.9.0", "--", "Ada"]), "Good day, Ada.\n");
    assert_eq!(home.json(&["inspect", "greeter:1.9.0"])["package"]["version"], json!("1.9.0"));
    // A file of that name comes first, and is no image.
    let output = home.command(&["inspect", "greeter"]).current_dir(home.path()).output().unwrap();
    assert!(output.status.success());
    fs::write(home.path().join("greeter"), b"no package").unwrap();
    let output = home.command(&["inspect", "greeter"]).current_dir(home.path()).output().unwrap();
    assert!(!output.status.success());

    // In a machine that stays, and started again.
    home.ok(&["init", "m"]);
    let started = home.json(&["run", "-d", "greeter:1.9.0", "--", "Ada"]);
    assert_eq!((&started["name"], &started["package"]["version"]), (&json!("greeter"), &json!("1.9.0")));
    home.wait_for("m", "greeter", |output| output == "Good day, Ada.\n");
    home.ok(&["matrixbox", "restart", "greeter"]);
    home.wait_for("m", "greeter", |output| output == "Good day, Ada.\nGood day, Ada.\n");

    // Another package of that name and version is not taken unasked.
    let other = home.greeter("1.9.0", "Servus");
    assert!(home.refused(&["image", "add", &other]).contains("--replace"));
    assert_eq!(home.ok(&["run", "greeter:1.9.0", "--", "Ada"]), "Good day, Ada.\n");
    home.ok(&["image", "add", "--replace", &other]);
    assert_eq!(home.ok(&["run", "greeter:1.9.0", "--", "Ada"]), "Servus, Ada.\n");

    assert_eq!(home.ok(&["image", "rm", "greeter:1.10.0"]), "greeter:1.10.0\n");
    assert_eq!(home.ok(&["run", "greeter", "--", "Ada"]), "Servus, Ada.\n");
    assert!(home.refused(&["image", "rm", "greeter:1.10.0"]).contains("no image greeter:1.10.0"));
    assert!(home.refused(&["image", "rm", "../machines"]).contains("names no image"));
    assert_eq!(home.ok(&["image", "rm", "greeter"]), "greeter:1.9.0\n");
    assert!(home.images().is_empty());
    assert!(home.refused(&["matrixbox", "restart", "greeter"]).contains("greeter"));
}

#[test]
fn a_damaged_image_is_listed_and_does_not_run() {
    let home = Home::empty();
    home.ok(&["image", "add", &home.greeter("1.0.0", "Hi")]);
    let path = home.path().join("images/greeter/1.0.0.tso");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(home.ok(&["images"]).contains("greeter  1.0.0    damaged"));
    let refused = home.run(&["run", "greeter"]);
    assert_eq!(refused.status.code(), Some(126), "{refused:?}");
    // One that is what it is not is no better.
    home.ok(&["image", "add", "--replace", &home.greeter("2.0.0", "Hi")]);
    fs::rename(home.path().join("images/greeter/2.0.0.tso"), &path).unwrap();
    assert!(home.ok(&["images"]).contains("damaged"));
    // What is no package is not taken.
    fs::write(home.path().join("none.tso"), b"none").unwrap();
    let refused = home.refused(&["image", "add", home.path().join("none.tso").to_str().unwrap()]);
    assert!(refused.contains("package"), "{refused}");
}
