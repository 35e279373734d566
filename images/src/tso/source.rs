//! A package's program in a language that people write: found in its folder, and compiled by what is installed.
//!
//! A compiler is a program of the host's, and works in the folder that it is told of: only for who trusts that
//! folder. Text that is WebAssembly (`main.wat`) is compiled here, and needs nothing.

use super::{PROGRAM, TsoError};
use std::env::var_os;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use wasm_encoder::{Module, RawSection};
use wasmparser::{BinaryReaderError, Parser, Payload};

/// Bytes of a program's stack. It lies below the data, so that running out of it is a trap and not a wrong answer.
const STACK: u32 = 1 << 20;

/// The file, in a compiler's folder of its own, that it is to write.
const OUTPUT: &str = "compiled.wasm";

/// A language that a program can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C, as clang has it.
    C,
    /// Zig.
    Zig,
    /// Rust.
    Rust,
    /// WebAssembly as text.
    Wat,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::C, Self::Zig, Self::Rust, Self::Wat];

    /// The file that its programs begin in.
    #[must_use]
    pub const fn main(self) -> &'static str {
        match self {
            Self::C => "main.c",
            Self::Zig => "main.zig",
            Self::Rust => "main.rs",
            Self::Wat => "main.wat",
        }
    }

    /// How to get a compiler of it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::C => {
                "install Zig, by `pip install ziglang` or from ziglang.org, or clang with WASI's C library (Debian: \
                 apt-get install clang lld wasi-libc libclang-rt-dev-wasm32), or name the folder of a WASI SDK in \
                 WASI_SDK_PATH"
            }
            Self::Zig => "install Zig, by `pip install ziglang` or from ziglang.org",
            Self::Rust => {
                "install Rust from rustup.rs, and add its target: `rustup target add wasm32-wasip1`"
            }
            Self::Wat => "none is needed",
        }
    }

    /// The first of its compilers that is there.
    ///
    /// # Errors
    /// [`TsoError::NoCompiler`], with what to install.
    pub fn compiler(self) -> Result<Compiler, TsoError> {
        let found = match self {
            Self::C => zig().or_else(clang),
            Self::Zig => zig(),
            Self::Rust => rustc(),
            Self::Wat => {
                Some(Compiler { kind: Kind::BuiltIn, words: Vec::new(), version: "built in".into() })
            }
        };
        found.ok_or(TsoError::NoCompiler { of: self.main(), remedy: self.remedy() })
    }
}

/// A compiler that is installed.
#[derive(Clone, Debug)]
pub struct Compiler {
    kind: Kind,
    /// How it is called.
    words: Vec<OsString>,
    /// What it says it is.
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zig,
    Clang,
    Rustc,
    BuiltIn,
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.version)
    }
}

/// What became of a source.
#[derive(Debug)]
pub struct Compiled {
    /// The program.
    pub wasm: Vec<u8>,
    /// What the compiler had to say, which are warnings; mostly nothing.
    pub said: String,
}

/// A program's source.
#[derive(Clone, Debug)]
pub struct Source {
    language: Language,
    folder: PathBuf,
}

impl Source {
    /// Finds the source of a program in a folder.
    ///
    /// # Errors
    /// [`TsoError::Folder`] if there is none, or more than one.
    pub fn find(folder: &Path) -> Result<Self, TsoError> {
        let mut found = Language::ALL.into_iter().filter(|language| folder.join(language.main()).is_file());
        let problem = match (found.next(), found.next()) {
            (Some(language), None) => return Ok(Self { language, folder: folder.to_owned() }),
            (Some(one), Some(other)) => {
                format!("it has {} and {}: a program is made of one of them", one.main(), other.main())
            }
            (None, _) => {
                format!(
                    "it has no {PROGRAM}, and no {} to make it of",
                    Language::ALL.map(Language::main).join(", ")
                )
            }
        };
        Err(TsoError::on_disk(folder, problem))
    }

