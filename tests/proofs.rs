//! What happens to a machine is recorded, held against its contract, and proved; and anybody can check that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;
#[path = "../zk/tests/interop/node.rs"]
mod node;

use home::{Home, Instants, jumps, kill, kills, numbers};
use machine::container;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Freezes the counter's memory, which changes all the time.
fn freezing(on_violation: &str) -> String {
    format!(
        "version: 1\non_violation: {on_violation}\nregions:\n  - {{ container: counter, rule: frozen }}\n"
    )
}

impl Home {
    /// What `zk-verify` says of a machine, which must end with this code.
    fn checked(&self, machine: &str, words: &[&str], code: i32) -> Value {
        let words = [&["--json", "-m", machine, "zk-verify"], words].concat();
        let output = self.run(&words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Proves what is not proved yet; everything is in order then.
    fn all_proved(&self, machine: &str) -> Value {
        let made = self.json(&["-m", machine, "zk", "prove"]);
        assert_eq!(made["problems"], json!([]));
        let checked = self.checked(machine, &[], 0);
        assert_eq!((&checked["unproved"], &checked["problems"]), (&json!([]), &json!([])), "{checked}");
        checked
    }

    /// All transitions of a machine, in order: origin, and whether it is proved.
    fn transitions(&self, machine: &str) -> Vec<(String, String)> {
        let log = self.json(&["-m", machine, "log"]);
        let of = |info: &Value| info["transitions"].as_array().unwrap().clone();
        let mut all: Vec<Value> = log.as_array().unwrap().iter().flat_map(of).collect();
        all.sort_by_key(|transition| transition["record"].as_u64().unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.iter().map(|transition| (text(&transition["origin"]), text(&transition["proof"]))).collect()
    }

    fn origins(&self, machine: &str) -> Vec<String> {
        self.transitions(machine).into_iter().map(|(origin, _)| origin).collect()
    }

    /// Each snapshot that there is came about by a transition.
    fn nothing_is_unrecorded(&self, when: &str) {
        for info in self.json(&["log"]).as_array().unwrap() {
            assert!(!info["transitions"].as_array().unwrap().is_empty(), "{when}: {info}");
        }
    }

    fn chain(&self, machine: &str, name: &str) -> PathBuf {
        self.of(machine, ".lock/zk.trace").join(name)
    }

    /// Leaves a record, which was proved, as if its process had been killed before it was written.
    fn unwrite(&self, machine: &str, sequence: u64) {
        for kind in ["record", "opening", "proof"] {
            fs::remove_file(self.chain(machine, &format!("{sequence:08}.{kind}"))).unwrap();
        }
    }
}

/// Does something while one byte of a file is another.
fn with_a_byte_changed<T>(path: &Path, at: usize, work: impl FnOnce() -> T) -> T {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 0x10;
    fs::write(path, bad).unwrap();
    let done = work();
    fs::write(path, good).unwrap();
    done
}

#[test]
fn a_snapshot_is_proved_by_itself_and_what_is_changed_behind_it_is_found() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "v1"]);
    let waiting = home.json(&["log"])[1]["transitions"][0]["proof"].clone();
    assert!([json!("unproved"), json!("proving"), json!("proved")].contains(&waiting), "{waiting}");
    // Nobody asks for it.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !home.chain("m", "00000001.proof").exists() {
        assert!(Instant::now() < deadline, "no proof came");
        std::thread::sleep(Duration::from_millis(20));
    }
    home.ok(&["snapshot", "-t", "v2"]);
    let checked = home.all_proved("m");
    assert_eq!((&checked["records"], &checked["proved"]), (&json!(3), &json!(2)));
    assert_eq!((&checked["key_origin"], &checked["snapshots"]), (&json!("development"), &json!(3)));
    assert!(home.ok(&["zk-verify"]).contains("development key"));
    let log = home.json(&["log"]);
    let last = &log[2]["transitions"][0];
    assert_eq!((&last["origin"], &last["proof"]), (&json!("snapshot"), &json!("proved")), "{last}");
    let dirty = last["dirty"].as_array().unwrap();
    assert!(dirty.contains(&json!("container-0")) && !dirty.contains(&json!("runtime-text")), "{last}");
    assert!(
        home.ok(&["log"]).contains("snapshot 2: proved with a development key; changed: vcpu-and-devices")
    );
    assert!(!home.of("m", ".lock/zk.remind/proofs.json").exists(), "nothing waits");
    let kernel: Value =
        serde_json::from_slice(&fs::read(home.of("m", ".lock/binary.zk/kernel.json")).unwrap()).unwrap();
    assert_eq!(kernel["regions"].as_array().unwrap().len(), 4, "{kernel}");
    assert!(home.of("m", ".lock/binary.zk/image-0.json").exists());

    let part =
        home.checked("m", &["--from", "v1", "--to", "v2", "--known", checked["head"].as_str().unwrap()], 0);
    assert_eq!((&part["records"], &part["proved"]), (&json!(1), &json!(1)));
    let missing = home.checked("m", &["--known", &"ab".repeat(32)], 1);
    assert!(missing["problems"][0].as_str().unwrap().contains("abab"), "{missing}");
    let distrusted = home.checked("m", &["--key", &"cd".repeat(32)], 1);
    assert!(distrusted["problems"][0].as_str().unwrap().contains("cdcd"), "{distrusted}");

    // While it runs, and while it does not.
    for stopped in [false, true] {
        if stopped {
            home.ok(&["stop", "--discard"]);
        }
        let found = |path: &Path, at: usize, expected: &str| {
            let found = with_a_byte_changed(path, at, || home.checked("m", &[], 1));
            let problems = found["problems"].to_string();
            assert!(problems.contains(expected), "{}, byte {at}: {problems}", path.display());
        };
        for name in ["00000000.record", "00000001.record", "00000002.record"] {
            let path = home.chain("m", name);
            for at in [0, 30, 120, fs::read(&path).unwrap().len() - 1] {
                found(&path, at, name);
            }
        }
        for at in [3, 40, 80, 120, 190] {
            found(&home.chain("m", "00000002.proof"), at, "00000002.proof");
        }
        found(&home.chain("m", "00000001.opening"), 500, "00000001.opening");
        let pack = home.path().join("store/packs/1.pack");
        found(&pack, fs::read(&pack).unwrap().len() / 2, "snapshot");
        let contract = fs::read_dir(home.chain("m", "")).unwrap().map(|entry| entry.unwrap().path());
        let contract =
            contract.into_iter().find(|path| path.extension().is_some_and(|x| x == "zky")).unwrap();
        found(&contract, 4, "contract");
        let kernel = home.of("m", ".lock/binary.zk/kernel.json");
        found(&kernel, 20, "kernel.json");
        home.checked("m", &[], 0);
    }
    // One that is missing at the end is missing to who knows of it, and one in the middle to everybody.
    fs::rename(home.chain("m", "00000001.record"), home.path().join("aside")).unwrap();
    let cut = home.checked("m", &[], 1);
    assert!(
        cut["problems"][0].as_str().unwrap().contains("record 1 of the chain is expected and 2 is there"),
        "{cut}"
    );
}

