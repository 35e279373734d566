//! Repositories in folders: packages that are found, installed and brought up to date as their owner has signed it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod greeter;
mod home;
mod machine;

use home::Home;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A repository whose owner has a home.
struct Packages {
    owner: Home,
    folder: PathBuf,
}

impl Packages {
    fn new() -> Self {
        let owner = Home::empty();
        let folder = owner.path().join("packages");
        fs::create_dir(&folder).unwrap();
        Self { owner, folder }
    }

    fn place(&self) -> &str {
        self.folder.to_str().unwrap()
    }

    /// Puts a version of the greeter there, of whatever it then says.
    fn put(&self, version: &str, hello: &str) {
        let file = self.owner.greeter(version, hello);
        fs::rename(file, self.folder.join(format!("greeter-{version}.tso"))).unwrap();
    }

    /// Signs what is there.
    fn make(&self) -> Value {
        self.owner.json(&["repo", "make", self.place()])
    }

    fn copy_of(&self, file: &str) -> Vec<u8> {
        fs::read(self.folder.join(file)).unwrap()
    }
}

fn installed(home: &Home) -> Vec<String> {
    let images = home.json(&["images"]);
    let name =
        |image: &Value| format!("{}:{}", image["name"].as_str().unwrap(), image["version"].as_str().unwrap());
    images.as_array().unwrap().iter().map(name).collect()
}

fn write(folder: &Path, file: &str, bytes: &[u8]) {
    fs::write(folder.join(file), bytes).unwrap();
}

#[test]
fn packages_are_found_installed_and_brought_up_to_date() {
    let packages = Packages::new();
    packages.put("1.0.0", "Hello");
    let made = packages.make();
    assert_eq!(
        (&made["name"], &made["serial"], &made["packages"]),
        (&json!("packages"), &json!(1), &json!(1))
    );
    assert_eq!(packages.make()["serial"], json!(1), "nothing has changed");
    let key = made["key"].as_str().unwrap();
    let user = Home::empty();
    for words in [vec!["search"], vec!["install", "greeter"]] {
        assert!(user.refused(&words).contains("sentctl repo add"));
    }
    assert_eq!(user.ok(&["update"]), "");
    let added = user.ok(&["repo", "add", "main", packages.place(), "--key", key]);
    assert_eq!(added, "main: 1 packages, serial 1\n");
    assert!(user.refused(&["repo", "add", "main", packages.place(), "--key", key]).contains("already"));
    assert_eq!(user.json(&["repo", "ls"])[0]["place"], json!(packages.place()));

    let found = user.json(&["search", "GREET"]);
    assert_eq!((&found[0]["version"], &found[0]["installed"]), (&json!("1.0.0"), &json!(false)));
    assert_eq!(user.json(&["search", "greet", "nothing of that kind"]), json!([]));
    assert!(user.refused(&["install", "nobody"]).contains("sentctl search"));
    assert!(user.refused(&["install", "greeter:9.0.0", "nobody"]).contains("greeter:9.0.0"));
    assert_eq!(user.ok(&["install", "greeter"]), "greeter:1.0.0\n");
    assert_eq!(user.ok(&["install", "greeter"]), "greeter:1.0.0\n", "again is no harm");
    assert_eq!(user.ok(&["run", "greeter", "--", "Ada"]), "Hello, Ada.\n");
    assert_eq!(user.json(&["search"])[0]["installed"], json!(true));

    packages.put("1.1.0", "Good day");
    packages.put("2.0.0-rc.1", "Ahoy");
    assert_eq!(packages.make()["serial"], json!(2));
    assert!(user.refused(&["install", "greeter:1.1.0"]).contains("sentctl update"));
    let updated = user.json(&["update"]);
    assert_eq!(updated[0]["newer"], json!(["greeter 1.0.0 -> 1.1.0"]));
    assert_eq!(user.ok(&["install", "greeter"]), "greeter:1.1.0\n");
    assert_eq!(user.ok(&["run", "greeter", "--", "Ada"]), "Good day, Ada.\n");
    assert_eq!(user.ok(&["install", "greeter:2.0.0-rc.1", "--from", "main"]), "greeter:2.0.0-rc.1\n");
    assert_eq!(user.json(&["update", "main"])[0]["newer"], json!([]));
    assert_eq!(user.ok(&["repo", "rm", "main"]), "main\n");
    assert_eq!(installed(&user), ["greeter:2.0.0-rc.1", "greeter:1.1.0", "greeter:1.0.0"]);
    assert!(user.refused(&["repo", "rm", "main"]).contains("no repository"));
}

