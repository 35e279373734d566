//! What a container may not do, it cannot do in any way, and somebody is told.

use sentient_wasi::{Builder, Clock, Denied, Errno, FileAccess, Permissions, rights};

use crate::clocks::{resolution, time};
use crate::guest::{ALL, CREAT, DATA, EXCL, FOLLOW, Guest, NONBLOCK, ROOT, TRUNC, blocked, done};
use crate::polling::{clock, poll, poll_call, until, writing};

const DENIED: Errno = Errno::Notcapable;

/// `/etc` to read, `/etc/private` not at all, `/tmp` and `/etc/spool` to write, `/motd` to read.
fn ruled() -> Guest {
    let rules = [
        ("/etc", FileAccess::Read),
        ("/etc/private", FileAccess::None),
        ("/etc/spool", FileAccess::Write),
        ("/tmp", FileAccess::Write),
        ("/motd", FileAccess::Read),
    ];
    let files = rules.map(|(path, access)| (path.as_bytes().to_vec(), access)).to_vec();
    Guest::with(
        Builder::new()
            .file_of_image("etc/hosts", b"localhost")
            .file_of_image("etc/private/key", b"secret")
            .file_of_image("motd", b"welcome")
            .file_of_image("secret/key", b"secret")
            .permissions(Permissions { files, ..Permissions::default() }),
    )
}

fn file(path: &str, access: FileAccess) -> Denied {
    Denied::File(path.as_bytes().to_vec(), access)
}

#[test]
fn what_no_rule_names_is_refused_and_told() {
    let mut guest =
        Guest::with(Builder::new().file("a", b"x").directory("d").permissions(Permissions::default()));
    assert_eq!(guest.open_to_read("a"), Err(DENIED));
    assert_eq!(guest.host.denied, [file("/a", FileAccess::Read)]);
    assert_eq!(guest.open("b", CREAT), Err(DENIED));
    assert_eq!(guest.host.denied[1], file("/b", FileAccess::Write));
    assert_eq!(guest.open_to_read("not there"), Err(DENIED), "not even whether it is there");
    assert_eq!(guest.open_directory("d"), Err(DENIED));
    assert_eq!(guest.open_directory("."), Err(DENIED));
    assert_eq!(guest.host.denied[4], file("/", FileAccess::Read));
    assert_eq!(guest.readdir(ROOT, 1000, 0), Err(DENIED));
    assert_eq!(guest.stat("a"), Err(DENIED));
    assert_eq!(guest.lstat("a"), Err(DENIED));
    assert_eq!(guest.mkdir("e"), Err(DENIED));
    assert_eq!(guest.rmdir("d"), Err(DENIED));
    assert_eq!(guest.unlink("a"), Err(DENIED));
    assert_eq!(guest.rename("a", "b"), Err(DENIED));
    assert_eq!(guest.link("a", "b"), Err(DENIED));
    assert_eq!(guest.symlink("a", "b"), Err(DENIED));
    assert_eq!(guest.readlink("a", 10), Err(DENIED));
    assert!(guest.host.denied.len() >= 15);
    assert_eq!(guest.write(1, b"streams need no permission"), Ok(26));
}

#[test]
fn the_nearest_rule_above_a_file_counts() {
    let mut guest = ruled();
    assert_eq!(guest.slurp("etc/hosts").unwrap(), b"localhost");
    assert_eq!(guest.slurp("motd").unwrap(), b"welcome");
    assert_eq!(guest.open("etc/hosts", 0), Err(DENIED), "it asks to write");
    assert_eq!(guest.open("etc/hosts", TRUNC), Err(DENIED));
    assert_eq!(guest.open("etc/new", CREAT), Err(DENIED));
    assert_eq!(guest.open_to_read("etc/private/key"), Err(DENIED));
    assert_eq!(guest.open_to_read("secret/key"), Err(DENIED));
    assert_eq!(guest.open_to_read("etc/missing"), Err(Errno::Noent));
    guest.make("tmp/a", b"x");
    guest.make("etc/spool/b", b"y");
    assert_eq!(guest.slurp("etc/spool/b").unwrap(), b"y");
    assert_eq!(guest.names("etc"), ["hosts", "private", "spool"]);
    // A name is its folder's: one that may be read only keeps its files.
    assert_eq!(guest.unlink("etc/hosts"), Err(DENIED));
    assert_eq!(guest.rename("etc/hosts", "tmp/hosts"), Err(DENIED));
    assert_eq!(guest.rename("tmp/a", "etc/a"), Err(DENIED));
    assert_eq!(guest.rename("etc/spool", "etc/other"), Err(DENIED));
    assert_eq!(guest.rmdir("etc/spool"), Err(DENIED));
    guest.rename("tmp/a", "etc/spool/a").unwrap();
    guest.unlink("etc/spool/a").unwrap();
}

