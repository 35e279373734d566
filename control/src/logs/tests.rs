use super::link::Link;
use super::*;
use std::fs::File;
use std::io::Write;
use tempfile::TempDir;

fn log(folder: &TempDir) -> ContainerLog {
    ContainerLog::of(folder.path())
}

fn at(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn problem(folder: &TempDir) -> Option<String> {
    check(folder.path()).unwrap().problem
}

/// Three links: of standard output, of both, and of standard error.
fn three() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut log = log(&folder);
    log.write(Stream::Stdout, b"one\n").unwrap();
    log.seal().unwrap();
    log.write(Stream::Stdout, b"two\n").unwrap();
    log.write(Stream::Stderr, b"oh\n").unwrap();
    log.seal().unwrap();
    log.write(Stream::Stderr, b"no\n").unwrap();
    log.seal().unwrap();
    // Nothing came: no link.
    log.seal().unwrap();
    folder
}

#[test]
fn what_was_written_fits_its_chain() {
    let folder = three();
    let checked = check(folder.path()).unwrap();
    assert_eq!((checked.problem, checked.links, checked.segments), (None, 3, 1));
    assert_eq!((checked.stdout_bytes, checked.stderr_bytes, checked.unsealed_bytes), (8, 6, 0));
    let text = fs::read_to_string(at(&folder, "chain.log")).unwrap();
    let links: Vec<Link> = text.lines().map(|line| Link::parse(line).unwrap()).collect();
    assert_eq!(links[0].previous, "0".repeat(64));
    assert!(links.iter().all(|link| link.since_unix_ns <= link.until_unix_ns));
    assert_eq!((links[1].stdout.from, links[1].stdout.to, links[1].stderr.to), (4, 8, 3));
    assert_eq!(links[1].stderr.blake3, blake3::hash(b"oh\n").to_hex().to_string());
}

#[test]
fn every_changed_byte_is_found_but_in_the_last_lines_own_times() {
    for name in ["stdout.log", "stderr.log", "chain.log"] {
        let folder = three();
        let whole = fs::read(at(&folder, name)).unwrap();
        let last_line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            fs::write(at(&folder, name), &changed).unwrap();
            let own = name == "chain.log" && place > last_line;
            assert!(own || problem(&folder).is_some(), "byte {place} of {name}");
        }
        fs::write(at(&folder, name), &whole[..whole.len() / 2]).unwrap();
        assert!(problem(&folder).is_some() || name == "chain.log", "half of {name}");
    }
}

#[test]
fn a_line_that_is_missing_doubled_or_elsewhere_is_found() {
    let folder = three();
    let text = fs::read_to_string(at(&folder, "chain.log")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for order in [vec![1, 2], vec![0, 2], vec![0, 0, 1, 2], vec![1, 0, 2], vec![0, 1, 1, 2]] {
        let other: String = order.iter().map(|line| format!("{}\n", lines[*line])).collect();
        fs::write(at(&folder, "chain.log"), other).unwrap();
        let said = problem(&folder).unwrap_or_else(|| panic!("{order:?}"));
        assert!(["line 1 ", "line 2 ", "line 3 "].iter().any(|line| said.contains(line)), "{said}");
    }
    // Its end can be cut off: what was in it is in no line then.
    fs::write(at(&folder, "chain.log"), format!("{}\n", lines[0])).unwrap();
    let checked = check(folder.path()).unwrap();
    assert_eq!((checked.problem, checked.unsealed_bytes), (None, 10));
}

#[test]
fn a_process_that_was_killed_leaves_nothing_that_the_next_one_does_not_find() {
    let folder = three();
    // It has written what it had no time to seal, and half a line of the chain.
    File::options().append(true).open(at(&folder, "stdout.log")).unwrap().write_all(b"lost?\n").unwrap();
    File::options().append(true).open(at(&folder, "chain.log")).unwrap().write_all(b"{\"segm").unwrap();
    assert_eq!(check(folder.path()).unwrap().unsealed_bytes, 6);
    let mut next = log(&folder);
    next.write(Stream::Stderr, b"again\n").unwrap();
    next.seal().unwrap();
    let checked = check(folder.path()).unwrap();
    assert_eq!((checked.problem, checked.links, checked.unsealed_bytes), (None, 4, 0));
    assert_eq!((checked.stdout_bytes, checked.stderr_bytes), (14, 12));
}

#[test]
fn bytes_that_a_file_has_lost_are_told_and_what_comes_then_is_kept() {
    let folder = three();
    File::options().write(true).open(at(&folder, "stdout.log")).unwrap().set_len(6).unwrap();
    let mut next = log(&folder);
    next.write(Stream::Stdout, b"more\n").unwrap();
    next.seal().unwrap();
    let said = problem(&folder).unwrap();
    assert!(said.contains("stdout.log"), "{said}");
    assert_eq!(fs::read(at(&folder, "stdout.log")).unwrap(), b"one\ntwmore\n");
}

/// All that is there of an output, in order.
fn all(folder: &TempDir, stream: Stream) -> Vec<u8> {
    let logs = LogFolder::of(folder.path());
    let old = logs.old_segments().unwrap().into_iter().map(|segment| logs.old_output(stream, segment));
    old.chain([logs.output(stream)]).flat_map(|path| fs::read(path).unwrap_or_default()).collect()
}

#[test]
fn large_files_become_segments_of_which_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::with_segments(folder.path(), 2000);
    let mut whole = Vec::new();
    for number in 0..600 {
        let line = format!("line {number}\n");
        log.write(Stream::Stdout, line.as_bytes()).unwrap();
        whole.extend_from_slice(line.as_bytes());
        if number % 100 == 0 {
            log.write(Stream::Stderr, b"hundred\n").unwrap();
        }
        if number % 10 == 0 {
            log.seal().unwrap();
        }
    }
    log.seal().unwrap();
    let checked = check(folder.path()).unwrap();
    assert_eq!((checked.problem, checked.segments, checked.unsealed_bytes), (None, OLD_SEGMENTS + 1, 0));
    assert!(checked.first_segment > 1);
    let there = all(&folder, Stream::Stdout);
    assert_eq!(there.len() as u64, checked.stdout_bytes);
    assert!(there.len() > 1000 && whole.ends_with(&there));
    // A segment in the middle cannot go.
    let middle = checked.first_segment + 3;
    fs::remove_file(at(&folder, &format!("chain.{middle}.log"))).unwrap();
    assert_eq!(problem(&folder), Some(format!("segment {middle} is missing")));
}

