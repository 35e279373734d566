//! What somebody outside of the container may do with its files.

use sentient_wasi::{Builder, Errno, FileAccess, FileKind, Limits, Permissions, Wasi};

fn wasi() -> Wasi {
    Builder::new()
        .file("etc/motd", b"welcome")
        .file_of_image("image", b"below")
        .symlink("etc/link", "../image")
        .time_ns(5)
        .build()
        .unwrap()
}

fn names(wasi: &mut Wasi, path: &[u8], from: u64) -> Vec<(Vec<u8>, u64)> {
    let files = wasi.files();
    files.list(path, from).unwrap().map(|listed| (listed.name.to_vec(), listed.next)).collect()
}

#[test]
fn files_are_looked_at_listed_and_read_by_absolute_paths() {
    let mut wasi = wasi();
    let files = wasi.files();
    let motd = files.look(b"/etc/motd").unwrap();
    assert_eq!((motd.kind, motd.size, motd.modified_ns), (FileKind::File, 7, 5));
    assert_eq!(files.look(b"/").unwrap().kind, FileKind::Directory);
    assert_eq!(files.look(b"//etc/").unwrap().kind, FileKind::Directory);
    // A link is meant itself, unless its bytes are wanted.
    assert_eq!(files.look(b"/etc/link").unwrap().kind, FileKind::Link);
    assert_eq!(files.target(b"/etc/link").unwrap(), b"../image");
    assert_eq!(files.read(b"/etc/link", 1, 3).unwrap(), b"elo");
    assert_eq!(files.read(b"/etc/motd", 7, 10).unwrap(), b"");
    assert_eq!(files.read(b"/etc/motd", u64::MAX, usize::MAX).unwrap(), b"");
    for (path, errno) in [
        (&b"/none"[..], Errno::Noent),
        (b"/etc/motd/x", Errno::Notdir),
        (b"/../etc", Errno::Perm),
        (b"", Errno::Noent),
        (b"/\xff", Errno::Ilseq),
    ] {
        assert_eq!(files.look(path).unwrap_err(), errno, "{path:?}");
    }
    assert_eq!(files.read(b"/etc", 0, 1).unwrap_err(), Errno::Isdir);
    assert!(matches!(files.list(b"/image", 0), Err(Errno::Notdir)));
    let all = names(&mut wasi, b"/etc", 0);
    assert_eq!(all.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>(), [&b"motd"[..], b"link"]);
    assert_eq!(names(&mut wasi, b"/etc", all[0].1), all[1..]);
    assert!(names(&mut wasi, b"/etc", all[1].1).is_empty());
}

#[test]
fn files_are_made_and_replaced() {
    let mut wasi = wasi();
    let mut files = wasi.files();
    files.make_directory(b"/etc", 9).unwrap();
    files.make_directory(b"/new", 9).unwrap();
    files.create(b"/new/f", 9).unwrap();
    files.write(b"/new/f", 3, b"abc", 9).unwrap();
    assert_eq!(files.read(b"/new/f", 0, 10).unwrap(), b"\0\0\0abc");
    files.create(b"/new/f", 10).unwrap();
    assert_eq!(files.look(b"/new/f").unwrap().size, 0);
    // Through a link that leads somewhere, and to what is in the image.
    files.create(b"/etc/link", 9).unwrap();
    assert_eq!(files.read(b"/image", 0, 10).unwrap(), b"");
    files.make_link(b"/etc/link", b"motd", 9).unwrap();
    assert_eq!(files.target(b"/etc/link").unwrap(), b"motd");
    files.set_modified(b"/new/f", 77, 11).unwrap();
    assert_eq!(files.look(b"/new/f").unwrap().modified_ns, 77);
    assert_eq!(files.make_directory(b"/etc/motd", 9).unwrap_err(), Errno::Exist);
    assert_eq!(files.make_link(b"/etc/motd", b"x", 9).unwrap_err(), Errno::Exist);
    assert_eq!(files.make_link(b"/l", b"/etc", 9).unwrap_err(), Errno::Perm);
    assert_eq!(files.create(b"/", 9).unwrap_err(), Errno::Isdir);
    assert_eq!(files.write(b"/none", 0, b"x", 9).unwrap_err(), Errno::Noent);
}

#[test]
fn permissions_are_the_programs_and_room_is_everybodys() {
    let limits = Limits { file_bytes: 8 << 10, ..Limits::default() };
    let mut wasi = Builder::new()
        .limits(limits)
        .permissions(Permissions { files: vec![(b"/".to_vec(), FileAccess::None)], ..Permissions::default() })
        .build()
        .unwrap();
    let mut files = wasi.files();
    files.create(b"/f", 1).unwrap();
    files.write(b"/f", 0, b"secret", 1).unwrap();
    assert_eq!(files.write(b"/f", 6, &[0; 16 << 10], 1).unwrap_err(), Errno::Nospc);
    files.create(b"/f", 1).unwrap();
    files.write(b"/f", 0, b"fits", 1).unwrap();
}
