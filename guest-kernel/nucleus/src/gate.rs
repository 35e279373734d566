//! The gate: calls from the runtime (`sentient_abi::gate`).

use crate::header::kernel_header;
use crate::{
    again, apic, clocks, command_line, devices, end, interrupts, kept, ports, power, protect, runtime, screen,
};
use core::arch::global_asm;
use sentient_abi::found::{Facts, FoundDevice};
use sentient_abi::gate::{Call, REFUSED};
use sentient_abi::panic_record::PanicRecord;
use sentient_abi::region::access;
use sentient_abi::screen::ScreenInfo;
use sentient_abi::sentinel;

/// Longest text of one serial or panic call.
const MAX_TEXT: u64 = 1 << 16;

/// Called by `gate_entry`.
#[unsafe(no_mangle)]
extern "C" fn gate(number: u64, a: u64, b: u64, c: u64) -> u64 {
    let Some(call) = Call::from_u64(number) else { return REFUSED };
    match call {
        Call::Exit => end::exit(a as u32),
        Call::Panic => end::runtime_panic(text(a, b).unwrap_or(b"")),
        Call::Announce => {
            if end::under_sentinel() {
                ports::out32(sentinel::EVENT, a as u32);
            }
            0
        }
        Call::Idle => interrupts::wait(),
        Call::Timer => {
            apic::set_timer(a.min(u64::from(u32::MAX)) as u32);
            0
        }
        Call::SetUpcall => {
            let stack_ok = b >= interrupts::UPCALL_STACK_LEN
                && runtime::may_use(b - interrupts::UPCALL_STACK_LEN, interrupts::UPCALL_STACK_LEN, true);
            if !runtime::may_use(a, 1, false) || !stack_ok {
                return REFUSED;
            }
            interrupts::set_upcall(a, b, c.min(u64::from(u32::MAX)) as u32);
            0
        }
        Call::EnableInterrupt => {
            if apic::enable_pin(a) {
                0
            } else {
                REFUSED
            }
        }
        Call::Serial => match text(a, b) {
            Some(bytes) => {
                end::serial(bytes);
                0
            }
            None => REFUSED,
        },
        Call::Reset => end::reset(),
        Call::Screen => give::<ScreenInfo>(screen::get(), a),
        Call::Found => give::<FoundDevice>(devices::get(a), b),
        Call::ReadNucleus => read_nucleus(a, b, c),
        Call::Facts => {
            let (entered, processors) = (clocks::entered(), power::processors());
            give(Some(Facts { entered, processors, panics: again::count() }), a)
        }
        Call::CommandLine => {
            let line = command_line::get();
            if line.len() as u64 > b || !runtime::may_use(a, line.len() as u64, true) {
                return REFUSED;
            }
            // SAFETY: memory of ring 3, which does not run meanwhile, is no part of the line.
            unsafe { core::ptr::copy_nonoverlapping(line.as_ptr(), a as *mut u8, line.len()) }
            line.len() as u64
        }
        Call::LastPanic => give::<PanicRecord>(end::last_panic(), a),
        Call::KeyCode => end::key_code().map_or(REFUSED, u64::from),
        Call::SerialInput => end::serial_input().map_or(REFUSED, u64::from),
        Call::Keep => kept::keep(a),
        Call::GoOn => kept::go_on(a, b != 0),
        Call::ForgetKept => kept::forget(a),
        Call::RealTimeClock => clocks::real_time(),
        Call::MeasureClocks => clocks::measure(),
        Call::Protect => match protect::protect(a, b, c) {
            Some(()) => 0,
            None => REFUSED,
        },
    }
}

/// Writes something to memory of ring 3, if there is such a thing, and it has that memory (principle 6).
fn give<T: Copy>(thing: Option<T>, to: u64) -> u64 {
    match thing {
        Some(thing) if runtime::may_use(to, size_of::<T>() as u64, true) => {
            // SAFETY: memory of ring 3, which does not run meanwhile; any bytes may be there.
            unsafe { (to as *mut T).write_unaligned(thing) }
            0
        }
        _ => REFUSED,
    }
}

/// Copies code or constants of the nucleus to memory of ring 3.
fn read_nucleus(from: u64, to: u64, len: u64) -> u64 {
    let is_within = kernel_header().segments().any(|segment| {
        let ends = from.checked_add(len).is_some_and(|end| end <= segment.base + segment.len);
        segment.access & (access::USER | access::WRITE) == 0 && from >= segment.base && ends
    });
    if len > MAX_TEXT || !is_within || !runtime::may_use(to, len, true) {
        return REFUSED;
    }
    // SAFETY: the segment is mapped and never written; memory of ring 3, which does not run meanwhile, is not part of it.
    unsafe { core::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, len as usize) }
    0
}

/// Bytes of ring 3, if it has them (principle 6).
fn text(base: u64, len: u64) -> Option<&'static [u8]> {
    if len > MAX_TEXT || !runtime::may_use(base, len, false) {
        return None;
    }
    // SAFETY: the range is mapped for ring 3, and ring 3 does not run while the nucleus reads it.
    Some(unsafe { core::slice::from_raw_parts(base as *const u8, len as usize) })
}

global_asm!(
    r#"
.pushsection .text, "ax", @progbits
# On the stack: rip, cs, rflags, rsp, ss, from the interrupt gate; 8 bytes off a 16-byte boundary.
gate_entry:
    cld
    sub rsp, 8
    mov rcx, rdx
    mov rdx, rsi
    mov rsi, rdi
    mov rdi, rax
    call gate
    add rsp, 8
    iretq
.popsection
"#
);
