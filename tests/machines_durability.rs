//! What machines and their snapshots survive: commands that are killed, a disk that is full, writes that
//! were lost. (Machines' processes that are killed are in `machines.rs`.)

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, Instants, last_number};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The counter goes on.
fn goes_on(home: &Home) {
    let number = last_number(&home.output("m", "counter")).unwrap_or(0);
    home.wait_for("m", "counter", |output| last_number(output).is_some_and(|last| last != number));
}

fn whole(home: &Home, machine: &str) {
    let verified = home.json(&["-m", machine, "verify"]);
    assert_eq!(verified["problems"], json!([]), "{machine}: {verified}");
}

/// Kills a command at some instant of the time it takes, which `usual` learns. Whether it was done by then.
fn cut_short(home: &Home, words: &[&str], instants: &mut Instants, usual: &mut Duration) -> bool {
    let began = Instant::now();
    let mut child = home.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A little longer than it takes, so that now and then it is done.
    let end = began + instants.below(*usual + *usual / 8);
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            *usual = (*usual + began.elapsed()) / 2;
            return status.success();
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// Waits until no process has a machine, or one says that it runs. Which of the two.
fn settled(home: &Home, machine: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = home.run(&["--json", "-m", machine, "status"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        if status.get("pid").is_some_and(Value::is_u64) {
            return true;
        }
        let lock = OpenOptions::new().read(true).open(home.of(machine, ".runtime/lock"));
        let free = lock.map_or(true, |lock| {
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
        });
        if free {
            return false;
        }
        assert!(Instant::now() < deadline, "a process has {machine} and does not answer");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A machine that was to be made by a command that was killed: it is there or not, and then the command is
/// no worse for having been tried. It is gone when this returns.
fn made_or_not(home: &Home, machine: &str, words: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut runs = settled(home, machine);
    while !home.of(machine, "machine.json").exists() {
        let output = home.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        // What was asked for may go on after who asked has gone.
        let busy = said.contains("in use by process") || said.contains("already");
        assert!(output.status.success() || busy, "`{}` once more: {said}", words.join(" "));
        assert!(Instant::now() < deadline, "{machine} is never made: {said}");
        runs = settled(home, machine);
    }
    if !runs {
        home.ok(&["boot", machine]);
    }
    whole(home, machine);
    home.ok(&["-m", machine, "stop", "--discard"]);
    fs::remove_dir_all(home.of(machine, "")).unwrap();
}

#[test]
fn killed_commands_leave_machines_that_work_and_a_store_that_is_whole() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "marked"]);
    let export = home.path().join("marked.snap");
    home.ok(&["-m", "m", "export", "marked", "-o", export.to_str().unwrap()]);
    home.ok(&["init", "target"]);
    home.ok(&["-m", "target", "stop"]);
    let refusal = home.refused(&["-m", "target", "import", export.to_str().unwrap()]);
    let key = refusal.split("--trust ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let import = ["-m", "target", "import", export.to_str().unwrap(), "--trust", &key];

    let mut instants = Instants::new();
    let mut usual = [Duration::from_millis(60); 6];
    let mut done = [0; 6];
    for round in 0..home::kills(60) {
        let which = (round % 6) as usize;
        let name = format!("n{round}");
        let tag = format!("t{round}");
        let fork = ["fork", "m", &name];
        let init = ["init", &name];
        let words: &[&str] = match which {
            0 => &["-m", "m", "snapshot", "-t", &tag],
            1 => &["-m", "m", "rollback", "marked"],
            2 => &["-m", "m", "prune", "--keep", "3"],
            3 => &import,
            4 => &fork,
            _ => &init,
        };
        let reported = cut_short(&home, words, &mut instants, &mut usual[which]);
        done[which] += u32::from(reported);
        let log = home.json(&["-m", "m", "log"]);
        let tagged = log.as_array().unwrap().iter().any(|one| one["tags"] == json!([tag]));
        assert!(tagged || which != 0 || !reported, "round {round}: a durable snapshot is gone");
        match which {
            3 => drop(home.ok(&import)),
            4 => made_or_not(&home, &name, &fork),
            5 => made_or_not(&home, &name, &init),
            _ => {}
        }
        goes_on(&home);
        if round % 6 == 5 {
            home.ok(&["-m", "m", "snapshot"]);
            // What has a tag is never pruned, and would make each of thousands of rounds a little longer.
            home.run(&["-m", "m", "snapshot", "rm", "--force", &format!("t{}", round - 5)]);
            whole(&home, "m");
            whole(&home, "target");
        }
    }
    assert!(done.iter().sum::<u32>() > 0, "every command was killed: instants too early");
    // Back to a snapshot from before all this, in a process of its own.
    home.ok(&["-m", "m", "stop", "--discard"]);
    home.ok(&["boot", "m"]);
    home.ok(&["-m", "m", "rollback", "marked"]);
    goes_on(&home);
    whole(&home, "m");
}

#[test]
fn a_killed_removal_leaves_the_machine_whole_or_nothing_that_a_second_one_does_not_finish() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "kept"]);
    home.ok(&["fork", "m", "goes"]);
    home.ok(&["-m", "goes", "stop"]);
    let mut instants = Instants::new();
    let mut usual = Duration::from_millis(40);
    let mut whole_after = 0;
    for round in 0..home::kills(40) {
        let done = cut_short(&home, &["rm", "goes"], &mut instants, &mut usual);
        let there = home.of("goes", "machine.json").exists();
        assert!(!(done && there), "round {round}");
        if there {
            whole(&home, "goes");
            whole_after += 1;
            continue;
        }
        match round % 3 {
            0 => drop(home.ok(&["prune", "--unclaimed"])),
            // What was removed by the first is no error of the second; what is gone is.
            1 => drop(home.run(&["rm", "goes"])),
            _ => {}
        }
        home.ok(&["fork", "m", "goes"]);
        home.ok(&["-m", "goes", "stop"]);
        whole(&home, "goes");
        whole(&home, "m");
    }
    println!("{whole_after} were killed before anything was done");
    home.ok(&["rm", "goes"]);
    let left = home.json(&["prune", "--unclaimed"]);
    assert_eq!(left["machines"], json!([]), "{left}");
    let folders: Vec<_> = fs::read_dir(home.path().join("machines")).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    goes_on(&home);
    whole(&home, "m");
}