#[test]
fn proofs_that_a_killed_process_owes_are_made_by_the_next_one() {
    let home = Home::counting();
    let mut taken = 0;
    // A process that was quicker with its proofs than the test with its signal owes none.
    let unproved = loop {
        for _ in 0..3 {
            home.ok(&["snapshot"]);
            taken += 1;
        }
        home.kill("m");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !String::from_utf8_lossy(&home.run(&["status"]).stdout).contains("is stopped") {
            assert!(Instant::now() < deadline, "it is not gone");
        }
        let said: Value = serde_json::from_slice(&home.run(&["--json", "zk-verify"]).stdout).unwrap();
        if said["unproved"] != json!([]) {
            break said;
        }
        home.ok(&["boot"]);
    };
    // The remind says what waits; the chain says it, too.
    assert_eq!(home.checked("m", &[], 2), unproved);
    assert_eq!(
        unproved["unproved"].as_array().unwrap().len() as u64 + unproved["proved"].as_u64().unwrap(),
        taken
    );
    assert!(home.of("m", ".lock/zk.remind/proofs.json").exists());
    home.ok(&["boot"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !home.chain("m", &format!("{taken:08}.proof")).exists() {
        assert!(Instant::now() < deadline, "no proof came");
        std::thread::sleep(Duration::from_millis(20));
    }
    home.all_proved("m");

    // One that was killed before the record of its last snapshot was written: the next one writes it.
    home.ok(&["stop"]);
    home.all_proved("m");
    let head = home.checked("m", &[], 0)["head"].clone();
    home.unwrite("m", taken + 1);
    home.ok(&["boot"]);
    let checked = home.all_proved("m");
    assert_eq!(checked["records"], json!(taken + 2));
    assert_ne!(checked["head"], head, "it was written anew");
    let origins = home.origins("m");
    assert_eq!((origins.len() as u64, &*origins[0]), (taken + 2, "genesis"));
    assert!(origins[1..].iter().all(|origin| origin == "snapshot"), "{origins:?}");
}

#[test]
fn going_back_to_where_the_chain_ends_is_recorded_by_the_next_process() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "early"]);
    home.all_proved("m");
    home.ok(&["rollback", "early"]);
    let before = home.all_proved("m");
    home.kill("m");
    // What a process leaves that is killed before it has recorded both.
    let records = before["records"].as_u64().unwrap();
    for sequence in [records - 2, records - 1] {
        home.unwrite("m", sequence);
    }
    home.ok(&["boot"]);
    let after = home.all_proved("m");
    assert_eq!(after["records"], before["records"]);
    let origins = home.origins("m");
    assert_eq!(origins[origins.len() - 2..], ["snapshot", "rollback"], "{origins:?}");
    home.nothing_is_unrecorded("after the boot");
}

