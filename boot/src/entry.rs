//! The entry points.
//!
//! `pvh_start` turns long mode on over tables that are part of the image (the first 4 GiB, identity, large
//! pages), so that no loop runs, and so does `multiboot2_start`; `linux64_start` finds it on already. All go on at `nucleus_start` with
//! interrupts off, the protocol's number in `edi` and the address of its structure in `rsi`.

use crate::multiboot2;
use core::arch::global_asm;

global_asm!(
    r#"
.pushsection .note.pvh, "a", @note
    .balign 4
    .long 4, 4, {note_type}
    .asciz "Xen"
    .long pvh_start
.popsection

.pushsection .rodata.multiboot2, "a", @progbits
    .balign 8
multiboot2_header:
    .long {header}, {architecture}
    .long multiboot2_end - multiboot2_header
    .long -({header} + {architecture} + (multiboot2_end - multiboot2_header))
    .short {tag_entry}, 0
    .long 12, multiboot2_start
    .balign 8
    .short {tag_framebuffer}, 1     # a loader without a screen loads it all the same
    .long 20, 0, 0, 32              # any size, 32 bits a pixel
    .balign 8
    .short {tag_module_align}, 0
    .long 8
    .short 0, 0
    .long 8
multiboot2_end:
.popsection

.pushsection .text.boot, "ax", @progbits
.global pvh_start
.code32
pvh_start:
    cli
    cld
    mov edi, {pvh}
turn_on_long_mode:
    mov esi, ebx
    mov eax, cr4
    or eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov ecx, 0xc0000080             # EFER
    rdmsr
    or eax, {efer}
    wrmsr
    mov eax, cr0
    and eax, {cr0_off}
    or eax, {cr0_on}
    mov cr0, eax
    lgdt [boot_gdtr]
    ljmp 0x08, offset pvh_long

multiboot2_start:
    cli
    cld
    mov edi, {multiboot2}
    cmp eax, {loaded}
    je turn_on_long_mode
    xor edi, edi                    # no protocol that anybody knows
    jmp turn_on_long_mode

.code64
pvh_long:
    mov esi, esi                    # clears the upper half, unspecified after the mode change
    jmp nucleus_start

.global linux64_start
linux64_start:
    cli
    cld
    mov edi, {linux64}
    jmp nucleus_start
.popsection

.pushsection .rodata.boot, "a", @progbits
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        # 64-bit code
    .quad 0x00cf93000000ffff        # data
boot_gdtr:
    .word . - boot_gdt - 1
    .quad boot_gdt
.popsection

.pushsection .data.boot, "aw", @progbits
    .balign 4096
boot_pml4:
    .quad boot_pdpt + 3
    .fill 511, 8, 0
boot_pdpt:
    .quad boot_directories + 3
    .quad boot_directories + 0x1003
    .quad boot_directories + 0x2003
    .quad boot_directories + 0x3003
    .fill 508, 8, 0
boot_directories:
    .set boot_page, 0
    .rept 2048
    .quad boot_page + 0x83
    .set boot_page, boot_page + 0x200000
    .endr
.popsection
"#,
    note_type = const crate::pvh::NOTE_PHYS32_ENTRY,
    pvh = const crate::PROTOCOL_PVH,
    linux64 = const crate::PROTOCOL_LINUX64,
    multiboot2 = const crate::PROTOCOL_MULTIBOOT2,
    loaded = const multiboot2::LOADED_MAGIC,
    header = const multiboot2::HEADER_MAGIC,
    architecture = const multiboot2::ARCHITECTURE,
    tag_entry = const multiboot2::HEADER_ENTRY,
    tag_framebuffer = const multiboot2::HEADER_FRAMEBUFFER,
    tag_module_align = const multiboot2::HEADER_MODULE_ALIGN,
    // PAE, OSFXSR, OSXMMEXCPT
    cr4 = const (1 << 5) | (1 << 9) | (1 << 10),
    // SCE, LME, NXE
    efer = const 1 | (1 << 8) | (1 << 11),
    // not EM, not TS
    cr0_off = const !((1 << 2) | (1 << 3)),
    // PE, MP, NE, WP, PG
    cr0_on = const 1 | (1 << 1) | (1 << 5) | (1 << 16) | (1 << 31),
);
