//! Packages in a registry: a real one (Debian's docker-registry, which `cargo xtask test` installs), and one that lies.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::root;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A registry of its own for one test.
struct Registry {
    process: Child,
    port: u16,
    _files: TempDir,
}

/// `me`, by the password `open sesame`: as htpasswd writes it down, by bcrypt.
const USERS: &str = "me:$2b$04$OC9GJr/Wq9tKcHa6u3tJmetOhxagdqClmu.UfcUbhO.7KagQ9r7KK\n";
/// The same as `docker login` writes it down: base64 of both.
const LOGIN: &str = "bWU6b3BlbiBzZXNhbWU=";

impl Registry {
    /// One that lets everybody in.
    fn start() -> Self {
        Self::with("")
    }

    /// One that lets those in who say who they are.
    fn closed() -> Self {
        Self::with("auth: { htpasswd: { realm: here, path: USERS } }\n")
    }

    fn with(auth: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        // Somebody else may take it before the registry does: a test that fails, and not one that passes.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let storage = files.path().join("storage");
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: '127.0.0.1:{port}' }}\n",
            storage.display()
        );
        let users = files.path().join("users");
        fs::write(&users, USERS).unwrap();
        let path = files.path().join("config.yml");
        fs::write(&path, config + &auth.replace("USERS", users.to_str().unwrap())).unwrap();
        let mut command = Command::new("docker-registry");
        let command = command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("docker-registry cannot be started ({error}): apt-get install docker-registry")
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, port, _files: files }
    }

    fn place(&self, rest: &str) -> String {
        format!("oci://127.0.0.1:{}/{rest}", self.port)
    }

    /// What it answers when it is asked for `path`.
    fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let accept = "application/vnd.oci.image.manifest.v1+json";
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(body)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Packs the greeter; gives the package's path.
fn greeter(home: &Home) -> String {
    let file = home.path().join("greeter.tso").to_str().unwrap().to_owned();
    let folder = root().join("resources/packages/greeter");
    home.ok(&["pack", folder.to_str().unwrap(), "-o", &file]);
    file
}

#[test]
fn a_package_is_pushed_pulled_and_run() {
    let (registry, home, other) = (Registry::start(), Home::empty(), Home::empty());
    let file = greeter(&home);
    let place = registry.place("me/greeter");
    let pushed = home.json(&["push", &file, &place]);
    assert_eq!(pushed["place"], json!(format!("{place}:1.0.0")), "the tag is the version");
    // Again, and of an image, it is the same artifact.
    home.ok(&["image", "add", &file]);
    let again = home.json(&["push", "greeter", &format!("{place}:newest")]);
    assert_eq!(again["digest"], pushed["digest"]);

    let signer = home.json(&["images"])[0]["package"]["signers"][0].as_str().unwrap().to_owned();
    let from = format!("{place}:1.0.0");
    let stranger = signer.replace(&signer[10..14], "0000");
    assert!(other.refused(&["pull", "--signer", &stranger, &from]).contains("signed"));
    assert_eq!(other.json(&["images"]), json!([]));
    assert_eq!(other.ok(&["pull", "--signer", &signer, &from]), "greeter:1.0.0\n");
    assert_eq!(other.ok(&["run", "--signer", &signer, "greeter", "--", "Ada"]), "Hello, Ada.\n");
    assert_eq!(
        fs::read(other.path().join("images/greeter/1.0.0.tso")).unwrap(),
        fs::read(&file).unwrap(),
        "to the byte"
    );

    // What lies there is what other tools expect of a WebAssembly artifact.
    let manifest: Value = serde_json::from_slice(&registry.get("/v2/me/greeter/manifests/newest")).unwrap();
    assert_eq!(manifest["mediaType"], json!("application/vnd.oci.image.manifest.v1+json"));
    assert_eq!(manifest["config"]["mediaType"], json!("application/vnd.wasm.config.v0+json"));
    assert_eq!(manifest["layers"][0]["mediaType"], json!("application/wasm"));
    let blob = |digest: &Value| registry.get(&format!("/v2/me/greeter/blobs/{}", digest.as_str().unwrap()));
    let program = fs::read(root().join("resources/packages/greeter/main.wasm")).unwrap();
    assert!(blob(&manifest["layers"][0]["digest"]) == program);
    let config: Value = serde_json::from_slice(&blob(&manifest["config"]["digest"])).unwrap();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip1")));
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);

    // What is not there, or not asked for rightly.
    assert!(other.refused(&["pull", &format!("{place}:2.0.0")]).contains("2.0.0"));
    assert!(other.refused(&["pull", &place]).contains("tag"));
    assert!(other.refused(&["pull", "greeter:1.0.0"]).contains("oci://"));
    assert!(other.refused(&["push", "greeter", "oci://127.0.0.1:1/me/greeter"]).contains("127.0.0.1:1"));
    let missing = other.run(&["push", "nobody", &place]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
}

