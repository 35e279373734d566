//! WASI 0.2: the interfaces of `wasi:cli/command` for components, by the functions of WASI preview 1.
//!
//! Both worlds are one layer (`sentient-wasi`): descriptors, files, permissions, volumes and waiting are its business. A
//! function of an interface here puts its parameters into a [`Scratch`], which the layer takes for a program's memory,
//! calls, and reads the answer from there. What 0.2 has and preview 1 has not are resources ([`resources`]): streams with
//! offsets of their own, listings, things to wait for.
//!
//! Only interfaces that a component imports are defined.

mod cli;
mod clocks;
mod errors;
mod filesystem;
mod listing;
mod poll;
mod random;
mod resources;
mod scratch;
mod sockets;
mod stat;
mod streams;
mod tcp;
mod udp;

use crate::calls;
use crate::container::State;
use crate::host::Streams;
pub use resources::{MAX_HANDLES, Resources};
use scratch::Scratch;
use sentient_wasi::{COMMAND, Errno, Outcome, VERSION_2, Wasi};
use wasmtime::component::{Component, ComponentExportIndex, HasSelf, Linker, types::ComponentItem};

wasmtime::component::bindgen!({
    path: "wit",
    world: "program",
    imports: { default: trappable },
    with: {
        "wasi:io/error.error": resources::Failed,
        "wasi:io/poll.pollable": resources::Pollable,
        "wasi:io/streams.input-stream": resources::Input,
        "wasi:io/streams.output-stream": resources::Output,
        "wasi:filesystem/types.descriptor": resources::Open,
        "wasi:filesystem/types.directory-entry-stream": listing::Listing,
        "wasi:cli/terminal-input.terminal-input": resources::Terminal,
        "wasi:cli/terminal-output.terminal-output": resources::Terminal,
        "wasi:sockets/network.network": resources::Network,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": sockets::Addresses,
        "wasi:sockets/tcp.tcp-socket": tcp::Tcp,
        "wasi:sockets/udp.udp-socket": udp::Udp,
        "wasi:sockets/udp.incoming-datagram-stream": udp::Udp,
        "wasi:sockets/udp.outgoing-datagram-stream": udp::Udp,
    },
});

/// Most bytes that one call moves between a program and a file or stream: a list of bytes lies in the container's heap
/// while it is passed on.
const MAX_BYTES: usize = 64 << 10;

/// What one call may pass of lists and strings, in bytes and such: more than that is a trap. A list of [`MAX_BYTES`], and
/// a poll of all resources there can be.
pub const HOSTCALL_FUEL: usize = 256 << 10;

impl State {
    /// Makes a call of preview 1 on a scratch memory, until it has an answer.
    ///
    /// # Errors
    /// As [`calls::answer`].
    fn call(
        &mut self,
        scratch: &mut Scratch,
        function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8]) -> Outcome,
    ) -> wasmtime::Result<Result<(), Errno>> {
        self.call_that(false, scratch, function)
    }

    fn call_that(
        &mut self,
        draws: bool,
        scratch: &mut Scratch,
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8]) -> Outcome,
    ) -> wasmtime::Result<Result<(), Errno>> {
        let errno =
            calls::answer(draws, || Ok(function(&mut self.wasi, &mut self.streams, scratch.memory())))?;
        Ok(if errno == Errno::Success { Ok(()) } else { Err(errno) })
    }
}

/// Defines the interfaces that a component imports.
///
/// # Errors
/// One that there is not, by its name; wasmtime's.
pub fn define(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    // Several versions of an interface are one.
    linker.allow_shadowing(true);
    for (name, _) in component.component_type().imports(component.engine()) {
        let interface = name.split_once(VERSION_2).map_or(name, |(interface, _)| interface);
        macro_rules! define {
            ($($wanted:literal => $($module:ident)::+;)*) => {
                match interface {
                    $($wanted => wasi::$($module)::+::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?,)*
                    _ => wasmtime::bail!("it imports `{name}`, which there is not"),
                }
            };
        }
        sentient_wasi::for_each_interface!(define);
    }
    Ok(())
}

/// Where a command's function is that is run.
///
/// # Errors
/// If it exports none.
pub fn entry(component: &Component) -> wasmtime::Result<ComponentExportIndex> {
    let (wanted, function) = COMMAND;
    let ty = component.component_type();
    let found = ty.exports(component.engine()).find_map(|(name, item)| {
        let is_interface = matches!(item.ty, ComponentItem::ComponentInstance(_));
        let is_wanted = name.split_once(VERSION_2).is_some_and(|(interface, _)| interface == wanted);
        (is_interface && is_wanted).then_some(name)
    });
    found
        .and_then(|name| component.get_export_index(None, name))
        .and_then(|instance| component.get_export_index(Some(&instance), function))
        .ok_or_else(|| wasmtime::format_err!("it exports no `{wanted}`: it is a library, not a command"))
}
