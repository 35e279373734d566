//! What the host does with the files of containers that run.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::container_files::{Entry, Failure, Kind, MAX_DATA, Wanted};
use sentient_devices::virtio::stdio_mux::ContainerEvent;
use sentient_vmm::MachineError;
use staying::{Resident, hello, looping, program};

/// Names in a directory, page by page, and how many pages that were.
fn names(resident: &mut Resident, container: u32, path: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut from) = (Vec::new(), 0, 0);
    loop {
        let page = resident.file(container, path, Wanted::List(from)).unwrap();
        let mut rest = &page[..];
        while let Some(entry) = Entry::take(&mut rest) {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            from = entry.next;
        }
        if page.is_empty() {
            return (names, pages);
        }
        pages += 1;
    }
}

fn look(resident: &mut Resident, container: u32, path: &str) -> Result<(Kind, u64), Failure> {
    let bytes = resident.file(container, path, Wanted::Look)?;
    let entry = Entry::take(&mut &bytes[..]).unwrap();
    Ok((entry.kind, entry.size))
}

#[test]
fn files_are_written_into_containers_and_read_from_them() {
    let mut resident = Resident::start(128 << 20);
    // One that waits, and one that computes for ever.
    let sleeping = program("resources/containers/counter/counter.wasm", &["--interval-ms", "10"]);
    for (container, run) in [(0, &sleeping), (63, &looping())] {
        resident.load(container, run);
        let all = |at: usize| {
            (0..MAX_DATA + 1).map(|n| ((n * 7 + at) % 251 + container as usize % 5) as u8).collect::<Vec<_>>()
        };
        assert_eq!(resident.file(container, "/d", Wanted::Directory), Ok(Vec::new()));
        assert_eq!(resident.file(container, "/d/f", Wanted::Create), Ok(Vec::new()));
        // Requests are longer than the buffers they come in.
        for at in 0..5 {
            let (place, bytes) = ((at * MAX_DATA) as u64, all(at));
            resident.file(container, "/d/f", Wanted::Write(place, &bytes[..MAX_DATA])).unwrap();
        }
        assert_eq!(look(&mut resident, container, "/d/f"), Ok((Kind::File, 5 * MAX_DATA as u64)));
        for at in 0..5 {
            let read = resident.file(container, "/d/f", Wanted::Read((at * MAX_DATA) as u64)).unwrap();
            assert!(read == all(at)[..MAX_DATA], "{at}");
        }
        assert_eq!(resident.file(container, "/d/f", Wanted::Read(5 * MAX_DATA as u64)), Ok(Vec::new()));
        assert_eq!(resident.file(container, "/d/to", Wanted::Link(b"f")), Ok(Vec::new()));
        assert_eq!(resident.file(container, "/d/to", Wanted::Target), Ok(b"f".to_vec()));
        assert_eq!(resident.file(container, "/d/f", Wanted::Modified(7_000_000_001)), Ok(Vec::new()));
        let bytes = resident.file(container, "/d/f", Wanted::Look).unwrap();
        assert_eq!(Entry::take(&mut &bytes[..]).unwrap().modified, 7_000_000_001);
        for (path, wanted, failure) in [
            ("/d/none", Wanted::Look, Failure::NotFound),
            ("/d/f/g", Wanted::Create, Failure::NotADirectory),
            ("/d", Wanted::Create, Failure::IsADirectory),
            ("/d/f", Wanted::Directory, Failure::Exists),
            ("/../f", Wanted::Look, Failure::Outside),
            ("/d/l", Wanted::Link(b"/etc"), Failure::Outside),
        ] {
            assert_eq!(resident.file(container, path, wanted), Err(failure), "{path} {wanted:?}");
        }
        // What it has no room for is said, and ends nothing.
        let most = vec![1; MAX_DATA];
        let mut place = 0;
        let full = loop {
            match resident.file(container, "/d/f", Wanted::Write(place, &most)) {
                Ok(_) => place += MAX_DATA as u64,
                Err(failure) => break failure,
            }
        };
        assert_eq!(full, Failure::NoSpace);
        assert_eq!(resident.file(container, "/d/f", Wanted::Create), Ok(Vec::new()));
    }
    // A listing that takes more than one answer.
    let long = |number: usize| format!("{number:0200}");
    for number in 0..400 {
        resident.file(0, &format!("/d/{}", long(number)), Wanted::Create).unwrap();
    }
    let (found, pages) = names(&mut resident, 0, "/d");
    assert_eq!(found[..2], ["f", "to"]);
    assert!(found[2..].iter().enumerate().all(|(number, name)| *name == long(number)), "{found:?}");
    assert_eq!((found.len(), pages), (402, 3));
    let lines = resident.lines(0);
    resident.until("more lines", |resident| resident.lines(0) > lines + 2);
    resident.handle.kill(63);
    assert!(matches!(resident.end(63), ContainerEvent::Ended(_)));
    assert_eq!(resident.file(63, "/", Wanted::Look), Err(Failure::Gone));
    assert_eq!(resident.file(62, "/", Wanted::Look), Err(Failure::Gone));
}

#[test]
fn what_is_no_request_is_refused_and_one_that_is_too_long_is_not_sent() {
    let mut resident = Resident::start(128 << 20);
    resident.load(1, &looping());
    assert_eq!(resident.file(1, "no/absolute/path", Wanted::Look), Err(Failure::Request));
    let path = format!("/{}", "a".repeat(300));
    assert_eq!(resident.file(1, &path, Wanted::Look), Err(Failure::Name));
    let request = sentient_abi::container_files::Request { wanted: Wanted::Look, path: &[b'/'; 5000] };
    let refused = resident.handle.ask_files(1, 9, &request);
    assert!(matches!(refused, Err(MachineError::FileRequest { path: 5000, .. })), "{refused:?}");
    // Whatever lies before it in the device's buffers, a container that is loaded arrives whole: its frames' payloads
    // are taken from as many of them as they are in.
    for turn in 0..40 {
        for len in [31, 97 + turn] {
            let data = vec![1; len];
            let request =
                sentient_abi::container_files::Request { wanted: Wanted::Write(0, &data), path: b"/f" };
            (0..40).for_each(|_| resident.handle.ask_files(1, u32::MAX, &request).unwrap());
        }
        resident.handle.load(2, &hello()).unwrap();
        if turn == 0 {
            assert_eq!(resident.end(2), ContainerEvent::NoImage);
            resident.load(2, &hello());
        }
        assert_eq!(resident.end(2), staying::EXITED, "{turn}");
        resident.ends.clear();
    }
}
