//! Packages: made, looked at and run as their users do it, and what their permissions keep a program from.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::{container, root};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

/// A module that does nothing, by a function of a name of its own:
/// `(module (memory (export "memory") 2) (func (export "begin_")))`.
const BEGIN: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x02\x07\x13\x02\x06memory\x02\0\x06begin_\0\0\x0a\x04\x01\x02\0\x0b";

fn greeter() -> PathBuf {
    root().join("resources/packages/greeter")
}

impl Home {
    fn file(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }

    /// Packs a folder; gives the package's path.
    fn pack(&self, folder: &Path, name: &str) -> String {
        let file = self.file(name);
        self.ok(&["pack", folder.to_str().unwrap(), "-o", &file]);
        file
    }

    /// A folder with a package's description and program.
    fn folder(&self, name: &str, meta: &str, program: &[u8]) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(folder.join("assets")).unwrap();
        fs::write(folder.join("meta.yaml"), format!("tso: 1\nname: {name}\nversion: 1.0.0\n{meta}")).unwrap();
        fs::write(folder.join("main.wasm"), program).unwrap();
        folder
    }

    /// The probe under these permissions: what it has printed, and what it was told.
    fn probe(&self, permissions: &str, tries: &[&str]) -> (String, String) {
        let file = self.file("permissions.zky");
        fs::write(&file, format!("version: 1\n{permissions}")).unwrap();
        let program = container("probe");
        let words = ["run", "--explain", "--permissions", &file, program.to_str().unwrap(), "--"];
        let output = self.run(&[&words[..], tries].concat());
        (text(&output.stdout), text(&output.stderr))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

#[test]
fn a_package_is_packed_inspected_and_run() {
    let home = Home::empty();
    let file = home.file("greeter.tso");
    let packed = home.json(&["pack", greeter().to_str().unwrap(), "-o", &file]);
    let package = &packed["package"];
    assert_eq!((&package["name"], &package["version"]), (&json!("greeter"), &json!("1.0.0")));
    let signer = package["signers"][0].as_str().unwrap().to_owned();
    assert!(signer.starts_with("ed25519:"));

    // The same contents and key are the same bytes; what is there is not overwritten unasked.
    let again = home.pack(&greeter(), "again.tso");
    assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap());
    assert!(home.refused(&["pack", greeter().to_str().unwrap(), "-o", &file]).contains("--force"));
    home.ok(&["pack", "--force", greeter().to_str().unwrap(), "-o", &file]);

    let shown = home.json(&["inspect", "--signer", &signer, &file]);
    assert_eq!(shown["package"], *package);
    assert_eq!(shown["permissions"]["files"][1], json!({ "path": "/var", "access": "write" }));
    assert_eq!(shown["files"][2]["path"], json!("assets/greetings.txt"));
    assert!(home.ok(&["inspect", &file]).contains("read and change /var"));

    assert_eq!(
        home.ok(&["run", "--signer", &signer, &file, "--", "Ada", "Bob"]),
        "Hello, Ada.\nHello, Bob.\n"
    );
    assert_eq!(home.ok(&["run", "--env", "LANG=eo", &file, "--", "Ada"]), "Saluton, Ada.\n");
    let report = home.run(&["--json", "run", &file]);
    let report: Value = serde_json::from_slice(&report.stderr).unwrap();
    assert_eq!(report["package"]["digest"], package["digest"]);

    // With a second signature, by the other algorithm, it is the same package.
    let both = home.file("both.tso");
    let packed = home.json(&["pack", "--ml-dsa", greeter().to_str().unwrap(), "-o", &both]);
    assert_eq!(packed["package"]["digest"], package["digest"]);
    let second = packed["package"]["signers"][1].as_str().unwrap();
    assert!(second.starts_with("ml-dsa-65:"));
    assert_eq!(home.ok(&["run", "--signer", second, &both, "--", "Ada"]), "Hello, Ada.\n");
}

