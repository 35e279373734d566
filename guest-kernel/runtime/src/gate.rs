//! Calls to the nucleus (`sentient_abi::gate`).

use alloc::vec;
use alloc::vec::Vec;
use core::arch::{asm, naked_asm};
use core::mem::{MaybeUninit, offset_of};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::found::{Facts, FoundDevice};
use sentient_abi::gate::{Call, REFUSED, Rights, VECTOR};
use sentient_abi::kept::KeepRequest;
use sentient_abi::panic_record::PanicRecord;
use sentient_abi::screen::ScreenInfo;
use sentient_abi::sentinel::Event;

fn call(call: Call, a: u64, b: u64) -> u64 {
    call_with(call, a, b, 0)
}

fn call_with(call: Call, a: u64, b: u64, c: u64) -> u64 {
    let mut result = call as u64;
    // SAFETY: the gate keeps all registers but those listed, returns here, and touches no memory of ours
    // but what a call names; each wrapper below names only memory it holds.
    unsafe {
        asm!(
            "int {gate}",
            gate = const VECTOR,
            inout("rax") result,
            inout("rdi") a => _,
            inout("rsi") b => _,
            out("rcx") _,
            inout("rdx") c => _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    result
}

/// The machine is finished.
pub fn exit(end: ContainerEnd) -> ! {
    loop {
        call(Call::Exit, u64::from(end.encode()), 0);
    }
}

/// The machine is to be booted anew.
pub fn reset() -> ! {
    loop {
        call(Call::Reset, 0, 0);
    }
}

/// The runtime panicked.
pub fn panic(message: &[u8]) -> ! {
    loop {
        call(Call::Panic, message.as_ptr() as u64, message.len() as u64);
    }
}

/// Tells the sentinel device.
pub fn announce(event: Event) {
    call(Call::Announce, event as u64, 0);
}

/// Sleeps until an interrupt has come since the last sleep.
pub fn idle() {
    call(Call::Idle, 0, 0);
}

/// Arms the one-shot timer; 0 disarms it.
pub fn timer(ticks: u32) {
    call(Call::Timer, u64::from(ticks), 0);
}

/// Sends interrupts of ring 3 to `entry`, on the stack that ends at `stack_top`, and those that come meanwhile again after
/// `retry` ticks of the timer. `false` if refused.
pub fn set_upcall(entry: u64, stack_top: u64, retry: u32) -> bool {
    call_with(Call::SetUpcall, entry, stack_top, u64::from(retry)) == 0
}

/// Unmasks a device's interrupt.
pub fn enable_interrupt(gsi: u32) {
    call(Call::EnableInterrupt, u64::from(gsi), 0);
}

/// Writes to the serial port.
pub fn serial(bytes: &[u8]) {
    // The nucleus takes 64 KiB at a time.
    for chunk in bytes.chunks(1 << 16) {
        call(Call::Serial, chunk.as_ptr() as u64, chunk.len() as u64);
    }
}

/// A byte that has come at the serial port.
pub fn serial_input() -> Option<u8> {
    // What was refused is no byte.
    u8::try_from(call(Call::SerialInput, 0, 0)).ok()
}

/// A code that has come from the keyboard.
pub fn key_code() -> Option<u8> {
    // What was refused is no code.
    u8::try_from(call(Call::KeyCode, 0, 0)).ok()
}

/// The machine's screen, if the loader has set one up.
pub fn screen() -> Option<ScreenInfo> {
    let mut info = ScreenInfo::default();
    (call(Call::Screen, (&raw mut info) as u64, 0) != REFUSED).then_some(info)
}

/// The device of this number that the nucleus has found, if there are that many.
pub fn found(number: u64) -> Option<FoundDevice> {
    let mut found = FoundDevice::default();
    (call(Call::Found, number, (&raw mut found) as u64) != REFUSED).then_some(found)
}

/// What is known of a machine that is not ours.
pub fn facts() -> Facts {
    let mut facts = Facts::default();
    // What was refused leaves it as it is.
    call(Call::Facts, (&raw mut facts) as u64, 0);
    facts
}

/// The kernel's command line.
pub fn command_line() -> Vec<u8> {
    let mut line = vec![0; 1024];
    let len = call(Call::CommandLine, line.as_mut_ptr() as u64, line.len() as u64);
    line.truncate(if len == REFUSED { 0 } else { len as usize });
    line
}

/// The last panic that the machine has gone on from, if there was one.
pub fn last_panic() -> Option<PanicRecord> {
    let mut record = MaybeUninit::<PanicRecord>::zeroed();
    let known = call(Call::LastPanic, record.as_mut_ptr() as u64, 0) != REFUSED;
    // SAFETY: any bytes are a record, and these are zero or were written.
    known.then(|| unsafe { record.assume_init() })
}

/// Reads code or constants of the nucleus at `from`, as much as `to` takes; `false` if they are not there.
pub fn read_nucleus(from: u64, to: &mut [u8]) -> bool {
    // The nucleus copies 64 KiB at a time.
    (from..)
        .step_by(1 << 16)
        .zip(to.chunks_mut(1 << 16))
        .all(|(from, to)| call_with(Call::ReadNucleus, from, to.as_mut_ptr() as u64, to.len() as u64) == 0)
}

/// The real-time clock as `pack_time` packs it; 0 if there is none.
pub fn real_time_clock() -> u64 {
    call(Call::RealTimeClock, 0, 0)
}

/// The clocks' rates as `pack_rates` packs them; 0 if they cannot be measured.
pub fn measure_clocks() -> u64 {
    call(Call::MeasureClocks, 0, 0)
}

/// Changes what ring 3 may do with whole pages of a container's or an image's region. `false` if refused.
pub fn protect(base: u64, len: u64, rights: Rights) -> bool {
    call_with(Call::Protect, base, len, rights as u64) == 0
}

/// Keeps all of ring 3 on the disk, as the request says. Comes back once more when that is gone on from.
pub fn keep(request: &mut KeepRequest) {
    // SAFETY: the request is this program's; all that the calling convention has callers save is on the stack then, which is part of what
    // is kept, and what is not done is said in the request.
    unsafe { keep_here(request) };
}

/// Notes where it is, and calls [`Call::Keep`].
#[unsafe(naked)]
unsafe extern "C" fn keep_here(request: *mut KeepRequest) -> u64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "lea rax, [rip + 2f]",
        "mov [rdi + {rip}], rax",
        "mov [rdi + {rsp}], rsp",
        "mov eax, {keep}",
        "int {gate}",
        "2:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        rip = const offset_of!(KeepRequest, rip),
        rsp = const offset_of!(KeepRequest, rsp),
        keep = const Call::Keep as u64,
        gate = const VECTOR,
    )
}

/// Goes on from what is kept, if that is wanted and there is any; otherwise the request says why not.
pub fn go_on(request: &mut KeepRequest, wanted: bool) {
    call(Call::GoOn, (&raw mut *request) as u64, wanted.into());
}

/// Nothing is kept any more.
pub fn forget_kept(request: &mut KeepRequest) {
    call(Call::ForgetKept, (&raw mut *request) as u64, 0);
}