#[test]
fn a_killed_fork_or_init_leaves_nothing_that_reclaiming_does_not_give_back() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "kept"]);
    let mut instants = Instants::new();
    let mut usual = [Duration::from_millis(60); 2];
    for round in 0..home::kills(24) {
        let name = format!("n{round}");
        let words: &[&str] = if round % 2 == 0 { &["fork", "m", &name] } else { &["init", &name] };
        cut_short(&home, words, &mut instants, &mut usual[(round % 2) as usize]);
        // While who was asked may still be about it.
        home.ok(&["prune", "--unclaimed"]);
        settled(&home, &name);
        if round % 2 == 0 {
            // A machine's process is killed at its work for another.
            home.kill("m");
            home.ok(&["boot", "m"]);
        }
        home.ok(&["prune", "--unclaimed"]);
        if home.of(&name, "machine.json").exists() {
            whole(&home, &name);
            home.ok(&["rm", "--force", &name]);
        }
        whole(&home, "m");
        let left = home.json(&["prune", "--unclaimed"]);
        assert_eq!(left["machines"], json!([]), "round {round}: {left}");
    }
    goes_on(&home);
}

/// Files of a folder, below it too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// What a power loss makes of bytes that were not synced.
type Tail<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// What lies in the files that hold snapshots.
fn stored(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths = files(&home.path().join("store"));
    paths.push(home.of("m", ".runtime/timeline.redb"));
    paths
        .into_iter()
        .map(|path| (fs::read(&path).unwrap(), path))
        .map(|(bytes, path)| (path, bytes))
        .collect()
}

