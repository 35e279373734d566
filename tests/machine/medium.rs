//! Media, and machines under QEMU that boot them: what they say comes over the serial port, and what they show is read from
//! the screen. QEMU interprets it all: no KVM, and none of the VMM's devices.

use super::{container, finish, sentctl};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
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
pub struct Medium {
    pub folder: TempDir,
    pub iso: PathBuf,
    /// What `iso-build --json` has said.
    pub said: String,
}

impl Medium {
    /// With these programs, and further options of `iso-build`.
    pub fn with(programs: &[PathBuf], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("medium.iso");
        let mut build = sentctl();
        build.args(["--json", "iso-build", "--timeout", "0", "-o"]).arg(&iso).args(options);
        for program in programs {
            build.arg("--tso").arg(program);
        }
        let built = finish(&mut build);
        assert_eq!(built.code(), 0, "{built}");
        let said = built.out();
        Self { folder, iso, said }
    }

    /// Boots it on a machine with these options of QEMU's.
    pub fn boot(&self, options: &[&str]) -> Machine {
        self.boot_from(options, &["-cdrom", self.iso.to_str().unwrap()])
    }

    /// The same, and nothing ends it but itself.
    pub fn boot_freely(&self, options: &[&str]) -> Machine {
        self.start(options, &["-cdrom", self.iso.to_str().unwrap()])
    }

    pub fn boot_from(&self, options: &[&str], medium: &[&str]) -> Machine {
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

    /// Changes the loader's menu, as somebody does who types into it: `words` come behind the kernel's name in the first entry. That
    /// takes the place of a remark, so that the file stays as long as it is.
    pub fn edit_menu(&self, words: &str) {
        let mut bytes = fs::read(&self.iso).unwrap();
        let find = |bytes: &[u8], part: &str| {
            bytes.windows(part.len()).position(|window| window == part.as_bytes()).unwrap()
        };
        let command = "multiboot2 /boot/kernel.elf";
        let start = find(&bytes, "# Behind the kernel's name: ");
        let len = find(&bytes[start..], command) + command.len();
        let text = format!("menuentry \"SentientOS\" {{\n{command} {words}");
        assert!(text.len() + 2 <= len, "{words} is too long");
        let padded = format!("#{}\n{text}", "-".repeat(len - text.len() - 2));
        bytes[start..start + len].copy_from_slice(padded.as_bytes());
        fs::write(&self.iso, bytes).unwrap();
    }

    /// What the file `name` on the medium begins with is somewhere in the ISO: changes a byte of it, `at` bytes behind.
    pub fn flip(&self, needle: &[u8], at: usize) {
        let mut bytes = fs::read(&self.iso).unwrap();
        let found = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[found + at] ^= 1;
        fs::write(&self.iso, bytes).unwrap();
    }
}

/// A medium with the programs of a list: `hello`, `counter`, `web`, and one that traps when it has counted to 12.
pub fn listed(list: &str, options: &[&str]) -> Medium {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("frail.wasm"), wat::parse_str(include_str!("frail.wat")).unwrap()).unwrap();
    for name in ["hello", "counter", "web"] {
        fs::copy(container(name), folder.path().join(format!("{name}.wasm"))).unwrap();
    }
    let path = folder.path().join("init.yaml");
    fs::write(&path, list).unwrap();
    let path = path.to_str().unwrap();
    Medium::with(&[], &[&["--init", path], options].concat())
}

/// A port of this host that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a server at a port of this host answers, if anything.
pub fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// A machine under QEMU.
pub struct Machine {
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
    pub fn wait_for(&mut self, part: &str) -> &str {
        self.wait_for_times(part, 1)
    }

    pub fn wait_for_times(&mut self, part: &str, times: usize) -> &str {
        let until = Instant::now() + PATIENCE;
        while self.said.matches(part).count() < times {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.said.push_str(&String::from_utf8_lossy(&bytes).replace('\r', "")),
                Err(error) => panic!("`{part}` was not said ({error}), but:\n{}", self.said),
            }
        }
        &self.said
    }

    pub fn type_line(&mut self, line: &str) {
        self.child.stdin.as_mut().unwrap().write_all(format!("{line}\r").as_bytes()).unwrap();
    }

    /// Waits until it has ended; gives what it has said, and the code that the kernel gave, if it gave one.
    pub fn end(mut self) -> (String, Option<i32>) {
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
pub struct Seat {
    monitor: UnixStream,
    picture: PathBuf,
}

impl Seat {
    /// At a machine that was started with `options`.
    pub fn at(folder: &Path) -> Self {
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

    /// Has QEMU do something to the machine.
    pub fn order(&mut self, command: &str) {
        writeln!(self.monitor, "{command}").unwrap();
    }

    /// For a machine with nothing but a screen and a keyboard.
    pub fn options(folder: &Path) -> [String; 4] {
        let monitor = format!("unix:{},server,nowait", folder.join("monitor").display());
        ["-serial".into(), "none".into(), "-monitor".into(), monitor]
    }

    pub fn type_line(&mut self, line: &str) {
        for key in line.chars() {
            writeln!(self.monitor, "sendkey {key}").unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
        writeln!(self.monitor, "sendkey ret").unwrap();
    }

    /// What is to be read on the screen; nothing while something else is there.
    pub fn read(&mut self) -> String {
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

    /// The characters of VGA's text mode: at 0xb8000, 80 a line, each with a byte of colours behind it.
    fn characters(&mut self) -> String {
        let _ = fs::remove_file(&self.picture);
        self.order(&format!("pmemsave 0xb8000 4000 \"{}\"", self.picture.display()));
        std::thread::sleep(Duration::from_millis(200));
        let bytes = fs::read(&self.picture).unwrap_or_default();
        let line = |line: &[u8]| {
            let text: String = line.iter().step_by(2).map(|byte| char::from(*byte)).collect();
            text.trim_end_matches(['\0', ' ']).to_owned() + "\n"
        };
        bytes.chunks(160).map(line).collect()
    }

    /// Waits until there is something on the screen; gives all that is.
    pub fn wait_for(&mut self, part: &str) -> String {
        self.wait_until(Self::read, part)
    }

    /// The same on a screen of characters.
    pub fn wait_for_characters(&mut self, part: &str) -> String {
        self.wait_until(Self::characters, part)
    }

    fn wait_until(&mut self, look: fn(&mut Self) -> String, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = look(self);
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
pub const MACHINES: [(&str, &[&str]); 5] = [
    ("BIOS, q35", &["-machine", "q35", "-m", "128"]),
    ("BIOS, pc", &["-machine", "pc", "-m", "128", "-smp", "4"]),
    ("BIOS, much memory", &["-machine", "q35", "-m", "4096", "-smp", "4"]),
    ("UEFI, q35", &["-machine", "q35", "-m", "128", "uefi"]),
    ("UEFI, much memory", &["-machine", "q35", "-m", "4096", "-smp", "4", "uefi"]),
];