#[test]
fn killed_at_any_instant_a_machine_loses_no_transition() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "early"]);
    let (mut instants, mut usual) = (Instants::new(), Duration::from_millis(40));
    for round in 0..kills(12) {
        let pid = home.pid("m").unwrap();
        let words: &[&str] = if round % 2 == 0 { &["snapshot"] } else { &["rollback", "early"] };
        let began = Instant::now();
        let mut child = home.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(instants.below(usual + usual / 4));
        kill(pid);
        if child.wait().unwrap().success() {
            usual = (usual + began.elapsed()) / 2;
        }
        home.ok(&["boot", "m"]);
        let checked = home.run(&["--json", "zk-verify"]);
        let said: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(said["problems"], json!([]), "round {round}: {said}");
        home.nothing_is_unrecorded(&format!("round {round}"));
    }
    home.all_proved("m");
}

#[test]
fn a_chain_that_cannot_be_written_is_told_and_goes_on_when_it_can() {
    let home = Home::counting();
    home.ok(&["snapshot"]);
    home.all_proved("m");
    let (chain, aside) = (home.chain("m", ""), home.of("m", "aside"));
    fs::rename(&chain, &aside).unwrap();
    fs::write(home.of("m", ".lock/zk.trace"), "in the way").unwrap();
    // The snapshot is durable all the same; the next one is refused.
    home.ok(&["snapshot", "-t", "kept"]);
    assert!(home.refused(&["snapshot"]).contains("zk.trace"));
    let remind = home.of("m", ".lock/zk.remind/proofs.json");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&remind).unwrap_or_default().contains("zk.trace") {
        assert!(Instant::now() < deadline, "nobody is told");
    }
    fs::remove_file(home.of("m", ".lock/zk.trace")).unwrap();
    fs::rename(&aside, &chain).unwrap();
    home.ok(&["snapshot"]);
    assert_eq!(home.all_proved("m")["records"], json!(4));
    assert!(!home.of("m", ".lock/zk.remind/proofs.json").exists());
}