#[test]
fn lost_and_torn_writes_of_the_last_snapshot_leave_the_one_before_it_or_itself() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "old"]);
    home.ok(&["-m", "m", "stop", "--discard"]);
    let before = stored(&home);
    home.ok(&["boot", "m"]);
    goes_on(&home);
    home.ok(&["snapshot", "-t", "new"]);
    home.ok(&["-m", "m", "stop", "--discard"]);
    let after = stored(&home);

    // Packs are synced before the index is written, and the index before the timeline. So a power loss
    // leaves any of these: bytes behind a pack's end by the index, of any contents and as many as arrived;
    // an index that is the old one or the new one; a timeline likewise, that is not ahead of the index.
    // (What a commit of redb's leaves that was cut short: `snapshot/tests/behaviour/power.rs`.)
    let put = |states: [bool; 3], tail: Tail<'_>| {
        let _ = fs::remove_dir_all(home.path().join("store/packs"));
        fs::create_dir_all(home.path().join("store/packs")).unwrap();
        for (path, new) in &after {
            let old = before.iter().find(|(found, _)| found == path).map(|(_, bytes)| bytes.as_slice());
            let kind = match path.file_name().unwrap().to_str().unwrap() {
                "index.redb" => 1,
                "timeline.redb" => 2,
                name if name.ends_with(".pack") => 0,
                _ => continue,
            };
            let bytes = match (kind, states[kind]) {
                (_, true) => new.clone(),
                // A pack that the index does not yet name, or names up to where it ended.
                (0, false) => {
                    let old = old.unwrap_or_default();
                    [old, &tail(&new[old.len()..])].concat()
                }
                (_, false) => old.unwrap().to_vec(),
            };
            fs::write(path, bytes).unwrap();
        }
    };
    let cut = |new: &[u8]| new[..new.len() / 3].to_vec();
    let garbled = |new: &[u8]| new.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>();
    let lost = |new: &[u8]| vec![0; new.len()];
    let nothing = |_: &[u8]| Vec::new();
    let tails: [Tail<'_>; 4] = [&cut, &garbled, &lost, &nothing];
    for tail in tails {
        for (states, new) in [
            ([false, false, false], false),
            ([true, false, false], false),
            ([true, true, false], false),
            ([true, true, true], true),
        ] {
            put(states, tail);
            home.ok(&["boot", "m"]);
            goes_on(&home);
            whole(&home, "m");
            let log = home.ok(&["-m", "m", "log"]);
            assert!(log.contains("[old]"), "{log}");
            assert_eq!(log.contains("[new]"), new, "{states:?}: {log}");
            // And the next one is taken on top of what was left.
            home.ok(&["snapshot"]);
            whole(&home, "m");
            home.ok(&["-m", "m", "stop", "--discard"]);
        }
    }
}

#[test]
fn a_flipped_byte_of_any_file_that_holds_snapshots_ends_no_process_by_a_signal() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "old"]);
    home.ok(&["-m", "m", "stop", "--discard"]);
    let good = stored(&home);
    for (path, bytes) in &good {
        for part in 0..6 {
            let at = bytes.len() * part / 6;
            if bytes.is_empty() {
                continue;
            }
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[bytes[at] ^ 0x11], at as u64).unwrap();
            for words in [&["-m", "m", "verify"][..], &["-m", "m", "log"], &["boot", "m"]] {
                let output = home.run(words);
                let code = output.status.code();
                assert!(matches!(code, Some(0 | 1 | 125)), "{} at {at}: {output:?}", path.display());
            }
            if settled(&home, "m") {
                home.ok(&["-m", "m", "stop", "--discard"]);
            }
            for (path, bytes) in &good {
                fs::write(path, bytes).unwrap();
            }
        }
    }
    home.ok(&["boot", "m"]);
    goes_on(&home);
    whole(&home, "m");
}

#[test]
fn a_damaged_page_is_mended_by_importing_its_snapshot_again() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "kept"]);
    let export = home.path().join("kept.snap");
    home.ok(&["-m", "m", "export", "kept", "-o", export.to_str().unwrap()]);
    home.ok(&["-m", "m", "stop", "--discard"]);
    let pack = files(&home.path().join("store/packs")).remove(0);
    let middle = fs::metadata(&pack).unwrap().len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(&pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    let verified = home.run(&["-m", "m", "verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    home.ok(&["-m", "m", "import", export.to_str().unwrap()]);
    whole(&home, "m");
    home.ok(&["boot", "m"]);
    goes_on(&home);
}