#[test]
fn a_package_that_was_changed_or_signed_by_others_does_not_run() {
    let (home, stranger) = (Home::empty(), Home::empty());
    let file = home.pack(&greeter(), "greeter.tso");
    let good = fs::read(&file).unwrap();
    for at in [0, 600, 5_000, good.len() / 2, good.len() - 1500, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fs::write(&file, bad).unwrap();
        for words in [&["run", &file][..], &["inspect", &file]] {
            let output = home.run(words);
            // Without its first name it is no package but a bad program.
            assert_eq!(code(&output), 126, "{at}: {output:?}");
            assert_eq!(text(&output.stdout), "", "{at}");
        }
    }
    fs::write(&file, &good[..good.len() - 512]).unwrap();
    assert_eq!(code(&home.run(&["run", &file])), 126);

    // A whole one, by somebody else.
    let theirs = stranger.pack(&greeter(), "greeter.tso");
    fs::write(&file, good).unwrap();
    let ours = home.json(&["inspect", &file])["package"]["signers"][0].as_str().unwrap().to_owned();
    for words in [&["run", "--signer", &ours, &theirs][..], &["inspect", "--signer", &ours, &theirs]] {
        let output = home.run(words);
        assert_eq!(code(&output), 126);
        assert!(text(&output.stderr).contains(&ours), "{output:?}");
    }
    let plain = container("hello");
    let output = home.run(&["run", "--signer", &ours, plain.to_str().unwrap()]);
    assert!(code(&output) == 126 && text(&output.stderr).contains("it is no package"), "{output:?}");
}

#[test]
fn folders_that_make_no_package_are_refused_with_the_reason() {
    let home = Home::empty();
    let refused = |folder: &Path| {
        let output = home.run(&["pack", folder.to_str().unwrap(), "-o", &home.file("x.tso")]);
        assert!(matches!(code(&output), 125 | 126), "{output:?}");
        assert!(!home.path().join("x.tso").exists());
        text(&output.stderr)
    };
    assert!(refused(&home.path().join("nowhere")).contains("meta.yaml: it is missing"));
    let folder = home.folder("a", "colour: red\n", BEGIN);
    assert!(refused(&folder).contains("colour"));
    let folder = home.folder("b", "", b"no program");
    assert!(refused(&folder).contains("not WebAssembly"));
    let folder = home.folder("c", "", BEGIN);
    fs::write(folder.join("permissions.zky"), "version: 1\nfiles: [{ path: tmp, access: read }]\n").unwrap();
    assert!(refused(&folder).contains("`tmp` does not begin with `/`"));
    // Keys that others may read sign nothing.
    let key = home.file("key");
    fs::write(&key, format!("{}\n", "07".repeat(32))).unwrap();
    let folder = home.folder("d", "", BEGIN);
    let words = ["pack", folder.to_str().unwrap(), "--key", &key, "-o", &home.file("x.tso")];
    assert!(home.refused(&words).contains("chmod 600"));
}

#[test]
fn a_package_names_the_function_that_runs() {
    let home = Home::empty();
    let folder = home.folder("entry", "entry: begin_\n", BEGIN);
    home.ok(&["run", &home.pack(&folder, "entry.tso")]);
    let folder = home.folder("start", "", BEGIN);
    let output = home.run(&["run", &home.pack(&folder, "start.tso")]);
    assert!(code(&output) == 126 && text(&output.stderr).contains("`_start`"), "{output:?}");
    let folder = home.folder("other", "entry: main\n", BEGIN);
    let output = home.run(&["run", &home.pack(&folder, "other.tso")]);
    assert!(code(&output) == 126 && text(&output.stderr).contains("`main`"), "{output:?}");
}

