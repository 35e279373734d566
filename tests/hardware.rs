//! The kernel on machines that are not ours: what it finds there, what it shows of what it boots, and how programs are looked after.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::medium::{MACHINES, Medium, Seat, free_port, get, listed};
use machine::{container, finish, sentctl};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn a_server_answers_on_a_network_that_is_not_ours() {
    let list = "init: 1\nprograms:\n- { program: web.wasm, name: web, memory: 16M, ports: [80] }\n";
    let medium = listed(list, &[]);
    let cards = [
        (MACHINES[0], "virtio-net-pci", "virtio, network"),
        (MACHINES[1], "virtio-net-pci", "virtio, network"),
        (MACHINES[3], "virtio-net-pci", "virtio, network"),
        (MACHINES[0], "e1000e", "e1000e, network"),
        (MACHINES[3], "e1000e", "e1000e, network"),
    ];
    for ((name, options), card, found) in cards {
        let port = free_port();
        let network = format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:80");
        let card = format!("{card},netdev=n");
        let devices = ["-netdev", &network, "-device", &card, "-device", "virtio-rng-pci"];
        let mut machine = medium.boot(&[options, &devices].concat());
        let said =
            machine.wait_for("this machine's address is 10.0.2.15/24, its router 10.0.2.2\n").to_owned();
        let until = Instant::now() + Duration::from_secs(30);
        for _ in 0..3 {
            let answer = loop {
                match get(port) {
                    Some(answer) => break answer,
                    None => assert!(Instant::now() < until, "{name}: nobody answers; it has said {said}"),
                }
            };
            assert!(answer.ends_with("Hello from a container!\n"), "{name}: {answer}");
        }
        machine.type_line("devices");
        let said = machine.wait_for("virtio, random numbers");
        assert!(said.contains(found), "{name}: {said}");
    }
}

#[test]
fn programs_of_one_machine_do_not_share_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("init.yaml");
    let web = container("web");
    let entry = format!("{{ program: {}, ports: [80] }}", web.display());
    let refused = |text: &str| {
        fs::write(&list, text).unwrap();
        let mut build = sentctl();
        build.args(["iso-build", "-o", "/tmp/never.iso", "--init"]).arg(&list);
        let refused = finish(&mut build);
        assert_ne!(refused.code(), 0, "{refused}");
        refused.err()
    };
    let twice = refused(&format!("init: 1\nprograms: [{entry}, {entry}]\n"));
    assert!(twice.contains("is to listen on port 80, and so is `web`"), "{twice}");
    for (text, part) in [
        ("init: 2\nprograms: []\n", "version 2"),
        ("init: 1\nprogram: []\n", "unknown field"),
        ("init: 1\nprograms: [{ program: a, ports: [0] }]\n", "0 is no port"),
        ("init: 1\nprograms: [{ program: a, checkpoint: 1ms }]\n", "too often"),
        ("init: 1\nprograms: [{ program: a, name: '' }]\n", "no name"),
        ("init: 1\nprograms: [{ program: a, memory: much }]\n", "memory: much"),
    ] {
        let said = refused(text);
        assert!(said.contains(part) && said.contains("init.yaml"), "{text}: {said}");
    }
}

#[test]
fn what_a_medium_boots_is_measured_and_who_answers_for_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "1f".repeat(32) + "\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let contract = folder.path().join("contract.zky");
    fs::write(&contract, "# Of this test.\nversion: 1\non_violation: flag\nregions: []\n").unwrap();
    let list = "init: 1\nprograms:\n- { program: hello.wasm, args: [--loud, here] }\n";
    let options = ["--key", key.to_str().unwrap(), "--contract", contract.to_str().unwrap()];
    let medium = listed(list, &options);
    let built: serde_json::Value = serde_json::from_str(&medium.said).unwrap();
    let mut machine = medium.boot(MACHINES[1].1);
    let said = machine.wait_for("zero> ").to_owned();
    let hash = |name: &str| {
        let line =
            said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(Some(hash("all of it").as_str()), built["measured"].as_str(), "{said}");
    assert_eq!(format!("ed25519:{}", hash("signed, ed25519")), built["signer"].as_str().unwrap(), "{said}");
    for name in ["nucleus-text", "nucleus-const", "runtime-text", "runtime-const", "contract", "hello"] {
        assert_eq!(hash(name).len(), 64, "{name}: {said}");
    }
    assert!(said.contains("Hello, SentientOS!") && !said.contains("SHOULD BE"), "{said}");
    assert!(said.contains("1 of 4 processors is used"), "{said}");
    machine.type_line("verify");
    let said = machine.wait_for_times("as it should be", 4);
    assert!(!said.contains("DAMAGED"), "{said}");

    // Another contract than the one that was signed for: nothing is run.
    medium.flip(b"# Of this test.", 2);
    let mut machine = medium.boot(MACHINES[0].1);
    let said = machine.wait_for("zero> ").to_owned();
    assert!(said.contains("the medium's signature is not one of what is on it: no program is run"), "{said}");
    assert!(!said.contains("Hello, SentientOS!"), "{said}");
}

