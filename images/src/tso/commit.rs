//! What a container has become, as a package: the program that it runs, the files that it has, and how it was started.

use super::meta::{Meta, Resources};
use super::pack::Folder;
use super::permissions::everything;
use super::{ASSETS, PERMISSIONS, TsoError};
use crate::program::Program;
use semver::Version;
use std::time::Duration;

/// A container, for a package of it.
#[derive(Debug)]
pub struct Container<'a> {
    /// What it runs.
    pub program: Program<'a>,
    /// Arguments that it was given, behind its package's own.
    pub args: &'a [String],
    /// Variables that it was given, as `NAME=value`, which come before its package's own.
    pub env: &'a [String],
    /// Most bytes of memory that it was given.
    pub memory: Option<u64>,
    /// Most CPU time that it was given.
    pub cpu_time: Option<Duration>,
    /// The part of the processor that it was given, in hundredths.
    pub cpu: Option<u32>,
    /// The text of the permissions that it was given instead of its package's.
    pub permissions: Option<&'a str>,
    /// Ports that it was given.
    pub ports: &'a [u16],
    /// Where it may connect to.
    pub connect: &'a [String],
    /// Its files: paths from the root, without the slash there, and what is in them.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Container<'_> {
    /// The package, to be packed: called so, and of this version. It may do what the container's permissions allow; of a
    /// program that has none that is everything there is.
    ///
    /// # Errors
    /// [`TsoError`] for a name, a variable or a path that no package has.
    pub fn into_folder(self, name: &str, version: Version) -> Result<Folder, TsoError> {
        let package = self.program.package();
        let old = package.map(|package| package.meta.clone());
        let mut meta = Meta::new(name, version, old)?;
        meta.args.extend_from_slice(self.args);
        for variable in self.env {
            let (name, _) = variable.split_once('=').unwrap_or((variable, ""));
            meta.env.retain(|there| there.split_once('=').is_none_or(|(other, _)| other != name));
            meta.env.push(variable.clone());
        }
        meta.resources = Resources::of(&meta.resources, self.memory, self.cpu_time, self.cpu);
        let own = package.and_then(|package| package.files().iter().find(|file| file.path == PERMISSIONS));
        let permissions = match (self.permissions, own) {
            (Some(given), _) => given.as_bytes().to_vec(),
            (None, Some(own)) => own.bytes.to_vec(),
            (None, None) => everything(self.ports, self.connect).into_bytes(),
        };
        let assets = self.files.into_iter().map(|(path, bytes)| (format!("{ASSETS}{path}"), bytes)).collect();
        Folder::of(meta, self.program.wasm().to_vec(), permissions, assets)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::tso::Package;
    use crate::tso::signature::{Algorithm, Key};

    fn key() -> Key {
        Key::new(Algorithm::Ed25519, &[7; 32])
    }

    fn plain<'a>(args: &'a [String], env: &'a [String]) -> Container<'a> {
        Container {
            program: Program::Plain(b"\0asm\x01\0\0\0"),
            args,
            env,
            memory: Some(8 << 20),
            cpu_time: None,
            cpu: Some(20),
            permissions: None,
            ports: &[80],
            connect: &[],
            files: vec![("etc/motd".into(), b"hello".to_vec())],
        }
    }

    #[test]
    fn a_plain_program_becomes_a_package_that_may_do_what_it_did() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (args, env) = (words(&["-v"]), words(&["A=1", "B=2"]));
        let first = plain(&args, &env).into_folder("made", Version::new(1, 2, 3)).unwrap();
        let first = first.pack(&[key()]).unwrap().bytes;
        let package = Package::open(&first).unwrap();
        assert_eq!((package.meta.name.as_str(), package.meta.version.to_string()), ("made", "1.2.3".into()));
        assert_eq!((&package.meta.args, &package.meta.env), (&args, &env));
        assert_eq!(package.meta.resources.memory().unwrap(), Some(8 << 20));
        assert_eq!(package.meta.resources.cpu().unwrap(), Some(20));
        assert_eq!(package.assets().collect::<Vec<_>>(), [("etc/motd", &b"hello"[..])]);
        assert!(package.permissions.random && package.permissions.listen == [80]);
        assert!(package.permissions.allows_variable("ANY"));

        let reaching = words(&["*.example.com:443", "[::1]:80"]);
        let connects = Container { connect: &reaching, ..plain(&args, &env) };
        let packed = connects.into_folder("made", Version::new(1, 2, 3)).unwrap().pack(&[key()]).unwrap();
        assert_eq!(Package::open(&packed.bytes).unwrap().permissions.connect, reaching);

        // And a container of that one another package, which keeps what it was not given anew.
        let more = words(&["-q"]);
        let other = words(&["B=3"]);
        let again = Container {
            program: Program::open(&first).unwrap(),
            memory: None,
            cpu_time: Some(Duration::from_secs(2)),
            permissions: Some("version: 1\nrandom: true\n"),
            ..plain(&more, &other)
        };
        let second = again.into_folder("other", Version::new(0, 1, 0)).unwrap().pack(&[key()]).unwrap().bytes;
        let package = Package::open(&second).unwrap();
        assert_eq!((&package.meta.args, &package.meta.env), (&words(&["-v", "-q"]), &words(&["A=1", "B=3"])));
        assert_eq!(package.meta.resources.memory().unwrap(), Some(8 << 20));
        assert_eq!(package.meta.resources.cpu_time().unwrap(), Some(Duration::from_secs(2)));
        assert!(package.permissions.random && package.permissions.files.is_empty());
        for (name, files) in [("Bad Name", vec![]), ("good", vec![("a/../b".to_owned(), Vec::new())])] {
            let container = Container { files, ..plain(&[], &[]) };
            let made =
                container.into_folder(name, Version::new(1, 0, 0)).and_then(|folder| folder.pack(&[key()]));
            assert!(made.is_err(), "{name}");
        }
    }
}
