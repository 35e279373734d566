//! Media: the kernel and programs on an ISO, which machines under QEMU boot by BIOS and by UEFI, from a drive and from a disk.
//!
//! What a machine says comes over its serial port. QEMU interprets it all: no KVM, and none of the VMM's devices.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{container, finish, root, sentctl};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest that a machine may take: TCG interprets it all, the firmware too.
const PATIENCE: Duration = Duration::from_secs(90);

const UEFI: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_SETTINGS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A medium in a folder of its own.
struct Medium {
    folder: TempDir,
    iso: PathBuf,
}

impl Medium {
    /// With these programs, and further options of `iso-build`.
    fn with(programs: &[PathBuf], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("medium.iso");
        let mut build = sentctl();
        build.args(["iso-build", "--timeout", "0", "-o"]).arg(&iso).args(options);
        for program in programs {
            build.arg("--tso").arg(program);
        }
        let built = finish(&mut build);
        assert_eq!(built.code(), 0, "{built}");
        Self { folder, iso }
    }

    /// Boots it on a machine with these options of QEMU's.
    fn boot(&self, options: &[&str]) -> Machine {
        self.boot_from(options, &["-cdrom", self.iso.to_str().unwrap()])
    }

    /// The same, and nothing ends it but itself.
    fn boot_freely(&self, options: &[&str]) -> Machine {
        self.start(options, &["-cdrom", self.iso.to_str().unwrap()])
    }

    fn boot_from(&self, options: &[&str], medium: &[&str]) -> Machine {
        let until_the_end = ["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"];
        self.start(options, &[medium, &until_the_end].concat())
    }

    fn start(&self, options: &[&str], medium: &[&str]) -> Machine {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "max", "-display", "none"]);
        if !options.contains(&"-serial") {
            command.args(["-monitor", "none", "-serial", "stdio"]);
        }
        let mut options = options.to_vec();
        if let Some(at) = options.iter().position(|option| *option == "uefi") {
            options.remove(at);
            let settings = self.folder.path().join("settings.fd");
            fs::copy(UEFI_SETTINGS, &settings).unwrap_or_else(|error| {
                panic!("this test needs {UEFI_SETTINGS}: {error}. On Debian: apt-get install ovmf")
            });
            command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={UEFI}"));
            command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", settings.display()));
        }
        command.args(options).args(medium);
        Machine::start(&mut command)
    }

    /// What the file `name` on the medium begins with is somewhere in the ISO: changes a byte of it, `at` bytes behind.
    fn flip(&self, needle: &[u8], at: usize) {
        let mut bytes = fs::read(&self.iso).unwrap();
        let found = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[found + at] ^= 1;
        fs::write(&self.iso, bytes).unwrap();
    }
}

/// A machine under QEMU.
struct Machine {
    child: Child,
    heard: Receiver<Vec<u8>>,
    said: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Machine {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
                panic!("this test needs QEMU: {error}. On Debian: apt-get install qemu-system-x86")
            });
        let mut stdout = child.stdout.take().unwrap();
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                if tell.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, heard, said: String::new() }
    }

    /// Waits until it has said something; gives all that it has said.
    fn wait_for(&mut self, part: &str) -> &str {
        self.wait_for_times(part, 1)
    }

    fn wait_for_times(&mut self, part: &str, times: usize) -> &str {
        let until = Instant::now() + PATIENCE;
        while self.said.matches(part).count() < times {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.said.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                Err(error) => panic!("`{part}` was not said ({error}), but:\n{}", self.said),
            }
        }
        &self.said
    }

    fn type_line(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Waits until it has ended; gives what it has said, and the code that the kernel gave, if it gave one.
    fn end(mut self) -> (String, Option<i32>) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok(bytes) = self.heard.recv_timeout(Duration::from_secs(1)) {
                    self.said.push_str(&String::from_utf8_lossy(&bytes).replace('\r', ""));
                }
                let code = status.code().filter(|code| code % 2 == 1).map(|code| code >> 1);
                return (std::mem::take(&mut self.said), code);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the machine has not ended; it said:\n{}", self.said)
    }
}

/// The console of QEMU itself, by which somebody types, and looks at the screen.
struct Seat {
    monitor: UnixStream,
    picture: PathBuf,
}