#[test]
fn a_segment_is_whole_wherever_its_end_was_interrupted() {
    for renamed in 0..=3 {
        let folder = three();
        let whole = Stream::ALL.map(|stream| all(&folder, stream));
        for name in ["stdout", "stderr", "chain"].iter().take(renamed) {
            fs::rename(at(&folder, &format!("{name}.log")), at(&folder, &format!("{name}.1.log"))).unwrap();
        }
        let mut next = log(&folder);
        next.write(Stream::Stdout, b"next\n").unwrap();
        next.write(Stream::Stderr, b"next\n").unwrap();
        drop(next);
        let checked = check(folder.path()).unwrap();
        let segments = if renamed == 0 { 1 } else { 2 };
        assert_eq!((checked.problem, checked.segments), (None, segments), "{renamed}");
        for stream in Stream::ALL {
            let expected = [whole[stream as usize].as_slice(), b"next\n"].concat();
            assert_eq!(all(&folder, stream), expected, "{renamed}");
        }
    }
}

#[test]
fn output_is_found_by_when_it_came() {
    let folder = three();
    let text = fs::read_to_string(at(&folder, "chain.log")).unwrap();
    let links: Vec<Link> = text.lines().map(|line| Link::parse(line).unwrap()).collect();
    let logs = LogFolder::of(folder.path());
    assert_eq!(logs.since(0).unwrap(), [(1, 0), (1, 0)]);
    assert_eq!(logs.since(links[1].until_unix_ns).unwrap(), [(1, 4), (1, 0)]);
    assert_eq!(logs.since(links[2].until_unix_ns).unwrap(), [(1, 8), (1, 3)]);
    assert_eq!(logs.since(u64::MAX).unwrap(), [(1, 8), (1, 6)]);
    assert_eq!(LogFolder::of(&at(&folder, "nowhere")).since(0).unwrap(), [(1, 0), (1, 0)]);
}

#[test]
fn what_is_no_chain_is_told_by_its_line_and_is_gone_on_from() {
    for text in ["\n", "{}\n", "null\n", "\u{fffd}\u{fffd}\n"] {
        let folder = three();
        let whole = fs::read_to_string(at(&folder, "chain.log")).unwrap();
        fs::write(at(&folder, "chain.log"), format!("{whole}{text}")).unwrap();
        let mut next = log(&folder);
        next.write(Stream::Stdout, b"more\n").unwrap();
        next.seal().unwrap();
        let said = problem(&folder).unwrap();
        assert!(said.contains("line 4"), "{said}");
        assert!(all(&folder, Stream::Stdout).ends_with(b"more\n"));
    }
}