#[test]
fn a_medium_may_be_a_disk_of_qemus() {
    for format in ["raw", "qcow2"] {
        let medium = listed(
            "init: 1\nprograms: [{ program: hello.wasm }]\n",
            &["--when-done", "end", "--format", format],
        );
        let len = fs::metadata(&medium.iso).unwrap().len();
        assert!(format == "qcow2" || len.is_multiple_of(1 << 20), "{format}: {len} bytes");
        let drive = format!("format={format},if=virtio,file={}", medium.iso.display());
        for options in [&["-m", "128"][..], &["-machine", "q35", "-m", "128", "uefi"]] {
            let (said, code) = medium.boot_from(options, &["-drive", &drive]).end();
            assert!(said.contains("Hello, SentientOS!") && code == Some(0), "{format}, {options:?}: {said}");
        }
    }
}

#[test]
fn a_program_goes_back_to_a_checkpoint_when_somebody_says_so() {
    let list = "init: 1\nprograms:\n- { program: counter.wasm, name: one, memory: 8M, args: [--interval-ms, '200'] }\n- { program: counter.wasm, name: other, memory: 8M, args: [--interval-ms, '200'] }\n";
    let medium = listed(list, &[]);
    let mut machine = medium.boot(MACHINES[0].1);
    machine.wait_for("one | 3\n");
    machine.type_line("rollback one");
    machine.wait_for("one: there is no checkpoint of it\n");
    machine.type_line("checkpoint one");
    machine.wait_for("kept one: ");
    let said = machine.wait_for("one | 20\n").to_owned();
    machine.type_line("rollback one");
    let said_more = machine.wait_for("one is what it was ").to_owned();
    // It counts on from where it was, and the other one has not noticed.
    machine.wait_for_times("one | 20\n", 2);
    let whole = machine.wait_for("other | 30\n").to_owned();
    assert!(said_more.len() > said.len());
    assert_eq!(whole.matches("one | 1\n").count(), 1, "it was not begun anew: {whole}");
    assert_eq!(whole.matches("other | 20\n").count(), 1, "{whole}");
    machine.type_line("ps");
    machine.wait_for("CPU TIME");
    machine.type_line("stop one");
    machine.wait_for("one ends\n");
    machine.type_line("stop nobody");
    machine.wait_for("no program `nobody` runs");
    machine.type_line("off");
    machine.end();
}

#[test]
fn a_program_that_traps_goes_back_to_its_last_checkpoint() {
    let list = "init: 1\nprograms:\n- { program: frail.wasm, memory: 4M, checkpoint: 500ms }\n- { program: counter.wasm, memory: 8M, args: [--interval-ms, '200'] }\n";
    let medium = listed(list, &[]);
    let mut machine = medium.boot(MACHINES[0].1);
    let said = machine.wait_for("(3 of 3 times)").to_owned();
    assert!(said.contains("frail | sentient: it has trapped, and is what it was "), "{said}");
    assert_eq!(said.matches("frail | number 01\n").count(), 1, "it was not begun anew: {said}");
    assert!(said.matches("frail | number 12\n").count() >= 3, "{said}");
    // Enough is enough.
    machine.wait_for_times("frail | number 12\n", 4);
    machine.type_line("ps");
    let said = machine.wait_for("CPU TIME").to_owned();
    assert!(!said.contains("(4 of"), "{said}");
    machine.wait_for("counter | 40\n");
}