#[test]
fn what_is_not_allowed_is_refused_in_the_guest_and_told_with_its_rule() {
    let home = Home::empty();
    let no = "Capabilities insufficient";
    let (out, told) = home.probe("", &["write:/x", "list:/", "wall", "monotonic", "random"]);
    assert_eq!(out, format!("write:/x: {no}\nlist:/: {no}\nwall: {no}\nmonotonic: {no}\nrandom: {no}\n"));
    for rule in [
        "files: [{ path: /x, access: write }]",
        "files: [{ path: /, access: read }]",
        "clocks: { wall: 1ms }",
        "clocks: { monotonic: 1us }",
        "random: true",
    ] {
        assert!(told.contains(&format!("allowed by {rule}")), "{rule}: {told}");
    }
    // What was told does what it says.
    let (out, told) = home.probe(
        "files:\n- { path: /, access: read }\n- { path: /tmp, access: write }\n\
         clocks: { wall: 1ms, monotonic: 1us }\nrandom: true\n",
        &[
            "write:/tmp/x",
            "read:/tmp/x",
            "list:/",
            "wall",
            "monotonic",
            "random",
            "write:/x",
            "remove:/tmp/x",
        ],
    );
    assert_eq!(
        out,
        format!(
            "write:/tmp/x: 7 bytes\nread:/tmp/x: written\nlist:/: tmp\nwall: steps of 1000000 ns, and no finer\n\
             monotonic: steps of 1000 ns, and no finer\nrandom: 16 bytes\nwrite:/x: {no}\nremove:/tmp/x: removed\n"
        )
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    // Without --explain nothing is told; and a plain program may do everything.
    let file = home.file("permissions.zky");
    fs::write(&file, "version: 1\n").unwrap();
    let program = container("probe");
    let output = home.run(&["run", "--permissions", &file, program.to_str().unwrap(), "--", "random"]);
    assert_eq!((code(&output), text(&output.stderr)), (1, String::new()));
    home.ok(&["run", program.to_str().unwrap(), "--", "random", "write:/x", "wall"]);
}

#[test]
fn limits_of_permissions_hold() {
    let home = Home::empty();
    let everything = "files: [{ path: /, access: write }, { path: /tmp, access: write }]\n";
    let with = |limits: &str, tries: &[&str]| home.probe(&format!("{everything}limits: {limits}\n"), tries).0;
    // Three streams, the root, and three more.
    assert_eq!(with("{ open_files: 7 }", &["open:9"]), "open:9: 3 open, No file descriptors available\n");
    let filled = with("{ file_bytes: 64K }", &["fill:1000000"]);
    assert!(filled.contains("No space left on device"), "{filled}");
    // A second's worth comes at once, and what is more takes as long as it must.
    let began = Instant::now();
    let said = with("{ output: 1000 }", &["say:3000"]);
    assert_eq!(said.len(), "say:3000: ".len() + 3000 + 1);
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());

    let file = home.file("permissions.zky");
    let program = container("probe");
    let run = |permissions: &str, words: &[&str]| {
        fs::write(&file, format!("version: 1\n{permissions}\n")).unwrap();
        let program = [program.to_str().unwrap()];
        home.run(&[&["run", "--permissions", &file][..], words, &program].concat())
    };
    for (permissions, words, rule) in [
        ("limits: { memory: 8M }", &["--memory", "16M"][..], "limits: { memory: 16777216 }"),
        ("limits: { cpu_time: 1s }", &["--cpu-time", "2s"], "limits: { cpu_time: 2000ms }"),
        ("env: [LANG]", &["--env", "HOME=/"], "env: [HOME]"),
    ] {
        let output = run(permissions, words);
        assert!(code(&output) == 126 && text(&output.stderr).contains(rule), "{rule}: {output:?}");
    }
    assert_eq!(code(&run("limits: { memory: 8M }\nenv: [LANG]", &["--env", "LANG=C", "--memory", "4M"])), 0);
    let output = run("limits: { memory: 8M, disk: 5 }", &[]);
    assert!(code(&output) == 125 && text(&output.stderr).contains("line 2"), "{output:?}");
}

#[test]
fn without_permissions_a_package_may_do_everything_and_is_marked() {
    let home = Home::with_machine();
    let folder = home.folder("probe", "", &fs::read(container("probe")).unwrap());
    fs::write(folder.join("permissions.zky"), "version: 1\n").unwrap();
    let file = home.pack(&folder, "probe.tso");
    let run = |words: &[&str]| home.run(&[&["--json"], words, &[&file, "--", "random"]].concat());
    let report = |output: &Output| -> Value {
        serde_json::from_str(text(&output.stderr).lines().last().unwrap()).unwrap()
    };
    let confined = run(&["run"]);
    assert_eq!((code(&confined), &report(&confined)["confined"]), (1, &json!(true)), "{confined:?}");
    let free = run(&["unsecure", "run"]);
    assert_eq!((code(&free), &report(&free)["confined"]), (0, &json!(false)), "{free:?}");
    assert_eq!(report(&free)["package"]["name"], json!("probe"), "what it is of is said all the same");

    home.ok(&["unsecure", "run", "-d", "--name", "free", &file, "--", "random"]);
    let ended = |output: &str| !output.is_empty();
    assert!(!home.wait_for("m", "free", ended).contains("insufficient"));
    assert_eq!(home.json(&["matrixbox", "inspect", "free"])["confined"], json!(false));
    assert!(home.ok(&["ps", "--all"]).contains("probe 1.0.0, unconfined"));
    // Started again it is what it was.
    home.ok(&["matrixbox", "restart", "free"]);
    assert_eq!(home.json(&["matrixbox", "inspect", "free"])["confined"], json!(false));
    for option in [&["--explain"][..], &["--signer", "ed25519:00"], &["--permissions", &file]] {
        let words = [&["unsecure", "run"], option, &[&file]].concat();
        assert!(home.refused(&words).contains("sentctl run"), "{option:?}");
    }
}