#[test]
fn no_other_name_leads_around_a_rule() {
    let mut guest = ruled();
    for (target, name) in
        [("../secret/key", "tmp/one"), ("../etc/private", "tmp/two"), ("../etc/hosts", "tmp/three")]
    {
        guest.symlink(target, name).unwrap();
    }
    assert_eq!(guest.open_to_read("tmp/one"), Err(DENIED));
    assert_eq!(guest.open_to_read("tmp/two/key"), Err(DENIED));
    assert_eq!(guest.slurp("tmp/three").unwrap(), b"localhost");
    assert_eq!(guest.open("tmp/three", 0), Err(DENIED));
    assert_eq!(guest.open("tmp/../secret/key", 0), Err(DENIED));
    assert_eq!(
        guest.readlink("tmp/one", 100).unwrap(),
        "../secret/key",
        "the link itself lies where it may be read"
    );
    // A hard link would make it writable.
    assert_eq!(guest.link("etc/hosts", "tmp/hosts"), Err(DENIED));
    assert_eq!(guest.link("secret/key", "tmp/key"), Err(DENIED));
    guest.make("tmp/a", b"x");
    guest.link("tmp/a", "etc/spool/a").unwrap();

    // A descriptor of a folder that may be read is no way past the rules below it.
    let etc = guest.open_directory("etc").unwrap();
    let read = ALL & !rights::FD_WRITE;
    assert_eq!(guest.open_as((etc, FOLLOW), "private/key", (0, 0), (read, ALL)), Err(DENIED));
    assert_eq!(guest.open_as((etc, FOLLOW), "hosts", (0, 0), (ALL, ALL)), Err(DENIED));
    assert_eq!(guest.mkdir_at(etc, "new"), Err(DENIED));
    let spool = guest.open_as((etc, FOLLOW), "spool/c", (CREAT | EXCL, 0), (ALL, ALL)).unwrap();
    assert_eq!(guest.write(spool, b"z"), Ok(1));
    // What may be read only is not changed through its descriptor either.
    let hosts = guest.open_to_read("etc/hosts").unwrap();
    let (host, mem) = (&mut guest.host, &mut guest.mem);
    assert_eq!(done(guest.wasi.fd_filestat_set_size(host, mem, hosts, 0)), Err(Errno::Rofs));
    assert_eq!(done(guest.wasi.fd_allocate(host, mem, hosts, 0, 100)), Err(Errno::Rofs));
    assert_eq!(done(guest.wasi.fd_filestat_set_times(host, mem, hosts, 0, 0, 0)), Err(Errno::Rofs));
    assert_eq!(done(guest.wasi.fd_filestat_set_times(host, mem, etc, 0, 0, 0)), Err(DENIED));
    assert_eq!(guest.slurp("etc/hosts").unwrap(), b"localhost");
}

#[test]
fn a_rule_stays_with_what_it_is_about() {
    let rules =
        [("/work", FileAccess::Write), ("/work/in", FileAccess::Read), ("/work/out", FileAccess::Write)];
    let files = rules.map(|(path, access)| (path.as_bytes().to_vec(), access)).to_vec();
    let mut guest = Guest::with(
        Builder::new().file("work/in/a", b"x").permissions(Permissions { files, ..Permissions::default() }),
    );
    // Not moved out of its rule by moving what it lies in: that takes the right to change it.
    assert_eq!(guest.rename("work/in", "work/other"), Err(DENIED));
    guest.rename("work/out", "work/moved").unwrap();
    guest.make("work/moved/b", b"y");
    // The number of what was removed is nobody else's: no rule comes over anything new.
    guest.unlink("work/moved/b").unwrap();
    guest.rmdir("work/moved").unwrap();
    for number in 0..50 {
        guest.mkdir(format!("work/{number}")).unwrap();
        guest.make(&format!("work/{number}/a"), b"x");
    }
    assert_eq!(guest.open("work/in/a", 0), Err(DENIED));
    assert_eq!(guest.open_directory("work/out"), Err(Errno::Noent));
    // Nothing that was removed while open leads anywhere.
    let gone = guest.open_directory("work/7").unwrap();
    guest.unlink("work/7/a").unwrap();
    guest.rmdir("work/7").unwrap();
    assert_eq!(guest.open_as((gone, FOLLOW), "a", (CREAT, 0), (ALL, ALL)), Err(DENIED));
}

