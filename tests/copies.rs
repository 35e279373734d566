//! Files that are copied into containers and out of them, as their users do it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::{container, finish, shell};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

impl Home {
    /// Copies from one place to another, in a folder of this host.
    fn cp(&self, folder: &Path, from: &str, to: &str) {
        let output = self.command(&["cp", from, to]).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{from} to {to}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }

    fn not_cp(&self, folder: &Path, from: &str, to: &str) -> String {
        let output = self.command(&["cp", from, to]).current_dir(folder).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{from} to {to}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// All names in a folder and below, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(self::names(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        }
        names.push(name);
    }
    names.sort();
    names
}

#[test]
fn folders_go_in_and_come_out_as_they_were() {
    let home = Home::counting();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let large: Vec<u8> = (0..700_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::create_dir_all(here.join("data/deep/er")).unwrap();
    fs::create_dir(here.join("data/empty")).unwrap();
    fs::write(here.join("data/large"), &large).unwrap();
    fs::write(here.join("data/deep/er/note"), "hello").unwrap();
    let long = format!("data/deep/{}", "l".repeat(200));
    fs::write(here.join(&long), "long").unwrap();
    std::os::unix::fs::symlink("deep/er/note", here.join("data/link")).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(here.join("data/large")).unwrap().set_modified(modified).unwrap();

    // Under its own name into what is there, under another one where nothing is.
    home.cp(here, "data", "counter:/");
    home.cp(here, "data", "counter:/other");
    home.cp(here, "data/.", "counter:other/deep");
    home.cp(here, "counter:/data", "back");
    assert_eq!(names(&here.join("back")), names(&here.join("data")));
    assert!(fs::read(here.join("back/large")).unwrap() == large);
    assert_eq!(fs::metadata(here.join("back/large")).unwrap().modified().unwrap(), modified);
    assert_eq!(fs::read_link(here.join("back/link")).unwrap(), Path::new("deep/er/note"));
    assert_eq!(read(&here.join("back/link")), "hello");
    home.cp(here, "counter:/other/deep/deep/er/note", "again");
    assert_eq!(read(&here.join("again")), "hello");
    fs::create_dir(here.join("into")).unwrap();
    home.cp(here, "counter:/data/deep", "into");
    home.cp(here, "counter:/data/deep/er/.", "into");
    home.cp(here, "counter:/data/deep/er/.", "new");
    assert_eq!(read(&here.join("into/deep/er/note")), "hello");
    assert_eq!(
        (read(&here.join("into/note")), read(&here.join("new/note"))),
        ("hello".into(), "hello".into())
    );
    // A file over one that is there, on both sides.
    fs::write(here.join("again"), "shorter and longer").unwrap();
    home.cp(here, "again", "counter:/data/deep/er/note");
    home.cp(here, "counter:/data/deep/er/note", "into/note");
    assert_eq!(read(&here.join("into/note")), "shorter and longer");
    let copied = home.json(&["cp", here.join("again").to_str().unwrap(), "counter:/"]);
    assert_eq!(copied, json!({ "files": 1, "bytes": 18 }));

    // Through pipes, and from one container into another.
    home.start("second", &container("counter"), &["--interval-ms", "5"]);
    let script =
        "cd \"$2\" && $SENTCTL --home \"$1\" cp counter:/data - | $SENTCTL --home \"$1\" cp - second:/ &&
        $SENTCTL --home \"$1\" matrixbox cp second:/data/deep/. - | tar t | sort | head -n 2";
    let ended = finish(&mut shell(script, [home.path(), here]));
    assert_eq!(ended.out(), "er/\ner/note\n");

    // What was copied is in snapshots, and goes with a rollback.
    home.ok(&["snapshot", "-t", "with"]);
    home.cp(here, "again", "counter:/later");
    home.ok(&["rollback", "with"]);
    assert!(home.not_cp(here, "counter:/later", "nothing").contains("has no file /later"));
    home.cp(here, "counter:/again", "still");
}

#[test]
fn what_cannot_be_copied_is_refused_and_nothing_is_lost() {
    let home = Home::counting();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("file"), "file").unwrap();
    fs::create_dir(here.join("folder")).unwrap();
    for (from, to, why) in [
        ("file", "file2", "must be in a container"),
        ("counter:/", "counter:/x", "between a container and this host"),
        ("-", "-", "must be in a container"),
        ("nothing", "counter:/", "cannot copy nothing"),
        ("file", "nobody:/", "no container `nobody` runs"),
        ("nobody:/", "folder", "no container `nobody` runs"),
        ("file", "counter:/none/", "there is no directory /none/"),
        ("file", "counter:/none/deeper", "has no file /none"),
        ("counter:/none", "here", "has no file /none"),
        ("counter:/../x", "here", "leads out"),
    ] {
        let said = home.not_cp(here, from, to);
        assert!(said.contains(why), "{from} to {to}: {said}");
    }
    home.cp(here, "file", "counter:/file");
    assert!(home.not_cp(here, "folder", "counter:/file").contains("is a file"));
    assert!(home.not_cp(here, "counter:/", "file").contains("is a file"));
    assert!(home.not_cp(here, "counter:/file", "none/").contains("there is no directory none/"));
    // More than it has room for: what was there stays, and it goes on.
    fs::write(here.join("large"), vec![1; 16 << 20]).unwrap();
    assert!(home.not_cp(here, "large", "counter:/large").contains("no room"));
    home.cp(here, "counter:/file", "back");
    assert_eq!(read(&here.join("back")), "file");
    let counted = home.output("m", "counter").len();
    home.wait_for("m", "counter", |output| output.len() > counted);
    // Archives of strangers.
    let from = |make: &str| {
        let script = format!("cd \"$2\" && {{ {make}; }} | $SENTCTL --home \"$1\" cp - counter:/ 2>&1");
        let ended = finish(&mut shell(&script, [home.path(), here]));
        assert_eq!(ended.code(), 125, "{make}");
        ended.out()
    };
    let outside = from("tar c -P folder/../file 2>/dev/null");
    assert!(outside.contains("leads out"), "{outside}");
    let pipe = from("mkfifo pipe; tar c pipe");
    assert!(pipe.contains("neither a file nor a directory"), "{pipe}");
    let broken = from("tar c large | head -c 100000");
    assert!(broken.contains("the archive cannot be read"), "{broken}");
    let nonsense = from("head -c 100000 /dev/zero | tr '\\0' x");
    assert!(nonsense.contains("the archive cannot be read"), "{nonsense}");
    // One that has ended has no files.
    home.ok(&["kill", "counter"]);
    assert!(home.not_cp(here, "counter:/file", "gone").contains("no container `counter` runs"));
}

