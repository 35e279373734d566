//! WASI preview 1: the functions of `sentient-wasi`, given to wasmtime.
//!
//! Only what a module imports is defined: defining all 46 would cost more than starting the container.

use crate::calls;
use crate::container::State;
use crate::host::Streams;
use sentient_wasi::{Outcome, Wasi};
use wasmtime::{Caller, Extern, Linker};

/// The module name that programs import from.
const MODULE: &str = "wasi_snapshot_preview1";

/// Makes one call of the layer on the module's memory.
fn call(
    caller: &mut Caller<'_, State>,
    function: impl FnOnce(&mut Wasi, &mut Streams, &mut [u8]) -> Outcome,
) -> Result<Outcome, wasmtime::Error> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                wasmtime::bail!("the module calls WASI but exports no memory named `memory`");
            };
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    Ok(function(&mut state.wasi, &mut state.streams, bytes))
}

/// Defines the function a module imports; `false` if there is none of that name.
///
/// # Errors
/// wasmtime's, if it cannot allocate.
pub fn define(linker: &mut Linker<State>, module: &str, name: &str) -> Result<bool, wasmtime::Error> {
    if module != MODULE {
        return Ok(false);
    }
    macro_rules! define {
        ($($function:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => {
            match name {
                $(stringify!($function) => {
                    // Nothing is captured: what is would lie in the heap, where a stray write makes it something else.
                    linker.func_wrap(MODULE, name, |mut caller: Caller<'_, State> $(, $parameter: $type)*| {
                        const DRAWS: bool = matches!(stringify!($function).as_bytes(), b"random_get");
                        let errno = calls::answer(DRAWS, || {
                            call(&mut caller, |wasi, streams, memory| {
                                wasi.$function(streams, memory $(, $parameter)*)
                            })
                        })?;
                        Ok::<$result, wasmtime::Error>(<$result>::from(errno))
                    })?;
                    true
                })*
                _ => false,
            }
        };
    }
    Ok(sentient_wasi::for_each_function!(define))
}