#[test]
fn a_file_of_the_image_is_copied_as_it_is_changed() {
    let image: &'static [u8] = Vec::leak((0..200_000u32).map(|at| at as u8).collect());
    let mut guest = Guest::with(Builder::new().file_of_image("big", image).file_of_image("small", b"abc"));
    let before = guest.wasi.usage().file_bytes;
    assert!(before < 2000, "{before}");
    assert_eq!(guest.stat("big").unwrap().size, 200_000);
    assert_eq!(guest.slurp("big").unwrap(), image);
    let fd = guest.open("big", 0).unwrap();
    assert_eq!(guest.pwrite(fd, 70_000, b"changed"), Ok(7));
    let after = guest.wasi.usage().file_bytes;
    assert!((60_000..140_000).contains(&(after - before)), "{before} {after}");
    let mut expected = image.to_vec();
    expected[70_000..70_007].copy_from_slice(b"changed");
    assert_eq!(guest.slurp("big").unwrap(), expected);
    // What is cut off does not come back.
    let (host, mem) = (&mut guest.host, &mut guest.mem);
    done(guest.wasi.fd_filestat_set_size(host, mem, fd, 10)).unwrap();
    done(guest.wasi.fd_filestat_set_size(host, mem, fd, 20)).unwrap();
    let mut expected = image[..10].to_vec();
    expected.resize(20, 0);
    assert_eq!(guest.slurp("big").unwrap(), expected);
    // Written behind its end, and before.
    let fd = guest.open("small", 0).unwrap();
    assert_eq!(guest.pwrite(fd, 5, b"z"), Ok(1));
    assert_eq!(guest.slurp("small").unwrap(), b"abc\0\0z");
    guest.unlink("small").unwrap();
    guest.make("small", b"new");
    assert_eq!(guest.slurp("small").unwrap(), b"new");
}

#[test]
fn clocks_are_as_fine_as_they_may_be() {
    let allowed = |wall, monotonic| {
        let files = vec![(b"/".to_vec(), FileAccess::Write)];
        let permissions = Permissions {
            files,
            wall_clock_ns: wall,
            monotonic_clock_ns: monotonic,
            ..Permissions::default()
        };
        Guest::with(Builder::new().time_ns(42).permissions(permissions))
    };
    let mut guest = allowed(Some(1_000_000), None);
    guest.host.realtime = 1_700_000_000_123_456_789;
    assert_eq!(time(&mut guest, 0), Ok(1_700_000_000_123_000_000));
    assert_eq!(resolution(&mut guest, 0), Ok(1_000_000));
    for id in 1..4 {
        assert_eq!((time(&mut guest, id), resolution(&mut guest, id)), (Err(DENIED), Err(DENIED)));
    }
    assert_eq!(guest.host.denied[0], Denied::Clock(Clock::Monotonic));
    assert_eq!(time(&mut guest, 9), Err(Errno::Inval));
    guest.make("a", b"x");
    assert_eq!(guest.stat("a").unwrap().mtim, 1_700_000_000_123_000_000, "no finer by way of files");

    let mut guest = allowed(None, Some(10));
    guest.host.monotonic = 5_678;
    assert_eq!((time(&mut guest, 0), time(&mut guest, 1)), (Err(DENIED), Ok(5_670)));
    assert_eq!(resolution(&mut guest, 1), Ok(100), "no finer than it is");
    guest.make("a", b"x");
    assert_eq!(guest.stat("a").unwrap().mtim, 42, "files do not tell the time");
}

#[test]
fn waiting_takes_no_clock_and_waiting_for_a_time_does() {
    let mut guest = Guest::with(Builder::new().permissions(Permissions::default()));
    assert_eq!(blocked(poll_call(&mut guest, &[clock(1, 1_000, false)])), until(6_000));
    guest.wasi.cancel();
    for id in [0, 1] {
        let events = poll(&mut guest, &[clock(id, 9_000, true)]);
        assert_eq!(events[0].error, DENIED as u16, "clock {id}");
    }
    let permissions = Permissions { monotonic_clock_ns: Some(1_000), ..Permissions::default() };
    let mut guest = Guest::with(Builder::new().permissions(permissions));
    let wait = poll_call(&mut guest, &[clock(1, 9_001, true)]);
    assert_eq!(blocked(wait), until(10_000), "when the clock shows it");
}

#[test]
fn random_numbers_and_the_rate_of_output() {
    let mut guest = Guest::with(Builder::new().permissions(Permissions::default()));
    let (host, mem) = (&mut guest.host, &mut guest.mem);
    assert_eq!(done(guest.wasi.random_get(host, mem, DATA, 8)), Err(DENIED));
    assert_eq!((guest.bytes(DATA, 8), &*guest.host.denied), (&[0; 8][..], &[Denied::Random][..]));
    let random = Permissions { random: true, ..Permissions::default() };
    let mut guest = Guest::with(Builder::new().permissions(random));
    let (host, mem) = (&mut guest.host, &mut guest.mem);
    done(guest.wasi.random_get(host, mem, DATA, 8)).unwrap();

    guest.host.throttled = Some(7_000);
    assert_eq!(blocked(guest.write_call(1, b"x")), until(7_000));
    assert_eq!(blocked(poll_call(&mut guest, &[writing(1)])), until(7_000));
    guest.set_flags(1, NONBLOCK).unwrap();
    assert_eq!(guest.write(1, b"x"), Err(Errno::Again));
    guest.host.throttled = None;
    assert_eq!(guest.write(1, b"x"), Ok(1));
}