#[test]
fn what_its_owner_has_not_signed_is_not_taken() {
    let packages = Packages::new();
    packages.put("1.0.0", "Hello");
    let key = packages.make()["key"].as_str().unwrap().to_owned();
    let user = Home::empty();
    let stranger = key.replace(&key[10..14], "0000");
    assert!(user.refused(&["repo", "add", "main", packages.place(), "--key", &stranger]).contains("signed"));
    assert_eq!(user.json(&["repo", "ls"]), json!([]));
    user.ok(&["repo", "add", "main", packages.place(), "--key", &key]);

    // Another package under the name of the one that is offered, though it is signed, too.
    let genuine = packages.copy_of("greeter-1.0.0.tso");
    packages.put("1.0.0", "Gotcha");
    let refused = user.refused(&["install", "greeter"]);
    assert!(refused.contains("digest"), "{refused}");
    for bytes in [&genuine[..100], &[genuine.as_slice(), b"x"].concat(), b""] {
        write(&packages.folder, "greeter-1.0.0.tso", bytes);
        user.refused(&["install", "greeter"]);
    }
    assert_eq!(installed(&user), [""; 0]);
    write(&packages.folder, "greeter-1.0.0.tso", &genuine);

    // A registry that was changed, one of somebody else, and one that is older than what was seen.
    let (registry, signatures) = (packages.copy_of("registry.yaml"), packages.copy_of("signatures.yaml"));
    packages.put("1.1.0", "Good day");
    packages.make();
    user.ok(&["update"]);
    let newer = packages.copy_of("registry.yaml");
    let changed = String::from_utf8(newer.clone()).unwrap().replace("serial: 2", "serial: 3");
    write(&packages.folder, "registry.yaml", changed.as_bytes());
    assert!(user.refused(&["update"]).contains("signature"));
    write(&packages.folder, "registry.yaml", &registry);
    write(&packages.folder, "signatures.yaml", &signatures);
    let refused = user.refused(&["update"]);
    assert!(refused.contains("serial 1") && refused.contains("2 was seen"), "{refused}");
    let other = Home::empty();
    let refused = other.refused(&["repo", "make", packages.place()]);
    assert!(refused.contains("not of this key"), "{refused}");
    fs::remove_file(packages.folder.join("registry.yaml")).unwrap();
    assert_eq!(other.json(&["repo", "make", packages.place()])["serial"], json!(1));
    assert!(user.refused(&["update"]).contains("signed"));
    // What is known from before still is.
    assert_eq!(user.ok(&["install", "greeter:1.0.0"]), "greeter:1.0.0\n");
    // A file of another name than its package would not be found.
    fs::rename(packages.folder.join("greeter-1.1.0.tso"), packages.folder.join("other.tso")).unwrap();
    assert!(other.refused(&["repo", "make", packages.place()]).contains("greeter-1.1.0.tso"));
}

#[test]
fn one_repository_is_in_no_others_way() {
    let (one, two) = (Packages::new(), Packages::new());
    one.put("1.0.0", "Hello");
    two.put("1.2.0", "Good day");
    let user = Home::empty();
    for (name, packages) in [("one", &one), ("two", &two)] {
        let made = packages.make();
        user.ok(&["repo", "add", name, packages.place(), "--key", made["key"].as_str().unwrap()]);
    }
    fs::remove_dir_all(&one.folder).unwrap();
    let output = user.run(&["update"]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("one:"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "two: 1 packages, serial 1\n");
    // The newest of all.
    assert_eq!(user.ok(&["install", "greeter"]), "greeter:1.2.0\n");
    assert!(user.refused(&["install", "greeter:1.2.0", "--from", "one"]).contains("no repository has"));
}
