//! Folders of the host: the driver of their device, whose queue is set up already, and containers' questions on their way
//! (`sentient_abi::volumes`).
//!
//! A volume may also be another container's own files, which the runtime answers for itself: that question waits until the
//! other container's thread is stopped where its files may be touched ([`serve`]).
//!
//! A container has one thread, which waits for the answer to its one question. Questions and answers lie in the runtime's
//! heap, because the device has them when their container is put back, or is gone; then nobody waits for that one any
//! more ([`Slot::orphan`]), and whoever waits for one that is not there asks again.

use crate::devices::Device;
use crate::machine::Machine;
use crate::virtqueue::{SIZE, VirtQueue};
use crate::{clock, devices, heap, scheduler};
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sentient_abi::bytes::read_u32;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::mounts::container_of;
use sentient_abi::volumes::{ANSWER_HEAD, Attributes, MAX_ANSWER, MAX_DATA, MAX_PATH, Request, Wanted};
use sentient_wasi::{Errno, Wait};
use spin::Mutex;

/// Questions that can be on their way at once: each takes two descriptors.
const SLOTS: u16 = SIZE / 2;

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// Numbers of open files.
static HANDLES: AtomicU64 = AtomicU64::new(1);

/// A question that is on its way, or answered.
struct Slot {
    container: u32,
    /// No other question has it.
    number: u64,
    /// The device's until it has answered, and its answer's place.
    request: Vec<u8>,
    answer: Vec<u8>,
    /// How long the answer is, once it is there.
    len: Option<usize>,
    /// Nobody waits for it.
    orphan: bool,
    /// The container that it is about; `None` if it is the device's.
    about: Option<u32>,
}

impl Slot {
    /// Whether the device has nothing to do with it, now or ever.
    fn is_ours(&self) -> bool {
        self.len.is_some() || self.about.is_some()
    }
}

struct Driver {
    queue: VirtQueue,
    device: Device,
    interrupts_enabled: bool,
    slots: Vec<Option<Slot>>,
    /// The number of the next question.
    next: u64,
}

/// What has become of a question.
enum Fate {
    /// It is on its way.
    Pending,
    /// It is answered so.
    Answered(Vec<u8>),
    /// It is not there: it was asked in another life.
    Lost,
}

/// Finds the device, if the VMM has one, for the first container that is given a folder.
pub fn start(machine: &Machine) {
    if DRIVER.lock().is_some() {
        return;
    }
    let Some(device) = devices::find(machine, DeviceKind::Volumes) else { return };
    // SAFETY: this page is the volumes', and used here alone.
    let Some(queue) = (unsafe { device.queue(machine, DeviceKind::Volumes, 0) }) else { return };
    let slots = heap::in_runtime(|| (0..SLOTS).map(|_| None).collect());
    *DRIVER.lock() = Some(Driver { queue, device, interrupts_enabled: false, slots, next: 1 });
}

/// A number for an open file.
pub fn new_handle() -> u64 {
    HANDLES.fetch_add(1, Relaxed)
}

/// Life number `life` of the machine begins: containers may have numbers of files that this has not given out.
pub fn begin_life(life: u64) {
    HANDLES.fetch_max(clock::first_number(life), Relaxed);
}

/// Asks for something, for the thread that runs, which waits for the answer.
///
/// # Errors
/// The host's error number; [`Errno::Canceled`] if the thread is to end.
pub fn ask(container: u32, question: &Request<'_>) -> Result<Vec<u8>, Errno> {
    scheduler::asks_host(true);
    let answer = answered(container, question);
    scheduler::asks_host(false);
    answer
}

fn answered(container: u32, question: &Request<'_>) -> Result<Vec<u8>, Errno> {
    let waiting = Wait { volume: true, ..Wait::YIELD };
    loop {
        let submitted = DRIVER.lock().as_mut().ok_or(Errno::Nodev)?.submit(container, question);
        let Some(number) = submitted else {
            scheduler::wait(waiting).map_err(|_| Errno::Canceled)?;
            continue;
        };
        loop {
            let fate = DRIVER.lock().as_mut().map_or(Fate::Lost, |driver| driver.fate(container, number));
            match fate {
                Fate::Pending => scheduler::wait(waiting).map_err(|_| Errno::Canceled)?,
                Fate::Lost => break,
                Fate::Answered(answer) => return opened(answer),
            }
        }
    }
}

/// What was asked for, without the head.
fn opened(mut answer: Vec<u8>) -> Result<Vec<u8>, Errno> {
    match read_u32(&answer, 0) {
        Some(0) => Ok(answer.split_off(ANSWER_HEAD)),
        Some(number) => Err(Errno::of_host(number)),
        None => Err(Errno::Io),
    }
}

/// Bytes of the longest answer to a question.
fn room(wanted: &Wanted<'_>) -> usize {
    let most = |most: u32| (most as usize).min(MAX_DATA);
    let data = match wanted {
        Wanted::Read(_, _, wanted) => most(*wanted),
        // One entry at least.
        Wanted::List(_, _, wanted) => most(wanted.saturating_add(1024)),
        Wanted::Target(_) => MAX_PATH,
        _ => Attributes::LEN,
    };
    (ANSWER_HEAD + data).min(MAX_ANSWER)
}