impl Seat {
    /// At a machine that was started with `options`.
    fn at(folder: &Path) -> Self {
        let socket = folder.join("monitor");
        let until = Instant::now() + PATIENCE;
        let monitor = loop {
            match UnixStream::connect(&socket) {
                Ok(monitor) => break monitor,
                Err(error) if Instant::now() > until => panic!("no monitor of QEMU's: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        Self { monitor, picture: folder.join("screen.ppm") }
    }

    /// For a machine with nothing but a screen and a keyboard.
    fn options(folder: &Path) -> [String; 4] {
        let monitor = format!("unix:{},server,nowait", folder.join("monitor").display());
        ["-serial".into(), "none".into(), "-monitor".into(), monitor]
    }

    fn type_line(&mut self, line: &str) {
        for key in line.chars() {
            writeln!(self.monitor, "sendkey {key}").unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
        writeln!(self.monitor, "sendkey ret").unwrap();
    }

    /// What is to be read on the screen; nothing while something else is there.
    fn read(&mut self) -> String {
        let _ = fs::remove_file(&self.picture);
        writeln!(self.monitor, "screendump {}", self.picture.display()).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if let Some(text) = fs::read(&self.picture).ok().and_then(|picture| text_of(&picture)) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        String::new()
    }

    fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.read();
            if text.contains(part) {
                return text;
            }
            assert!(Instant::now() < until, "`{part}` is not on the screen, but:\n{text}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The characters of a picture (PPM), in the font that the kernel has; `None` if it is not whole.
fn text_of(picture: &[u8]) -> Option<String> {
    let mut parts = picture.splitn(4, |byte| byte.is_ascii_whitespace());
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<usize>().ok();
    let (kind, width, height) = (number(), number()?, number()?);
    let pixels = parts.next()?.strip_prefix(b"255\n").filter(|_| kind.is_none())?;
    if pixels.len() < width * height * 3 {
        return None;
    }
    let (size, weight) = (RasterHeight::Size16, FontWeight::Regular);
    let glyphs: HashMap<Vec<u8>, char> = (' '..='~')
        .map(|character| {
            let raster = get_raster(character, weight, size).unwrap();
            (raster.rows().flatten().copied().collect(), character)
        })
        .collect();
    let cell = get_raster('a', weight, size).unwrap();
    let mut text = String::new();
    for row in 0..height / cell.height() {
        for column in 0..width / cell.width() {
            let mut found = Vec::new();
            for y in 0..cell.height() {
                let at = ((row * cell.height() + y) * width + column * cell.width()) * 3;
                found.extend(pixels[at..at + cell.width() * 3].iter().step_by(3));
            }
            text.push(glyphs.get(&found).copied().unwrap_or('\u{fffd}'));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    Some(text)
}

/// Every kind of machine: two chip sets, two kinds of firmware, the least memory and more than fits below 4 GiB, processors.
const MACHINES: [(&str, &[&str]); 5] = [
    ("BIOS, q35", &["-machine", "q35", "-m", "128"]),
    ("BIOS, pc", &["-machine", "pc", "-m", "128", "-smp", "4"]),
    ("BIOS, much memory", &["-machine", "q35", "-m", "4096", "-smp", "4"]),
    ("UEFI, q35", &["-machine", "q35", "-m", "128", "uefi"]),
    ("UEFI, much memory", &["-machine", "q35", "-m", "4096", "-smp", "4", "uefi"]),
];

#[test]
fn a_medium_boots_on_every_kind_of_machine() {
    let medium = Medium::with(&[container("hello")], &["--when-done", "end"]);
    for (name, options) in MACHINES {
        let (said, code) = medium.boot(options).end();
        assert!(said.contains("Hello, SentientOS!"), "{name}: {said}");
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[test]
fn a_medium_is_a_disk_too() {
    let medium = Medium::with(&[container("hello")], &["--when-done", "end"]);
    let drive = format!("format=raw,file={}", medium.iso.display());
    for options in [&["-m", "128"][..], &["-machine", "q35", "-m", "128", "uefi"]] {
        let (said, code) = medium.boot_from(options, &["-drive", &drive]).end();
        assert!(said.contains("Hello, SentientOS!") && code == Some(0), "{options:?}: {said}");
    }
}

#[test]
fn programs_run_side_by_side_and_the_console_comes_when_all_have_ended() {
    let programs = [container("hello"), container("counter"), container("faults")];
    let medium = Medium::with(&programs, &["--memory", "16M"]);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    let said = machine.wait_for("counter | 3\n").to_owned();
    assert!(said.contains("hello | Hello, SentientOS!\n"), "{said}");
    // One that ends in an error is nobody else's concern.
    assert!(said.contains("faults | "), "{said}");
    // This one counts for ever.
    machine.wait_for("counter | 20\n");

    let medium = Medium::with(&[container("hello")], &[]);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    machine.wait_for("zero> ");
    machine.type_line("verify");
    let said = machine.wait_for("runtime-const").to_owned();
    assert!(said.contains("No container runs any more") && said.contains("as it should be"), "{said}");
    machine.type_line("mem");
    machine.wait_for("free ");
    machine.type_line("off");
    let (said, _) = machine.end();
    assert!(!said.contains("DAMAGED"), "{said}");
}

#[test]
fn the_zero_mode_of_a_medium_runs_nothing() {
    let medium = Medium::with(&[container("hello")], &["--zero"]);
    for (_, options) in [MACHINES[1], MACHINES[3]] {
        let mut machine = medium.boot(options);
        machine.wait_for("zero> ");
        machine.type_line("regions");
        let said = machine.wait_for("runtime-text").to_owned();
        assert!(!said.contains("Hello"), "{said}");
        machine.type_line("reboot");
        machine.end();
    }
}

#[test]
fn a_machine_is_really_switched_off_and_really_booted_anew() {
    let medium = Medium::with(&[], &["--zero"]);
    for (name, options) in [MACHINES[0], MACHINES[1], MACHINES[3]] {
        // With no debug port to end it, and free to boot again.
        let mut machine = medium.boot_freely(options);
        machine.wait_for("zero> ");
        machine.type_line("reboot");
        machine.wait_for_times("zero mode: no containers are run", 2);
        machine.type_line("off");
        let (said, code) = machine.end();
        assert_eq!(code, None, "{name}: {said}");
    }
}

#[test]
fn a_screen_and_a_keyboard_are_enough() {
    let medium = Medium::with(&[container("hello")], &["--memory", "16M"]);
    for (name, options) in [MACHINES[0], MACHINES[3]] {
        let seat = Seat::options(medium.folder.path());
        let options: Vec<&str> = options.iter().copied().chain(seat.iter().map(String::as_str)).collect();
        let machine = medium.boot(&options);
        let mut seat = Seat::at(medium.folder.path());
        let text = seat.wait_for("zero>");
        assert!(text.contains("Hello, SentientOS!"), "{name}: {text}");
        seat.type_line("regions");
        let text = seat.wait_for("runtime-text");
        assert!(text.contains("zero> regions"), "{name}: {text}");
        // More than fits.
        seat.type_line("regions");
        seat.type_line("regions");
        seat.type_line("help");
        let text = seat.wait_for("what is known of the machine's faults");
        assert!(!text.contains('\u{fffd}'), "{name}: {text}");
        seat.type_line("off");
        machine.end();
    }
}

#[test]
fn a_byte_that_is_another_one_is_found_before_the_image_runs() {
    let programs = [container("hello"), container("counter")];
    let medium = Medium::with(&programs, &[]);
    // Somewhere in the first image, behind its head.
    medium.flip(b"hello\0", 0x3000);
    let mut machine = medium.boot(&["-machine", "q35", "-m", "128"]);
    let said = machine.wait_for("counter | 3\n").to_owned();
    assert!(said.contains("hello | sentient: cannot start the container: its image is damaged"), "{said}");
    assert!(!said.contains("Hello, SentientOS!"), "{said}");
}

#[test]
fn the_same_programs_give_the_same_bytes_and_a_file_is_not_replaced_unasked() {
    let one = Medium::with(&[container("hello")], &[]);
    let other = Medium::with(&[container("hello")], &[]);
    let bytes = fs::read(&one.iso).unwrap();
    assert!(bytes == fs::read(&other.iso).unwrap(), "two media of the same differ");
    assert!(bytes.len() <= 20 << 20, "{} bytes", bytes.len());
    let mut again = sentctl();
    let again = finish(again.args(["iso-build", "-o"]).arg(&one.iso));
    assert!(again.code() != 0 && again.err().contains("--force"), "{again}");
    let missing = finish(sentctl().args(["iso-build", "--tso", "/no/such.tso", "-o", "/tmp/never.iso"]));
    assert!(missing.code() == 127 && !Path::new("/tmp/never.iso").exists(), "{missing}");
}

#[test]
fn what_makes_a_medium_is_named_where_it_is_missing() {
    let mut build = sentctl();
    build.args(["iso-build", "-o", "/tmp/never.iso"]).env("PATH", root().join("docs"));
    let refused = finish(&mut build);
    for part in ["grub-mkimage", "xorriso", "apt-get install", "grub-efi-amd64-bin"] {
        assert!(refused.err().contains(part), "{refused}");
    }
}
