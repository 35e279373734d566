//! Folders of this host in containers, as their users give them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::{Finished, container, finish, sentctl};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn at(folder: &Path, rest: &str) -> String {
    format!("{}:{rest}", folder.display())
}

/// A run with these folders of a program with these arguments.
fn run(volumes: &[String], more: &[&str], program: &str, args: &[&str]) -> Finished {
    let mut command = sentctl();
    command.arg("run");
    for volume in volumes {
        command.args(["-v", volume]);
    }
    command.args(more).arg(container(program)).arg("--").args(args);
    finish(&mut command)
}

#[test]
fn a_folder_of_the_host_is_a_file_system_as_posix_has_it() {
    let here = folder();
    let checked = run(&[at(here.path(), "/data")], &[], "fs", &["--in", "/data/tree"]);
    assert_eq!(checked.code(), 0, "{checked}");
    assert!(checked.out().ends_with("150 checks, 0 failed\n"), "{checked}");
    assert_eq!(fs::read_dir(here.path()).unwrap().count(), 0, "all that was made was removed");
    // The root may be one, too.
    let checked = run(&[at(here.path(), "/")], &[], "fs", &[]);
    assert!(checked.out().ends_with("150 checks, 0 failed\n"), "{checked}");
}

#[test]
fn programs_and_the_host_see_the_same_and_nothing_beside_it() {
    let (here, there) = (folder(), folder());
    fs::write(here.path().join("note"), "from the host").unwrap();
    fs::write(there.path().join("other"), "second").unwrap();
    symlink("/etc/hostname", here.path().join("out")).unwrap();
    symlink(there.path().join("other"), here.path().join("beside")).unwrap();
    let volumes = [at(here.path(), "/data"), at(there.path(), "/data/more:ro")];
    let args = [
        "read:/data/note",
        "write:/data/made",
        "list:/data/more",
        "write:/data/more/x",
        "read:/data/out",
        "read:/data/beside",
        "read:/data/../data/note",
        "list:/",
    ];
    let ran = run(&volumes, &[], "probe", &args);
    assert_eq!(
        ran.out(),
        "read:/data/note: from the host\nwrite:/data/made: 7 bytes\nlist:/data/more: other\n\
         write:/data/more/x: Read-only file system\nread:/data/out: Operation not permitted\n\
         read:/data/beside: Operation not permitted\nread:/data/../data/note: Operation not permitted\nlist:/: data\n"
    );
    assert_eq!(ran.code(), 4);
    assert_eq!(fs::read_to_string(here.path().join("made")).unwrap(), "written");
    assert!(!there.path().join("x").exists());
}

#[test]
fn permissions_say_whether_there_may_be_one() {
    let (here, rules) = (folder(), folder());
    let rules = rules.path().join("rules.zky");
    let volume = [at(here.path(), "/data")];
    let with = |text: &str, volume: &[String]| {
        fs::write(&rules, format!("version: 1\n{text}\n")).unwrap();
        run(volume, &["--permissions", rules.to_str().unwrap()], "probe", &["write:/data/f"])
    };
    let refused = with("", &volume);
    assert_eq!(refused.code(), 126, "{refused}");
    assert!(refused.to_string().contains("files: [{ path: /data, access: write }]"), "{refused}");
    let refused = with("files: [{ path: /, access: read }]", &volume);
    assert!(refused.to_string().contains(":ro gives it"), "{refused}");
    let below = "files: [{ path: /data, access: write }, { path: /data/private, access: none }]";
    assert!(with(below, &volume).to_string().contains("a rule about /data/private"));
    assert_eq!(with("files: [{ path: /data, access: write }]", &volume).code(), 0);
    let only = [at(here.path(), "/data:ro")];
    let ran = with("files: [{ path: /data, access: read }]", &only);
    assert_eq!(ran.out(), "write:/data/f: Read-only file system\n");

    for (volume, code, why) in [
        ("nothing:/data", 125, "--volume nothing: No such file"),
        ("Cargo.toml:/data", 125, "not a directory"),
        ("data", 125, "FOLDER:PATH[:ro]"),
        (".:data", 125, "absolute path"),
        (".:/a/../b", 126, "without `.` and `..`"),
    ] {
        let refused = run(&[volume.to_owned()], &[], "probe", &[]);
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.to_string().contains(why), "{volume}: {refused}");
    }
    let nine: Vec<String> = (0..9).map(|number| at(here.path(), &format!("/{number}"))).collect();
    assert!(run(&nine, &[], "probe", &[]).to_string().contains("8 at most"));
}