#[test]
fn going_back_and_forking_are_transitions_too() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "early"]);
    home.ok(&["rollback", "early"]);
    home.ok(&["rollback", "--undo"]);
    home.ok(&["rollback", "early", "--discard"]);
    let expected = ["genesis", "snapshot", "snapshot", "rollback", "snapshot", "rollback", "rollback"];
    assert_eq!(home.origins("m"), expected);
    home.ok(&["fork", "m", "twin"]);
    home.ok(&["-m", "twin", "snapshot"]);
    home.ok(&["-m", "m", "fork", "m", "other", "--from", "early"]);
    let (twin, other) = (home.all_proved("twin"), home.all_proved("other"));
    assert_eq!((&twin["proved"], &other["proved"]), (&json!(2), &json!(1)));
    assert_eq!(home.origins("twin"), ["fork", "snapshot"]);
    let of = |machine: &str| fs::read(home.chain(machine, "00000000.record")).unwrap();
    let proved = home.all_proved("m");
    let parent = hex(proved["head"].as_str().unwrap());
    assert!(contains(&of("other"), &parent), "the fork follows the record of the machine it was made from");
    // A stopped machine can be forked, and a fork without the other machine goes on.
    home.ok(&["-m", "m", "stop", "--discard"]);
    home.ok(&["fork", "m", "third"]);
    home.ok(&["rm", "m"]);
    assert_eq!(home.all_proved("third")["proved"], json!(1));
    assert_eq!(home.json(&["-m", "twin", "zk", "rollup"])[0]["last"], json!(1));
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_contract_refuses_a_snapshot_or_marks_it_or_puts_the_machine_back() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "before"]);
    let contract = home.of("m", "permissions.zky");
    fs::write(&contract, freezing("reject")).unwrap();
    home.wait_for_number("m", "counter", 20);
    let count = |home: &Home| home.json(&["status"])["snapshots"].clone();
    let before = count(&home);
    let refused = home.run(&["--json", "snapshot"]);
    assert_eq!(refused.status.code(), Some(125));
    let refused: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(refused["error"]["kind"], json!("contract"));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("pages of the frozen region") && message.contains("the first at 0x"),
        "{message}"
    );
    assert!(home.refused(&["rollback", "before"]).contains("--discard"));
    assert!(home.refused(&["stop"]).contains("contract"));
    assert_eq!(count(&home), before);
    home.ok(&["rollback", "before", "--discard"]);

    fs::write(&contract, "version: 1\non_violation: sometimes\n").unwrap();
    let unreadable = home.refused(&["snapshot"]);
    assert!(unreadable.contains("permissions.zky") && unreadable.contains("line 2"), "{unreadable}");

    fs::write(&contract, freezing("flag")).unwrap();
    let written = numbers(&home.output("m", "counter"));
    home.wait_for("m", "counter", |output| numbers(output).len() > written.len() + 5);
    home.ok(&["snapshot", "-t", "marked"]);
    let log = home.ok(&["log"]);
    assert!(log.contains("FLAGGED: ") && log.contains("pages of the frozen region"), "{log}");
    let checked = home.all_proved("m");
    let flagged = checked["flagged"].as_array().unwrap();
    assert_eq!(flagged.len(), 1, "{checked}");
    assert!(fs::read_to_string(home.of("m", "recycle.trace")).unwrap().contains("\"what\":\"contract\""));

    fs::write(&contract, freezing("rollback")).unwrap();
    let written = numbers(&home.output("m", "counter"));
    let (before, jumped) = (count(&home), jumps(&written).len());
    home.wait_for("m", "counter", |output| numbers(output).len() > written.len() + 20);
    let refused = home.refused(&["snapshot"]);
    assert!(refused.contains("the machine is back"), "{refused}");
    assert_eq!(count(&home), before);
    // It goes on from the snapshot that was marked.
    home.wait_for("m", "counter", |output| jumps(&numbers(output)).len() == jumped + 1);
    fs::remove_file(&contract).unwrap();
    home.ok(&["snapshot"]);
    home.all_proved("m");
}