#[test]
fn who_has_logged_in_is_let_in() {
    let (registry, home) = (Registry::closed(), Home::empty());
    let file = greeter(&home);
    let place = registry.place("me/greeter");
    let file_of_logins = home.path().join("auth.json");
    let known = |word: &str| json!({ "auths": { format!("127.0.0.1:{}", registry.port): { "auth": word } } });
    let push = |logins: Option<&Value>| {
        let mut command = home.command(&["push", &file, &place]);
        command.env_remove("XDG_RUNTIME_DIR").env("HOME", home.path());
        if let Some(known) = logins {
            fs::write(&file_of_logins, known.to_string()).unwrap();
            command.env("REGISTRY_AUTH_FILE", &file_of_logins);
        }
        command.output().unwrap()
    };
    assert_eq!(push(None).status.code(), Some(125), "nobody");
    assert_eq!(push(Some(&known("bWU6b3BlbiBiYXJsZXk="))).status.code(), Some(125), "another password");
    let done = push(Some(&known(LOGIN)));
    assert!(done.status.success(), "{done:?}");
    // What is no list of logins is none.
    assert_eq!(push(Some(&json!(["auths"]))).status.code(), Some(125));
    // Where docker has it.
    fs::create_dir(home.path().join(".docker")).unwrap();
    fs::write(home.path().join(".docker/config.json"), known(LOGIN).to_string()).unwrap();
    let mut pull = home.command(&["pull", &format!("{place}:1.0.0")]);
    let pulled = pull.env_remove("XDG_RUNTIME_DIR").env_remove("REGISTRY_AUTH_FILE").env("HOME", home.path());
    let pulled = pulled.output().unwrap();
    assert_eq!(pulled.stdout, b"greeter:1.0.0\n", "{pulled:?}");
}

/// Answers every request with this body as a manifest, and blobs with `blob`.
fn lying(manifest: Value, blob: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut request = String::new();
            let _ = reader.read_line(&mut request);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let (kind, body) = if request.contains("/manifests/") {
                ("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes())
            } else {
                ("application/octet-stream", blob.clone())
            };
            let mut stream = reader.into_inner();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    port
}

#[test]
fn what_a_registry_lies_about_is_refused() {
    let home = Home::empty();
    let bytes = fs::read(greeter(&home)).unwrap();
    let right = "application/vnd.sentientos.tso.v1";
    // SHA-256 of nothing: not that of the package.
    let wrong = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest = |kind: &str, digest: &str, size: i64| {
        let config =
            json!({ "mediaType": "application/vnd.wasm.config.v0+json", "digest": wrong, "size": 0 });
        let layer = json!({ "mediaType": kind, "digest": digest, "size": size });
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config, "layers": [layer] })
    };
    let refused = |manifest: Value, blob: Vec<u8>, says: &str| {
        let port = lying(manifest, blob);
        let said = home.refused(&["pull", &format!("oci://127.0.0.1:{port}/me/greeter:1.0.0")]);
        assert!(said.contains(says), "{says}: {said}");
        assert_eq!(home.json(&["images"]), json!([]));
    };
    let len = i64::try_from(bytes.len()).unwrap();
    refused(manifest(right, wrong, len), bytes.clone(), "igest");
    refused(manifest(right, wrong, i64::MAX), bytes.clone(), "at most");
    refused(manifest(right, wrong, -1), bytes.clone(), "at most");
    refused(manifest(right, wrong, 10), bytes.clone(), "announced");
    refused(manifest(right, wrong, 10), Vec::new(), "announced");
    refused(manifest("application/wasm", wrong, len), bytes.clone(), "no package");
    refused(manifest(right, "md5:1", len), bytes, "igest");
    // Its digest is right, and it is no package.
    refused(manifest(right, wrong, 0), Vec::new(), "package");
    refused(json!({ "schemaVersion": 2 }), Vec::new(), "127.0.0.1");
}

#[test]
fn a_repository_in_a_registry_is_as_one_in_a_folder() {
    let (registry, owner, user) = (Registry::start(), Home::empty(), Home::empty());
    let folder = owner.path().join("packages");
    fs::create_dir(&folder).unwrap();
    fs::rename(greeter(&owner), folder.join("greeter-1.0.0.tso")).unwrap();
    let (folder, place) = (folder.to_str().unwrap(), registry.place("me/packages"));
    assert!(owner.refused(&["repo", "push", folder, &place]).contains("registry.yaml"));
    let made = owner.json(&["repo", "make", folder]);
    let key = made["key"].as_str().unwrap();
    let pushed = owner.json(&["repo", "push", folder, &place]);
    assert_eq!(pushed, json!([format!("{place}/greeter:1.0.0"), format!("{place}:latest")]));
    user.ok(&["repo", "add", "main", &place, "--key", key]);
    assert_eq!(user.ok(&["install", "greeter"]), "greeter:1.0.0\n");
    assert_eq!(user.ok(&["run", "greeter", "--", "Ada"]), "Hello, Ada.\n");
    assert_eq!(user.json(&["update"])[0]["serial"], json!(1));
    // Neither is the other.
    assert!(user.refused(&["pull", &format!("{place}:latest")]).contains("no package"));
    let package = format!("{place}/greeter:1.0.0");
    assert!(user.refused(&["repo", "add", "other", &package, "--key", key]).contains("no registry"));
    // Gone without a trace, it is missed.
    drop(registry);
    assert!(user.refused(&["update"]).contains("127.0.0.1"));
}