#[test]
fn a_program_finds_what_was_copied_in_and_permissions_do_not_bind_its_owner() {
    let home = Home::with_machine();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("rules"), "version: 1\n").unwrap();
    fs::write(here.join("note"), "only for its owner").unwrap();
    let (cat, rules) = (container("cat"), here.join("rules"));
    let (cat, rules) = (cat.to_str().unwrap(), rules.to_str().unwrap());
    home.ok(&["run", "-d", "-i", "--permissions", rules, "--name", "confined", cat]);
    home.cp(here, "note", "confined:/note");
    home.cp(here, "confined:/note", "back");
    assert_eq!(read(&here.join("back")), "only for its owner");
}

#[test]
fn what_a_container_has_become_is_an_image_that_begins_with_it() {
    let home = Home::with_machine();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let program = here.join("count.wasm");
    fs::copy(container("counter"), &program).unwrap();
    home.ok(&[
        "run",
        "-d",
        "--memory",
        "16M",
        "--cpu",
        "50%",
        "--env",
        "LANG=de",
        "--name",
        "counter",
        program.to_str().unwrap(),
        "--",
        "--interval-ms",
        "5",
    ]);
    fs::create_dir_all(here.join("data/empty")).unwrap();
    fs::write(here.join("data/note"), "kept").unwrap();
    std::os::unix::fs::symlink("note", here.join("data/link")).unwrap();
    home.cp(here, "data", "counter:/");
    let output = home.run(&["commit", "counter", "made:1.0.0"]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("made:1.0.0\n"), "{output:?}");
    let left_out = String::from_utf8(output.stderr).unwrap();
    assert!(left_out.contains("data/link is not in it") && left_out.contains("data/empty is not in it"));
    // It counts on meanwhile, and afterwards.
    let counted = home.output("m", "counter").len();
    home.wait_for("m", "counter", |output| output.len() > counted);

    // It starts as that one was, and has its files.
    home.ok(&["run", "-d", "--name", "again", "made"]);
    home.wait_for_number("m", "again", 5);
    home.cp(here, "again:/data", "back");
    assert_eq!(names(&here.join("back")), ["note"]);
    assert_eq!(read(&here.join("back/note")), "kept");
    let shown = home.json(&["inspect", "made"]);
    assert_eq!((&shown["args"], &shown["env"]), (&json!(["--interval-ms", "5"]), &json!(["LANG=de"])));
    assert_eq!(shown["resources"], json!({ "memory": "16777216", "cpu": "50%" }));

    // And so does an image of that one's container, in a file.
    home.cp(here, "data/note", "again:/data/second");
    let file = here.join("made.tso");
    let file = file.to_str().unwrap();
    let made = home.json(&["matrixbox", "commit", "again", "other:2.0.0", "--output", file]);
    assert_eq!((&made["package"]["name"], &made["left_out"]), (&json!("other"), &json!([])));
    let shown = home.ok(&["inspect", file]);
    assert!(shown.contains("assets/data/second") && shown.contains("read and change / "), "{shown}");

    for (words, why) in [
        (&["commit", "again", "made"][..], "has no version"),
        (&["commit", "again", "Made:1"], "names no image"),
        (&["commit", "nobody", "made:1.0.1"], "no container `nobody`"),
        (&["commit", "again", "made:1.0.0"], "there is another image made:1.0.0"),
        (&["commit", "again", "made:1.0.1", "--output", file], "exists already"),
    ] {
        assert!(home.refused(words).contains(why), "{words:?}");
    }
    home.ok(&["commit", "again", "made:1.0.0", "--replace"]);
    assert!(home.ok(&["inspect", "made"]).contains("assets/data/second"));
    // Its program is another one now.
    fs::copy(container("hello"), &program).unwrap();
    assert!(
        home.refused(&["commit", "counter", "late:1.0.0"]).contains("not what `counter` was started with")
    );
    home.ok(&["kill", "counter"]);
    assert!(home.refused(&["commit", "counter", "late:1.0.0"]).contains("counter"));
}