#[test]
fn without_proofs_everything_else_works_and_is_recorded() {
    let home = Home::empty();
    home.ok(&["init", "m", "--zk=false"]);
    home.start("counter", &container("counter"), &["--interval-ms", "5"]);
    home.wait_for_number("m", "counter", 5);
    home.ok(&["snapshot", "-t", "early"]);
    home.ok(&["rollback", "early"]);
    home.ok(&["fork", "m", "twin"]);
    home.ok(&["-m", "twin", "snapshot"]);
    assert_eq!(home.origins("m"), ["genesis", "snapshot", "snapshot", "rollback", "snapshot"]);
    assert_eq!(home.origins("twin"), ["fork", "snapshot"]);
    let lines = fs::read_to_string(home.of("m", ".trace/transitions")).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(home.refused(&["-m", "m", "zk-verify"]).contains("--zk=false"));
    assert!(home.refused(&["-m", "m", "zk", "prove"]).contains("--zk=false"));
    // A line that a crash has cut short is written again.
    home.ok(&["-m", "m", "stop"]);
    let whole = fs::read_to_string(home.of("m", ".trace/transitions")).unwrap();
    fs::write(home.of("m", ".trace/transitions"), &whole[..whole.len() - 30]).unwrap();
    home.ok(&["boot", "m"]);
    assert_eq!(home.origins("m").len(), 6);
    assert!(!home.path().join("keys").exists() && !home.of("m", ".lock/zk.trace").exists());
    fs::write(home.of("m", "permissions.zky"), freezing("reject")).unwrap();
    home.wait_for_number("m", "counter", 40);
    assert!(home.refused(&["-m", "m", "snapshot"]).contains("contract"));
}

#[test]
fn a_third_party_checks_a_chain_with_nothing_but_files_and_other_programs_check_its_proofs() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "v2"]);
    home.ok(&["snapshot", "-t", "v3"]);
    assert!(home.refused(&["zk", "export", "genesis", "--format", "snarkjs"]).contains("nothing to prove"));
    let head = home.all_proved("m")["head"].as_str().unwrap().to_owned();
    let made = home.json(&["zk", "rollup"]);
    assert_eq!((&made[0]["first"], &made[0]["last"]), (&json!(0), &json!(2)), "{made}");
    assert_eq!(made[0]["key_origin"], json!("development"));
    let key = made[0]["key"].as_str().unwrap();
    let signer = home.json(&["status"])["public_key"].as_str().unwrap().to_owned();
    // Elsewhere, with no machine and no keys.
    let auditor = Home::empty();
    let file = auditor.path().join("chain.rollup");
    fs::copy(made[0]["path"].as_str().unwrap(), &file).unwrap();
    let file = file.to_str().unwrap();
    let code = |words: &[&str]| auditor.run(&[&["zk-verify", file], words].concat()).status.code().unwrap();
    assert!(auditor.refused(&["zk-verify", file]).contains("--key"));
    assert_eq!(code(&["--key", key, "--signer", &signer, "--known", &head]), 0);
    assert_eq!(code(&["--key", &"ab".repeat(32)]), 1);
    assert_eq!(code(&["--key", key, "--signer", &"ab".repeat(32)]), 1);
    assert_eq!(code(&["--key", key, "--known", &"ab".repeat(32)]), 1);
    let len = fs::read(file).unwrap().len();
    for at in [9, len / 3, len / 2, len - 5] {
        assert_eq!(with_a_byte_changed(Path::new(file), at, || code(&["--key", key])), 1, "byte {at}");
    }
    let twice = auditor.run(&["zk-verify", file, file, "--key", key]);
    assert_eq!(twice.status.code(), Some(1), "a batch that is there twice: {twice:?}");

    // snarkjs, on the machine's own export.
    let folder = auditor.path().join("proof");
    let folder_name = folder.to_str().unwrap();
    home.ok(&["zk", "export", "v2", "--format", "snarkjs", "-o", folder_name]);
    assert!(
        home.refused(&["zk", "export", "v2", "--format", "snarkjs", "-o", folder_name]).contains("--force")
    );
    let verify = || {
        node::snarkjs(&["groth16", "verify", "verification_key.json", "public.json", "proof.json"], &folder)
    };
    let (good, said) = verify();
    assert!(good && said.contains("OK!"), "{said}");
    fs::rename(folder.join("public.json"), folder.join("v2.json")).unwrap();
    home.ok(&["zk", "export", "v3", "--format", "snarkjs", "-o", folder_name, "--force"]);
    fs::rename(folder.join("v2.json"), folder.join("public.json")).unwrap();
    let (good, said) = verify();
    assert!(!good && said.contains("Invalid proof"), "{said}");
    let solidity = home.ok(&["zk", "export", "--format", "solidity"]);
    assert!(solidity.contains("contract TransitionVerifier") && solidity.contains(key), "{solidity}");
}