/// Answers what is asked about other containers, as far as it can be answered now: `answer` is given who asks, about whom and
/// what, and gives `None` if it cannot.
pub fn serve(mut answer: impl FnMut(u32, u32, &Request<'_>) -> Option<Result<Vec<u8>, Errno>>) {
    let mut driver = DRIVER.lock();
    for slot in driver.iter_mut().flat_map(|driver| &mut driver.slots).flatten() {
        let (Some(about), None) = (slot.about, slot.len) else { continue };
        let Some(request) = Request::decode(&slot.request) else { continue };
        let Some(answered) = answer(slot.container, about, &request) else { continue };
        let (errno, bytes) = match &answered {
            Ok(bytes) => (Errno::Success, &bytes[..]),
            Err(errno) => (*errno, &[][..]),
        };
        let head = u32::from(errno).to_le_bytes();
        // There is room for the longest answer.
        for (to, from) in slot.answer.iter_mut().zip(head.iter().chain(bytes)) {
            *to = *from;
        }
        slot.len = Some(slot.answer.len().min(ANSWER_HEAD + bytes.len()));
    }
}

/// Takes what the device has answered.
pub fn pump() {
    if let Some(driver) = DRIVER.lock().as_mut() {
        driver.pump();
    }
}

/// Whether the device has answered something that was not taken.
pub fn has_news() -> bool {
    DRIVER.lock().as_ref().is_some_and(|driver| driver.queue.has_used())
}

/// Whether a container that waits for an answer has nothing more to wait for.
pub fn is_settled(container: u32) -> bool {
    DRIVER.lock().as_ref().is_none_or(|driver| match driver.of(container) {
        Some(slot) => slot.len.is_some(),
        None => driver.slots.iter().any(Option::is_none),
    })
}

/// A container is gone.
pub fn forget(container: u32) {
    if let Some(driver) = DRIVER.lock().as_mut() {
        driver.abandon(container);
    }
}

impl Driver {
    fn of(&self, container: u32) -> Option<&Slot> {
        self.slots.iter().flatten().find(|slot| slot.container == container && !slot.orphan)
    }

    /// Nobody waits for what a container has asked. What is answered already makes room at once.
    fn abandon(&mut self, container: u32) {
        for place in &mut self.slots {
            match place {
                Some(slot) if slot.container == container && slot.is_ours() => *place = None,
                Some(slot) if slot.container == container => slot.orphan = true,
                _ => {}
            }
        }
    }

    /// Hands a question to the device; gives its number, or `None` if there is no room for it now.
    fn submit(&mut self, container: u32, question: &Request<'_>) -> Option<u64> {
        self.pump();
        self.abandon(container);
        let id = self.slots.iter().position(Option::is_none)?;
        let number = self.next;
        self.next += 1;
        let slot = heap::in_runtime(|| Slot {
            container,
            number,
            request: question.encode(),
            answer: vec![0; room(&question.wanted)],
            len: None,
            orphan: false,
            about: container_of(question.volume),
        });
        if slot.about.is_some() {
            *self.slots.get_mut(id)? = Some(slot);
            return Some(number);
        }
        if !self.interrupts_enabled {
            self.device.enable_interrupt();
            self.queue.want_interrupts(true);
            self.interrupts_enabled = true;
        }
        let place = self.slots.get_mut(id)?;
        let slot = place.insert(slot);
        let (request, answer) = (&slot.request, &mut slot.answer);
        // SAFETY: both lie in the runtime's heap, and stay there, untouched, until the device has answered: a slot is only
        // emptied when `len` says so. A vector's bytes do not move with it. The pair is free, because its slot was.
        unsafe {
            self.queue.offer_pair(
                id as u16,
                (request.as_ptr() as u64, request.len() as u32),
                (answer.as_mut_ptr() as u64, answer.len() as u32),
            );
        }
        self.queue.notify();
        Some(number)
    }

    fn fate(&mut self, container: u32, number: u64) -> Fate {
        self.pump();
        let is_it = |place: &&mut Option<Slot>| {
            place.as_ref().is_some_and(|slot| slot.container == container && slot.number == number)
        };
        let Some(place) = self.slots.iter_mut().find(is_it) else { return Fate::Lost };
        match place.take() {
            Some(Slot { mut answer, len: Some(len), .. }) => {
                answer.truncate(len);
                Fate::Answered(answer)
            }
            pending => {
                *place = pending;
                Fate::Pending
            }
        }
    }

    fn pump(&mut self) {
        while let Some(used) = self.queue.take_used() {
            let Some(place) = self.slots.get_mut(usize::from(used.id / 2)) else { continue };
            match place {
                Some(slot) if slot.orphan => *place = None,
                Some(slot) => slot.len = Some(slot.answer.len().min(used.len as usize)),
                None => {}
            }
        }
    }
}