    /// The file it begins in.
    #[must_use]
    pub const fn main(&self) -> &'static str {
        self.language.main()
    }

    /// Compiles it, without what only debuggers read.
    ///
    /// # Errors
    /// [`TsoError::NoCompiler`], [`TsoError::Compile`] with what the compiler said, and [`TsoError::Folder`].
    pub fn compile(&self) -> Result<Compiled, TsoError> {
        let compiler = self.language.compiler()?;
        let (wasm, said) = match compiler.kind {
            Kind::BuiltIn => (self.assemble(&compiler)?, String::new()),
            _ => self.by(&compiler)?,
        };
        let wasm = without_debug_sections(&wasm)
            .map_err(|error| self.refused(&compiler, format!("its result is no WebAssembly: {error}")))?;
        Ok(Compiled { wasm, said })
    }

    fn assemble(&self, compiler: &Compiler) -> Result<Vec<u8>, TsoError> {
        let path = self.folder.join(self.main());
        let text = std::fs::read_to_string(&path).map_err(|error| TsoError::on_disk(&path, error))?;
        wat::parse_str(&text).map_err(|mut error| {
            error.set_path(self.main());
            self.refused(compiler, error.to_string())
        })
    }

    fn by(&self, compiler: &Compiler) -> Result<(Vec<u8>, String), TsoError> {
        let room = tempfile::tempdir().map_err(|error| TsoError::on_disk(&std::env::temp_dir(), error))?;
        let output = room.path().join(OUTPUT);
        let Some((program, first)) = compiler.words.split_first() else {
            return Err(TsoError::NoCompiler { of: self.main(), remedy: self.language.remedy() });
        };
        let mut command = Command::new(program);
        command.args(first).args(self.options(compiler.kind, &output)?);
        // In the folder, so that paths in messages and in the program do not depend on where it lies.
        command.current_dir(&self.folder).env("ZIG_LOCAL_CACHE_DIR", room.path().join("cache"));
        let ended = command.stdin(Stdio::null()).output();
        let Output { status, stdout, stderr } =
            ended.map_err(|error| self.refused(compiler, format!("it cannot be started: {error}")))?;
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said).trim_end().to_owned();
        if !status.success() {
            return Err(self.refused(compiler, if said.is_empty() { status.to_string() } else { said }));
        }
        let wasm = std::fs::read(&output)
            .map_err(|error| self.refused(compiler, format!("it has left no result: {error}")))?;
        Ok((wasm, said))
    }

    /// What the compiler is told.
    fn options(&self, kind: Kind, output: &Path) -> Result<Vec<String>, TsoError> {
        let output = output.display();
        let (first, stack) = match (kind, self.language) {
            (Kind::Zig, Language::Zig) => {
                let (options, main) = ("build-exe -target wasm32-wasi -O ReleaseSafe --stack", self.main());
                return Ok(words(options, [STACK.to_string(), main.into(), format!("-femit-bin={output}")]));
            }
            (Kind::Rustc | Kind::BuiltIn, _) => {
                let options = "--edition 2021 -O -C strip=debuginfo -o";
                return Ok(words(options, [output.to_string(), self.main().into()]));
            }
            (Kind::Zig, _) => ("cc -target wasm32-wasi", ""),
            (Kind::Clang, _) => ("--target=wasm32-wasi", ",--stack-first"),
        };
        let mut options = words(first, [format!("-Wl,-z,stack-size={STACK}{stack}")]);
        options.extend(words("-O2 -Wall -Wextra -o", [output.to_string()]));
        options.extend(self.files(".c")?);
        Ok(options)
    }

    /// The folder's files with this ending, in their order.
    fn files(&self, ending: &str) -> Result<Vec<String>, TsoError> {
        let failed = |error: std::io::Error| TsoError::on_disk(&self.folder, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // With its folder, so that none is taken for an option.
            names.extend(
                entry
                    .file_name()
                    .to_str()
                    .filter(|name| name.ends_with(ending))
                    .map(|name| format!("./{name}")),
            );
        }
        names.sort();
        Ok(names)
    }

    fn refused(&self, compiler: &Compiler, said: String) -> TsoError {
        TsoError::Compile { file: self.main(), compiler: compiler.to_string(), said }
    }
}

/// Words that stand apart, and more behind them.
fn words<const N: usize>(apart: &str, more: [String; N]) -> Vec<String> {
    apart.split_ascii_whitespace().map(str::to_owned).chain(more).collect()
}

