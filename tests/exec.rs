//! Programs that are run with the files of a container.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::{container, finish, finish_with};
use std::fs;
use std::time::{Duration, Instant};

/// A machine with a container `box` that waits for input, and has a folder of this home's at `/data`.
fn with_box() -> Home {
    let home = Home::with_machine();
    let folder = home.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("given"), "by the host").unwrap();
    let cat = container("cat");
    let volume = format!("{}:/data", folder.display());
    home.ok(&["run", "-d", "-i", "--memory", "24M", "--name", "box", "-v", &volume, cat.to_str().unwrap()]);
    home
}

fn exec<'a>(program: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["exec", "--memory", "16M", "box", program, "--"], args].concat()
}

fn path(name: &str) -> String {
    container(name).to_str().unwrap().to_owned()
}

/// Names of all containers there are, ended ones, too.
fn names(home: &Home) -> Vec<String> {
    let all = home.json(&["ps", "--all"]);
    all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_program_has_the_files_of_the_container_it_is_run_with() {
    let home = with_box();
    let note = home.path().join("note");
    fs::write(&note, "copied in").unwrap();
    home.ok(&["cp", note.to_str().unwrap(), "box:/"]);
    let probe = path("probe");
    let words = ["read:/note", "write:/made", "list:/", "read:/data/given", "write:/data/there"];
    let ran = home.ok(&exec(&probe, &words));
    assert_eq!(
        ran,
        "read:/note: copied in\nwrite:/made: 7 bytes\nlist:/: data note made\nread:/data/given: by the host\n\
         write:/data/there: 7 bytes\n"
    );
    // What it has made is the container's, and the folder's.
    assert_eq!(home.ok(&exec(&probe, &["read:/made"])), "read:/made: written\n");
    home.ok(&["cp", "box:/made", home.path().to_str().unwrap()]);
    assert_eq!(fs::read_to_string(home.path().join("made")).unwrap(), "written");
    assert_eq!(fs::read_to_string(home.path().join("folder/there")).unwrap(), "written");
    assert_eq!(names(&home), ["box"], "it is gone when it has ended");
    // Its streams and its code are the command's.
    let cat = path("cat");
    let piped = finish_with(&mut home.command(&["exec", "-i", "box", &cat]), b"through\n");
    assert_eq!((piped.code(), piped.out().as_str()), (0, "through\n"), "{piped}");
    assert_eq!(finish(&mut home.command(&exec(&path("hello"), &["--exit", "7"]))).code(), 7);
}

#[test]
fn a_container_is_a_file_system_as_posix_has_it_to_several_at_once() {
    let home = with_box();
    let fs = path("fs");
    let all: Vec<_> = ["/one", "/two", "/three"]
        .into_iter()
        .map(|folder| {
            let mut command = home.command(&exec(&fs, &["--in", folder]));
            std::thread::spawn(move || finish(&mut command))
        })
        .collect();
    for number in 0..5 {
        home.ok(&["snapshot", "-t", &format!("meanwhile-{number}")]);
    }
    for one in all {
        let finished = one.join().unwrap();
        assert!(finished.out().ends_with("150 checks, 0 failed\n"), "{finished}");
    }
    assert_eq!(
        home.ok(&exec(&path("probe"), &["list:/"])),
        "list:/: data\n",
        "all that was made was removed"
    );
}

#[test]
fn it_ends_with_the_container_and_does_not_begin_without_one() {
    let home = with_box();
    let faults = path("faults");
    // One that computes, one that waits for a file of the other's now and then, and one in the first one's name.
    home.ok(&["exec", "-d", "--memory", "4M", "--name", "loops", "box", &faults, "--", "loop"]);
    let press = home.ok(&["exec", "-d", "-i", "--memory", "8M", "box", &path("cat")]);
    assert_eq!(press, "box-exec\n");
    // Its files are those of the other one for everybody.
    home.ok(&["exec", "box", "--memory", "8M", &path("probe"), "--", "write:/made"]);
    assert_eq!(home.run(&["cp", "box-exec:/made", home.path().to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(home.ok(&["exec", "-d", "-i", "--memory", "8M", "loops", &path("cat")]), "box-exec-2\n");
    home.ok(&["kill", "box"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while home.json(&["ps"]).as_array().unwrap().iter().any(|one| one["state"] != "ended") {
        assert!(Instant::now() < deadline, "{}", home.ok(&["ps"]));
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = home.refused(&exec(&path("hello"), &[]));
    assert!(refused.contains("no container `box` runs"), "{refused}");
    // Nor with a package that may not do it.
    home.ok(&["matrixbox", "restart", "box"]);
    let rules = home.path().join("rules.zky");
    fs::write(&rules, "version: 1\nfiles: [{ path: /tmp, access: write }]\n").unwrap();
    let rules = rules.to_str().unwrap();
    let output = home.run(&["exec", "--permissions", rules, "box", &path("hello")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("path: /"), "{said}");
    fs::write(home.path().join("rules.zky"), "version: 1\nfiles: [{ path: /, access: write }]\n").unwrap();
    home.ok(&["exec", "--memory", "8M", "--permissions", rules, "box", &path("hello")]);
}

#[test]
fn a_container_that_is_put_back_takes_what_others_have_open_with_it() {
    let home = with_box();
    let db = path("minidb");
    let run = |line: &str| {
        let mut command = home.command(&["exec", "-i", "--memory", "16M", "box", &db, "--", "/db"]);
        finish_with(&mut command, line.as_bytes())
    };
    let made = run("create table t (n integer);\ninsert into t values (1);\n");
    assert_eq!(made.code(), 0, "{made}");
    home.ok(&["snapshot", "-t", "one"]);
    assert_eq!(run("insert into t values (2);\n").code(), 0);
    home.ok(&["heal", "container", "box", "--to", "one"]);
    let count = run("select count(*) from t;\n");
    assert!(count.out().contains('1') && !count.out().contains('2'), "{count}");
    home.ok(&["stop"]);
    home.ok(&["boot", "m"]);
    assert_eq!(run("insert into t values (3);\n").code(), 0);
    let count = run("select count(*) from t;\n");
    assert!(count.out().contains('2'), "{count}");
}
