//! Calling one exported function by its name, with numbers: `sentctl run --invoke`.

use crate::clock;
use crate::console;
use crate::container::State;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use sentient_abi::stdio::FrameKind;
use wasmtime::{Instance, Store, Val, ValType};

/// Calls the function `args[0]` `args[1]` times with the rest, and prints a line for each call: its
/// results, and the nanoseconds it took. With a count of 0 it is called once, and not timed.
pub fn invoke(
    store: &mut Store<State>,
    instance: &Instance,
    container: u32,
    args: &[&[u8]],
) -> wasmtime::Result<()> {
    let mut texts = args.iter().map(|arg| core::str::from_utf8(arg));
    let (Some(Ok(name)), Some(Ok(count))) = (texts.next(), texts.next()) else {
        wasmtime::bail!("the boot module names no function to call");
    };
    let count: u32 = count.parse().map_err(|_| wasmtime::format_err!("`{count}` is no number of calls"))?;
    if let Some(initialize) = instance.get_func(&mut *store, "_initialize") {
        initialize.typed::<(), ()>(&*store)?.call(&mut *store, ())?;
    }
    let Some(function) = instance.get_func(&mut *store, name) else {
        wasmtime::bail!("it exports no function `{name}`");
    };
    let ty = function.ty(&*store);
    let numbers =
        texts.collect::<Result<Vec<&str>, _>>().map_err(|_| wasmtime::format_err!("a number is no text"))?;
    if numbers.len() != ty.params().len() {
        wasmtime::bail!("`{name}` takes {} numbers, {} are given", ty.params().len(), numbers.len());
    }
    let parameters = ty
        .params()
        .zip(numbers)
        .map(|(ty, text)| parse(&ty, text))
        .collect::<wasmtime::Result<Vec<Val>>>()?;
    let mut results = alloc::vec![Val::I32(0); ty.results().len()];
    for _ in 0..count.max(1) {
        let start = clock::time_stamp();
        function.call(&mut *store, &parameters, &mut results)?;
        let elapsed = clock::ticks_to_ns(clock::time_stamp() - start);
        let mut line = String::new();
        for (index, result) in results.iter().enumerate() {
            let _ = write!(line, "{}", if index > 0 { " " } else { "" });
            write_value(&mut line, result);
        }
        if count > 0 {
            let _ = write!(line, " {elapsed}");
        }
        line.push('\n');
        console::write_all(FrameKind::Stdout, container, line.as_bytes());
    }
    Ok(())
}

fn parse(ty: &ValType, text: &str) -> wasmtime::Result<Val> {
    let value = match ty {
        ValType::I32 => text.parse().map(Val::I32).ok(),
        ValType::I64 => text.parse().map(Val::I64).ok(),
        ValType::F32 => text.parse::<f32>().map(|value| Val::F32(value.to_bits())).ok(),
        ValType::F64 => text.parse::<f64>().map(|value| Val::F64(value.to_bits())).ok(),
        _ => None,
    };
    value.ok_or_else(|| wasmtime::format_err!("`{text}` is no {ty}"))
}

fn write_value(line: &mut String, value: &Val) {
    let _ = match value {
        Val::I32(value) => write!(line, "{value}"),
        Val::I64(value) => write!(line, "{value}"),
        Val::F32(bits) => write!(line, "{}", f32::from_bits(*bits)),
        Val::F64(bits) => write!(line, "{}", f64::from_bits(*bits)),
        _ => write!(line, "?"),
    };
}
