//! Machines that go on from one image of memory: each has all of it, and none sees what another one writes.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;
mod staying;

use sentient_abi::PAGE_SIZE;
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
    let mut resident = Resident::start(RAM);
    resident.load(5, &busy());
    resident.until("some rounds", |resident| resident.lines(5) > 2);
    let capture = capture(&resident, Extent::Everything);
    let writer = ImageWriter::new().unwrap();
    for (number, page) in capture.pages() {
        writer.put(number, &[*page]).unwrap();
    }
    let image = writer.seal(capture.numbers.iter().copied()).unwrap();
    (image, pages(&capture), capture.state)
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