#[test]
fn a_package_runs_in_a_machine_that_stays() {
    let home = Home::with_machine();
    let file = home.pack(&greeter(), "greeter.tso");
    let started = home.json(&["run", "-d", &file, "--", "Ada"]);
    assert_eq!((&started["name"], &started["package"]["version"]), (&json!("greeter"), &json!("1.0.0")));
    home.wait_for("m", "greeter", |output| output == "Hello, Ada.\n");

    let probe = container("probe");
    let permissions = home.file("none.zky");
    fs::write(&permissions, "version: 1\n").unwrap();
    let words =
        ["run", "-d", "--explain", "--permissions", &permissions, probe.to_str().unwrap(), "--", "random"];
    home.ok(&words);
    home.wait_for("m", "probe", |output| output.contains("Capabilities insufficient"));
    let told = home.of("m", ".container/probe/stderr.log");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !fs::read_to_string(&told).unwrap_or_default().contains("random: true") {
        assert!(Instant::now() < deadline, "nobody is told");
    }
    // A plain program is marked as one.
    let status = home.json(&["status"]);
    let of = |name: &str| {
        let all = status["containers"].as_array().unwrap();
        all.iter().find(|container| container["name"] == json!(name)).unwrap()["package"].clone()
    };
    assert_eq!((of("greeter")["name"].clone(), of("probe")), (json!("greeter"), Value::Null));
    let refused = home.run(&["run", "-d", "--signer", "ed25519:00", &file]);
    assert_eq!(code(&refused), 126, "{refused:?}");
}

#[test]
fn a_program_is_begun_compiled_and_packed_by_what_is_installed() {
    let home = Home::empty();
    for language in ["c", "zig", "rust", "wat"] {
        let folder = home.file(&format!("made-{language}"));
        let made = home.json(&["create", "container", &folder, "--lang", language]);
        assert_eq!(made["files"].as_array().unwrap().len(), 3, "{made}");
        assert!(home.refused(&["create", "container", &folder, "--lang", language]).contains("another name"));
        let package = home.file(&format!("made-{language}.tso"));
        if let Some(missing) = made["missing"].as_str() {
            // Not for text, which is compiled by sentctl.
            assert_ne!(language, "wat");
            assert!(missing.contains("install "), "{missing}");
            assert!(home.refused(&["pack", &folder, "-o", &package]).contains(missing));
            continue;
        }
        let packed = home.json(&["pack", &folder, "-o", &package]);
        assert_eq!(packed["warnings"], "", "{language}");
        let printed = home.ok(&["run", &package, "--", "Ada"]);
        let (hello, rest) = printed.split_once('\n').unwrap();
        assert_eq!(hello, format!("Hello from made-{language}!"));
        assert_eq!(rest, if language == "wat" { "" } else { "argument 1: Ada\n" });
        // The same source is the same package.
        let again = home.file("again.tso");
        home.ok(&["pack", "--force", &folder, "-o", &again]);
        assert_eq!(fs::read(&again).unwrap(), fs::read(&package).unwrap(), "{language}");
    }
}

#[test]
fn a_source_that_does_not_compile_says_where() {
    let home = Home::empty();
    let folder = home.file("broken");
    home.ok(&["create", "container", &folder, "--lang", "wat"]);
    fs::write(Path::new(&folder).join("main.wat"), "(module\n  (func (export \"_start\") (call $nothing)))")
        .unwrap();
    let said = home.refused(&["pack", &folder]);
    assert!(said.contains("main.wat:2:") && said.contains("nothing"), "{said}");
    // A program of two sources would be either.
    fs::write(Path::new(&folder).join("main.c"), "int main(void) { return 0; }").unwrap();
    assert!(home.refused(&["pack", &folder]).contains("main.c and main.wat"));
    // One that is compiled already is what is packed.
    fs::write(Path::new(&folder).join("main.wasm"), BEGIN).unwrap();
    fs::write(Path::new(&folder).join("meta.yaml"), "tso: 1\nname: broken\nversion: 1.0.0\nentry: begin_\n")
        .unwrap();
    let package = home.file("whole.tso");
    home.ok(&["pack", &folder, "-o", &package]);
    assert_eq!(code(&home.run(&["run", &package])), 0);
}
