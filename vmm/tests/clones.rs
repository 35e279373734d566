//! Machines that go on from one image of memory: each has all of it, and none sees what another one writes.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::PAGE_SIZE;
use sentient_abi::region::{Region, RegionKind};
use sentient_vmm::memory::image::{Image, ImageWriter};
use sentient_vmm::snapshots::capture::{self, Capture, Extent};
use sentient_vmm::snapshots::page::{PageBuffer, PageBytes};
use staying::{EXITED, Resident, busy, hello};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

const RAM: u64 = 128 << 20;

fn capture(resident: &Resident, extent: Extent) -> Capture {
    resident
        .door
        .stopped(move |machine| capture::take(machine, extent, PageBuffer::default()).unwrap())
        .unwrap()
}

fn pages(capture: &Capture) -> BTreeMap<u64, Box<PageBytes>> {
    capture.pages().map(|(number, page)| (number, Box::new(*page))).collect()
}

/// An image of a machine that is busy, its pages, and its state.
fn image() -> (Image, BTreeMap<u64, Box<PageBytes>>, Vec<u8>) {
    let (image, pages, state, _) = image_of(RAM);
    (image, pages, state)
}

/// The same of a machine of this size, and its regions.
fn image_of(ram: u64) -> (Image, BTreeMap<u64, Box<PageBytes>>, Vec<u8>, Vec<Region>) {
    let mut resident = Resident::start(ram);
    resident.load(5, &busy());
    resident.until("some rounds", |resident| resident.lines(5) > 2);
    let capture = capture(&resident, Extent::Everything);
    let writer = ImageWriter::new().unwrap();
    for (number, page) in capture.pages() {
        writer.put(number, &[*page]).unwrap();
    }
    let image = writer.seal(capture.numbers.iter().copied()).unwrap();
    (image, pages(&capture), capture.state, capture.regions)
}

#[test]
fn clones_go_on_alike_from_one_image_and_leave_it_as_it_was() {
    let (image, original, state) = image();
    for _ in 0..3 {
        let copy =
            Image::received(image.file().try_clone_to_owned().unwrap(), image.runs().to_vec()).unwrap();
        let mut clone = Resident::over(copy, &state, RAM);
        clone.until("some rounds", |clone| clone.lines(5) > 3);
        clone.load(1, &hello());
        assert_eq!(clone.end(1), EXITED);
    }
    let file = File::from(image.file().try_clone_to_owned().unwrap());
    for (number, page) in &original {
        let mut bytes = [0; PAGE_SIZE as usize];
        file.read_exact_at(&mut bytes, number * PAGE_SIZE).unwrap();
        assert_eq!(&bytes, &**page, "page {number}");
    }
}

#[test]
fn a_capture_of_everything_has_pages_that_a_clone_never_touched() {
    let (image, original, state) = image();
    let mut clone = Resident::over(image, &state, RAM);
    clone.until("some rounds", |clone| clone.lines(5) > 3);
    let changed = capture(&clone, Extent::Changed);
    let everything = pages(&capture(&clone, Extent::Everything));
    assert!(changed.numbers.len() * 2 < original.len(), "{} of {}", changed.numbers.len(), original.len());
    let mut same = 0;
    for (number, page) in &original {
        let now = everything.get(number).unwrap_or_else(|| panic!("page {number} is missing"));
        same += usize::from(now == page);
    }
    assert!(same >= original.len() - changed.numbers.len(), "{same} of {} are the same", original.len());
}

#[test]
fn a_clone_gets_memory_that_it_was_not_given_when_it_comes_to_use_it() {
    const LARGE: u64 = 4 << 30;
    let (image, original, state, regions) = image_of(LARGE);
    let used = |region: &&Region| region.kind != RegionKind::Unassigned as u32;
    let in_use: Vec<_> =
        regions.iter().filter(used).map(|region| region.base..region.base + region.len).collect();
    let given: u64 = in_use.iter().map(|range| range.end - range.start).sum();
    assert!(given < LARGE / 4, "{given}");
    let mut clone = Resident::over_in_use(image, &state, LARGE, in_use);
    clone.until("some rounds", |clone| clone.lines(5) > 3);
    // The guest puts it where it has no memory yet.
    clone.load(1, &hello());
    assert_eq!(clone.end(1), EXITED);
    clone.handle.give_all_memory().unwrap();
    clone.load(2, &hello());
    assert_eq!(clone.end(2), EXITED);
    // And nothing of what it has written is missing in the log, whichever way it came there.
    let (changed, everything) = clone
        .door
        .stopped(|machine| {
            let [changed, everything] = [Extent::Changed, Extent::Everything]
                .map(|extent| capture::take(machine, extent, PageBuffer::default()).unwrap());
            (pages(&changed), pages(&everything))
        })
        .unwrap();
    let zero: PageBytes = [0; PAGE_SIZE as usize];
    for (number, page) in &everything {
        let known = changed.get(number).or_else(|| original.get(number)).map_or(&zero, |page| page);
        assert!(**page == *known, "page {number} was written, and is not in the log");
    }
}