#[test]
fn a_machine_that_is_pinned_to_other_keys_proves_everything_again() {
    let home = Home::counting();
    home.ok(&["snapshot"]);
    let before = home.all_proved("m")["key"].clone();
    let made = home.json(&["zk", "keys", "setup"]);
    assert_eq!((&made["origin"], &made["pinned"]), (&json!("development"), &json!(false)));
    assert_eq!(home.all_proved("m")["key"], before, "a machine keeps its keys");
    let made = made["verifying"].as_str().unwrap();
    assert!(home.refused(&["zk", "keys", "pin", "nothing"]).contains("no keys"));
    assert_eq!(home.json(&["zk", "keys", "pin", &made[..12]])["pinned"], json!(true));
    let after = home.all_proved("m");
    assert_eq!((&after["key"], &after["proved"]), (&json!(made), &json!(1)));
    let keys = home.json(&["zk", "keys", "show"]);
    assert_eq!(keys.as_array().unwrap().len(), 2);
    // Keys that are not the pinned ones are not used. Nobody proves for a machine that is stopped, so what its other
    // keys have proved waits until it is asked for.
    home.ok(&["stop"]);
    let other = before.as_str().unwrap();
    home.ok(&["zk", "keys", "pin", &other[..12]]);
    let proving = home.path().join("keys").join(other).join("proving.key");
    let failed = with_a_byte_changed(&proving, 1000, || home.run(&["--json", "zk", "prove"]));
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(String::from_utf8(failed.stdout).unwrap().contains("digest"), "it says why");
    assert!(home.of("m", ".lock/zk.remind/proofs.json").exists());
    home.all_proved("m");
    // What is no key of a ceremony is not imported.
    let file = home.path().join("bad.zkey");
    fs::write(&file, b"zkey\x01\x00\x00\x00").unwrap();
    assert!(home.refused(&["zk", "keys", "import", file.to_str().unwrap()]).contains("cut short"));
}

/// A ceremony of full size takes snarkjs five minutes, most of it for powers of tau (`zk/tests/interop/ceremony.rs`); a
/// contribution to keys that are there takes seconds, and what it writes is a ceremony's file all the same.
#[test]
fn keys_that_snarkjs_has_made_are_imported_and_used() {
    let home = Home::counting();
    let ours = sentient_zk::keys::development::setup().unwrap();
    fs::write(home.path().join("first.zkey"), sentient_zk::export::prover_files::zkey(&ours)).unwrap();
    let words = ["zkey", "contribute", "first.zkey", "final.zkey", "--name=one", "-e=some entropy"];
    node::snarkjs_does(&words, home.path());
    let file = home.path().join("final.zkey");
    let imported = home.json(&["zk", "keys", "import", file.to_str().unwrap()]);
    assert_eq!(imported["origin"], json!("ceremony"), "{imported}");
    let key = imported["verifying"].as_str().unwrap();
    assert_ne!(key, ours.verifying().digest().to_string());
    home.ok(&["zk", "keys", "pin", &key[..12]]);
    home.ok(&["snapshot"]);
    assert_eq!(home.all_proved("m")["key"], json!(key));
    // A byte of a point in it is not what it was.
    let failed = with_a_byte_changed(&file, 2_000_000, || {
        home.refused(&["zk", "keys", "import", file.to_str().unwrap()])
    });
    assert!(failed.contains("zkey"), "{failed}");
}

#[test]
fn a_contract_is_checked_without_a_machine() {
    let home = Home::empty();
    let file = home.path().join("c.zky");
    let name = file.to_str().unwrap();
    fs::write(&file, "version: 1\non_violation: flag\nregions:\n  - { kind: heap, rule: frozen }\n").unwrap();
    let found = home.json(&["contract", "verify", name]);
    assert!(found["frozen"].as_array().unwrap().contains(&json!("heap")), "{found}");
    fs::write(&file, "version: 1\non_violation: flag\nregions:\n  - { kind: heep, rule: frozen }\n").unwrap();
    let refused = home.refused(&["contract", "verify", name]);
    assert!(refused.contains("heep") && refused.contains("line 4"), "{refused}");
}