/// What a program prints, if it can be run and ends well.
fn answer(words: &[OsString], args: &[&str]) -> Option<String> {
    let (program, first) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(first).args(args).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn zig() -> Option<Compiler> {
    [&["zig"][..], &["python3", "-m", "ziglang"]].into_iter().find_map(|words| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let version = format!("zig {}", answer(&words, &["version"])?);
        Some(Compiler { kind: Kind::Zig, words, version })
    })
}

/// One that has WASI's C library: that of an SDK, or Debian's.
fn clang() -> Option<Compiler> {
    let sdk = var_os("WASI_SDK_PATH").map_or_else(|| PathBuf::from("/opt/wasi-sdk"), PathBuf::from);
    [sdk.join("bin/clang").into_os_string(), "clang".into()].into_iter().find_map(|program| {
        let words = vec![program];
        let start = answer(&words, &["--target=wasm32-wasi", "-print-file-name=crt1.o"])?;
        let version = answer(&words, &["--version"])?.lines().next()?.to_owned();
        // The name alone, where it is nowhere.
        Path::new(&start).is_file().then_some(Compiler { kind: Kind::Clang, words, version })
    })
}

/// One that has the standard library for WASI, as that target is called since Rust 1.78, and before.
fn rustc() -> Option<Compiler> {
    ["wasm32-wasip1", "wasm32-wasi"].into_iter().find_map(|target| {
        let words: Vec<OsString> = ["rustc", "--target", target].map(OsString::from).to_vec();
        let library = answer(&words, &["--print", "target-libdir"])?;
        let version = answer(&words, &["--version"])?;
        Path::new(&library).is_dir().then_some(Compiler { kind: Kind::Rustc, words, version })
    })
}

/// The same program without the sections that only debuggers read: they are nine tenths of it. Names stay, for
/// backtraces.
fn without_debug_sections(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if matches!(&payload, Payload::CustomSection(section) if section.name().starts_with(".debug_")) {
            continue;
        }
        // A section's range is within what it was parsed from.
        if let Some((id, data)) = payload.as_section().and_then(|(id, range)| Some((id, wasm.get(range)?))) {
            module.section(&RawSection { id, data });
        }
    }
    Ok(module.finish())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_source_is_the_only_one_of_its_folder() {
        let problem = |files: &[(&str, &str)]| Source::find(folder(files).path()).unwrap_err().to_string();
        assert!(
            problem(&[("notes.txt", "")]).contains("no main.c, main.zig, main.rs, main.wat to make it of")
        );
        assert!(problem(&[("main.c", ""), ("main.wat", "")]).contains("main.c and main.wat"));
    }

    #[test]
    fn text_becomes_a_program_with_its_names() {
        let wat = folder(&[("main.wat", "(module (func $begin_here (export \"_start\")))")]);
        let compiled = Source::find(wat.path()).unwrap().compile().unwrap();
        crate::compile::compile(&compiled.wasm).unwrap();
        assert!(compiled.wasm.windows(10).any(|name| name == b"begin_here"));
        let bad = folder(&[("main.wat", "(module\n  (func $a (call $b)))")]);
        let error = Source::find(bad.path()).unwrap().compile().unwrap_err().to_string();
        assert!(error.contains("main.wat:2:18") && error.contains("$b"), "{error}");
    }

    #[test]
    fn debug_sections_go_and_all_else_stays_as_it_was() {
        let rest = wat::parse_str(
            "(module (@custom \"kept\" \"1\") (func $f) (memory 1) (data (i32.const 0) \"x\"))",
        );
        let rest = rest.unwrap();
        let mut whole = rest.clone();
        // A custom section of 12 bytes: a name of 10, and one byte.
        whole.extend([0, 12, 10]);
        whole.extend(b".debug_abc");
        whole.push(7);
        assert_eq!(without_debug_sections(&whole).unwrap(), rest);
        assert_eq!(without_debug_sections(&rest).unwrap(), rest);
        assert!(without_debug_sections(&whole[..whole.len() - 1]).is_err());
    }
}
