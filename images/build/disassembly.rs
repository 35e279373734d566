//! The check that the nucleus has no SSE, AVX or x87 instruction.
//!
//! Software KVM emulates ring 0 without them: a single one ends the guest. The compiler is told not to
//! use them; this looks at what it made of it.

use iced_x86::{CpuidFeature, Decoder, DecoderOptions, Instruction};
use object::{Object, ObjectSection, ObjectSymbol};

/// Gives the first forbidden instruction of an ELF file's text, with its address and function.
///
/// # Errors
/// A description of the instruction, or of what is wrong with the file.
pub fn forbid_simd(elf: &[u8]) -> Result<(), String> {
    let file = object::File::parse(elf).map_err(|error| format!("not an ELF file: {error}"))?;
    let text = file.section_by_name(".text").ok_or("it has no .text section")?;
    let code = text.data().map_err(|error| format!("its .text cannot be read: {error}"))?;
    let address = |name: &str| file.symbol_by_name(name).map(|symbol| symbol.address());
    // The PVH entry runs in 32-bit mode up to its jump.
    let narrow = address("pvh_start").unwrap_or(0)..address("pvh_long").unwrap_or(0);
    let base = text.address();
    let mut starts = vec![(base, 64)];
    if !narrow.is_empty() {
        starts.push((narrow.start, 32));
        starts.push((narrow.end, 64));
    }
    let end = base + code.len() as u64;
    for (index, (start, bits)) in starts.iter().enumerate() {
        let stop = starts.get(index + 1).map_or(end, |(next, _)| *next);
        let piece = code
            .get((start - base) as usize..(stop - base) as usize)
            .ok_or("its symbols lie outside its text")?;
        if let Some(found) = first_simd(piece, *start, *bits) {
            let function = file
                .symbols()
                .filter(|symbol| symbol.address() <= found.ip())
                .max_by_key(ObjectSymbol::address)
                .and_then(|symbol| symbol.name().ok().map(str::to_owned));
            let function = function.unwrap_or_else(|| "?".into());
            return Err(format!("{:?} at {:#x} in {function}", found.code(), found.ip()));
        }
    }
    Ok(())
}

fn first_simd(code: &[u8], ip: u64, bits: u32) -> Option<Instruction> {
    Decoder::with_ip(bits, code, ip, DecoderOptions::NONE)
        .into_iter()
        .find(|instruction| instruction.cpuid_features().iter().copied().any(is_simd))
}

fn is_simd(feature: CpuidFeature) -> bool {
    let name = format!("{feature:?}");
    let exact = ["FPU", "FPU287", "FPU387", "MMX", "FXSR", "F16C", "FMA", "FMA4", "XOP", "D3NOW"];
    exact.contains(&name.as_str())
        || name.starts_with("SSE")
        || name.starts_with("SSSE")
        || name.starts_with("AVX")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn one_sse_instruction_is_found_among_others() {
        // mov eax, ebx; xorps xmm0, xmm0; ret
        let code = [0x89, 0xd8, 0x0f, 0x57, 0xc0, 0xc3];
        assert_eq!(first_simd(&code, 0x1000, 64).map(|found| found.ip()), Some(0x1002));
        assert!(first_simd(&code[..2], 0x1000, 64).is_none());
    }

    #[test]
    fn x87_and_fxsave_are_found_too() {
        assert!(first_simd(&[0xd9, 0xe8], 0, 64).is_some(), "fld1");
        assert!(first_simd(&[0x48, 0x0f, 0xae, 0x00], 0, 64).is_some(), "fxsave64 [rax]");
    }

    #[test]
    fn this_test_program_which_uses_sse_is_refused() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(forbid_simd(&own).is_err());
    }
}
