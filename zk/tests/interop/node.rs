//! Node's programs, installed once below `target/`.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PACKAGE: &str = include_str!("package.json");
const COMPILE: &str = include_str!("compile.js");
const EVM: &str = include_str!("evm.js");

/// A folder with the programs of `package.json` in it.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("zk-node");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    // Written last: what is there, is whole and of these versions.
    let done = folder.join("installed.json");
    let all = [PACKAGE, COMPILE, EVM].concat();
    if fs::read_to_string(&done).is_ok_and(|there| there == all) {
        return folder;
    }
    fs::write(folder.join("package.json"), PACKAGE).unwrap();
    fs::write(folder.join("compile.js"), COMPILE).unwrap();
    fs::write(folder.join("evm.js"), EVM).unwrap();
    let install = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
        .current_dir(&folder)
        .output()
        .unwrap_or_else(|error| panic!("npm cannot be started: {error}. Install node 20 or newer, with npm"));
    assert!(install.status.success(), "npm install: {}", String::from_utf8_lossy(&install.stderr));
    fs::write(&done, all).unwrap();
    folder
}

/// Runs node with a script beside the programs, in `folder`.
fn run(script: &str, args: &[&str], folder: &Path, input: &[u8]) -> Output {
    let programs = installed();
    let script = programs.join(script);
    let mut child = Command::new("node")
        .arg(script)
        .args(args)
        .current_dir(folder)
        .env("NODE_PATH", programs.join("node_modules"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node cannot be started: {error}. Install node 20 or newer"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs snarkjs; gives whether it succeeded, and what it said.
pub fn snarkjs(args: &[&str], folder: &Path) -> (bool, String) {
    let output = run("node_modules/snarkjs/build/cli.cjs", args, folder, b"");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Has snarkjs do something, which it must; gives what it said.
pub fn snarkjs_does(args: &[&str], folder: &Path) -> String {
    let (good, said) = snarkjs(args, folder);
    // Of some failures it tells, and ends with 0.
    assert!(good && !said.contains("[ERROR]"), "snarkjs {}: {said}", args.join(" "));
    said
}

/// Compiles a contract; gives its code for deployment, in hexadecimal digits.
pub fn solc(source: &str) -> String {
    let output = run("compile.js", &[], Path::new("."), source.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What came of a transaction.
#[derive(Debug, serde::Deserialize)]
pub struct Called {
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// What it gave, in hexadecimal digits.
    pub output: String,
    /// What it takes.
    pub gas: u64,
}

/// Deploys a contract (its code in hexadecimal digits) in an EVM, and calls it; gives what came of the calls.
pub fn evm(code: &str, calls: &[Vec<u8>]) -> Vec<Called> {
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<String> = [code.to_owned()].into_iter().chain(calls.iter().map(hex)).collect();
    let output = run("evm.js", &[], Path::new("."), lines.join("\n").as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let mut all = said.lines().map(|line| serde_json::from_str::<Called>(line).unwrap());
    let deployed = all.next().unwrap();
    assert_eq!(deployed.error, None, "{deployed:?}");
    all.collect()
}