impl Home {
    /// Starts `db` in the machine `m`, over a folder of the host, with one row in it.
    fn start_database(&self, here: &Path) {
        let (program, volume) = (container("minidb"), at(here, "/data"));
        let program = program.to_str().unwrap();
        self.ok(&["run", "-d", "-i", "--name", "db", "-v", &volume, program, "--", "/data/t.db"]);
        self.tell("CREATE TABLE t (n INTEGER);\nINSERT INTO t VALUES (1);\nSELECT n FROM t;\n");
        self.wait_for("m", "db", |output| output == "1\n");
    }

    /// Gives `db` of the machine `m` a line, and its input stays open.
    fn tell(&self, line: &str) {
        let socket = self.of("m", ".runtime/control.sock");
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--fail", "--data-binary", "@-", "--unix-socket"]).arg(socket);
        command.arg("http://m/v1/containers/db/input").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{line}");
    }
}

#[test]
fn a_database_on_the_host_goes_on_across_a_boot_and_outlives_its_container() {
    let (home, here) = (Home::with_machine(), folder());
    home.start_database(here.path());
    // A file that is open is opened anew, by the process that goes on.
    home.ok(&["snapshot", "-t", "one"]);
    home.ok(&["stop"]);
    home.ok(&["boot"]);
    home.tell("INSERT INTO t VALUES (2);\nSELECT n FROM t ORDER BY n;\n");
    home.wait_for("m", "db", |output| output == "1\n1\n2\n");
    // Healed, it reads what is there: the host's folder is in no snapshot.
    home.ok(&["heal", "container", "db"]);
    home.tell("SELECT COUNT(*) FROM t;\n");
    home.wait_for("m", "db", |output| output.lines().count() == 4);
    home.ok(&["kill", "db"]);
    let read = run(&[at(here.path(), "/data")], &[], "minidb", &["/data/t.db", "SELECT n FROM t ORDER BY n"]);
    assert_eq!(read.out(), "1\n2\n");
}

#[test]
fn a_program_whose_folder_is_gone_is_told_so_by_the_process_that_goes_on() {
    let (home, here) = (Home::with_machine(), folder());
    home.start_database(here.path());
    home.ok(&["stop"]);
    drop(here);
    home.ok(&["boot"]);
    home.tell("INSERT INTO t VALUES (2);\nSELECT COUNT(*) FROM t;\n");
    let errors = home.of("m", ".container/db/stderr.log");
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::read(&errors).unwrap_or_default().is_empty() {
        assert!(Instant::now() < deadline, "it waits: {}", home.ok(&["ps", "-a"]));
    }
}

#[test]
fn many_containers_ask_at_once_and_each_is_answered() {
    let (home, here) = (Home::with_machine(), folder());
    let program = container("fs");
    let program = program.to_str().unwrap();
    for number in 0..6 {
        let (name, tree) = (format!("c{number}"), format!("/data/t{number}"));
        let volume = at(here.path(), "/data");
        home.ok(&[
            "run", "-d", "--memory", "8M", "--name", &name, "-v", &volume, program, "--", "--in", &tree,
        ]);
    }
    // Snapshots, and a machine that is put back, among them.
    for _ in 0..5 {
        home.ok(&["snapshot"]);
    }
    for number in 0..6 {
        let name = format!("c{number}");
        let output = home.wait_for("m", &name, |output| output.contains(" checks, "));
        assert!(output.ends_with("150 checks, 0 failed\n"), "{output}");
    }
    // A folder that is not there any more: the machine goes on, and says so where it is asked.
    let gone = folder();
    let volume = at(gone.path(), "/data");
    let probe = container("counter");
    home.ok(&[
        "run",
        "-d",
        "--name",
        "left",
        "-v",
        &volume,
        probe.to_str().unwrap(),
        "--",
        "--interval-ms",
        "5",
    ]);
    home.ok(&["snapshot", "-t", "with"]);
    drop(gone);
    home.ok(&["rollback", "with", "--discard"]);
    let counted = home.output("m", "left").len();
    home.wait_for("m", "left", |output| output.len() > counted);
    let refused = home.refused(&["run", "-d", "-v", &volume, probe.to_str().unwrap()]);
    assert!(refused.contains("--volume") && refused.contains("No such file"), "{refused}");
}
