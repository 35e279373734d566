//! The gate: calls from the runtime (`sentient_abi::gate`).

use crate::{apic, clocks, end, interrupts, ports, protect, runtime, screen};
use core::arch::global_asm;
use sentient_abi::gate::{Call, REFUSED};
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
        Call::Screen => match screen::get() {
            Some(info) if runtime::may_use(a, size_of::<ScreenInfo>() as u64, true) => {
                // SAFETY: memory of ring 3, which does not run meanwhile; any bytes may be there.
                unsafe { (a as *mut ScreenInfo).write_unaligned(info) }
                0
            }
            _ => REFUSED,
        },
        Call::KeyCode => end::key_code().map_or(REFUSED, u64::from),
        Call::SerialInput => end::serial_input().map_or(REFUSED, u64::from),
        Call::RealTimeClock => clocks::real_time(),
        Call::MeasureClocks => clocks::measure(),
        Call::Protect => match protect::protect(a, b, c) {
            Some(()) => 0,
            None => REFUSED,
        },
    }
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