#[test]
fn a_panic_of_the_kernel_is_gone_on_from() {
    let list = "init: 1\nprograms: [{ program: counter.wasm, memory: 8M, args: [--interval-ms, '200'] }]\n";
    let medium = listed(list, &[]);
    let port = free_port();
    for (name, options) in [MACHINES[0], MACHINES[3]] {
        let [_, _, monitor, socket] = Seat::options(medium.folder.path());
        let network = format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:80");
        let more = [
            &monitor,
            &socket,
            "-serial",
            "stdio",
            "-netdev",
            &network,
            "-device",
            "virtio-net-pci,netdev=n",
        ];
        let mut machine = medium.boot_freely(&[options, &more].concat());
        machine.wait_for("\n5\n");
        let mut seat = Seat::at(medium.folder.path());
        for time in 1..=3 {
            // Vector 2 is for what hardware cannot go on from.
            seat.order("nmi");
            let said = machine.wait_for(&format!("`log` says what it was ({time} so far)")).to_owned();
            assert!(said.contains("ms after a panic of the kernel"), "{name}: {said}");
            machine.wait_for_times("\n5\n", time + 1);
        }
        machine.type_line("log");
        machine.wait_for("vector 2, ");
        // Once more is too often: whoever is there is to read it.
        seat.order("nmi");
        let said = machine.wait_for_times("SentientOS panic", 4).to_owned();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(said.matches("so far)").count(), 3, "{name}: {said}");
    }
}

#[test]
fn a_program_for_which_there_is_no_memory_is_not_run_and_others_are() {
    let programs: Vec<PathBuf> = vec![container("hello"), container("counter")];
    let medium = Medium::with(&programs, &["--memory", "64M"]);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    let said = machine.wait_for("zero> ").to_owned();
    assert!(said.contains("counter | sentient: cannot start the container: the machine has no "), "{said}");
    assert!(said.contains("hello | Hello, SentientOS!"), "{said}");
    // With as little as a machine may have, there is room for the kernel, and for no program.
    let mut machine = medium.boot(&["-machine", "q35", "-m", "24"]);
    let said = machine.wait_for("zero> ").to_owned();
    assert_eq!(said.matches("cannot start the container: the machine has no ").count(), 2, "{said}");
}

#[test]
fn the_command_line_says_which_programs_run_and_what_comes_then() {
    let list = "init: 1\nprograms: [{ program: hello.wasm }, { program: counter.wasm, memory: 8M }]\n";
    let medium = listed(list, &[]);
    medium.edit_menu("only=hello done=end strange");
    let (said, code) = medium.boot(MACHINES[0].1).end();
    assert!(said.contains("Hello, SentientOS!") && code == Some(0), "{said}");
    assert!(!said.contains("counter |"), "{said}");
    assert!(said.contains("`strange` on the command line is none of zero, anew, done=console"), "{said}");
}

#[test]
fn a_virtio_console_is_enough() {
    let medium = Medium::with(&[container("hello")], &["--memory", "16M"]);
    let console =
        ["-chardev", "stdio,id=c", "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=c"];
    for (name, options) in [MACHINES[0], MACHINES[3]] {
        let alone = ["-serial", "none", "-monitor", "none"];
        let mut machine = medium.boot(&[options, &alone, &console].concat());
        let said = machine.wait_for("zero> ").to_owned();
        assert!(said.contains("Hello, SentientOS!"), "{name}: {said}");
        machine.type_line("devices");
        machine.wait_for("virtio, console");
        machine.type_line("off");
        machine.end();
    }
}

#[test]
fn a_screen_of_characters_is_enough() {
    let medium = Medium::with(&[container("hello")], &["--memory", "16M"]);
    // The kernel would rather have pixels, and takes what there is.
    medium.edit_menu("\nset gfxpayload=text");
    for (name, options) in [MACHINES[0], MACHINES[1]] {
        let seat = Seat::options(medium.folder.path());
        let options: Vec<&str> = options.iter().copied().chain(seat.iter().map(String::as_str)).collect();
        let machine = medium.boot(&options);
        let mut seat = Seat::at(medium.folder.path());
        let text = seat.wait_for_characters("zero>");
        assert!(text.contains("Hello, SentientOS!"), "{name}: {text}");
        seat.type_line("regions");
        let text = seat.wait_for_characters("runtime-text");
        assert!(text.contains("zero> regions"), "{name}: {text}");
        seat.type_line("off");
        machine.end();
    }
}
