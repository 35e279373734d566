//! Arguments and environment: `args_get`, `args_sizes_get`, `environ_get`, `environ_sizes_get`.

use alloc::vec::Vec;

use crate::errno::Errno;
use crate::host::Host;
use crate::memory;
use crate::outcome::{Outcome, Stop};
use crate::wasi::Wasi;

/// A list of zero-terminated strings, kept in the form in which it is handed out.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// The strings, each with its zero byte.
    bytes: Vec<u8>,
    /// Where each begins in `bytes`.
    starts: Vec<usize>,
}

impl Strings {
    /// Adds a string made of parts; how many bytes all strings have then.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> usize {
        self.starts.push(self.bytes.len());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        self.bytes.len()
    }

    fn put_sizes(&self, mem: &mut [u8], count: u32, bytes: u32) -> Result<(), Stop> {
        memory::put_u32(mem, count, word(self.starts.len())?)?;
        Ok(memory::put_u32(mem, bytes, word(self.bytes.len())?)?)
    }

    fn put(&self, mem: &mut [u8], pointers: u32, bytes: u32) -> Result<(), Stop> {
        memory::put(mem, bytes, &self.bytes)?;
        let mut to = pointers;
        for start in &self.starts {
            let string = bytes.checked_add(word(*start)?).ok_or(Errno::Fault)?;
            memory::put_u32(mem, to, string)?;
            to = to.checked_add(4).ok_or(Errno::Fault)?;
        }
        Ok(())
    }
}

fn word(value: usize) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::Overflow)
}

impl Wasi {
    /// `args_get`: the arguments' bytes to `argv_buf` and a pointer to each to `argv`.
    pub fn args_get(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        argv: u32,
        argv_buf: u32,
    ) -> Outcome {
        self.answer(|wasi| wasi.args.put(mem, argv, argv_buf))
    }

    /// `args_sizes_get`: how many arguments there are, and their bytes with the zero bytes.
    pub fn args_sizes_get(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        argc: u32,
        argv_buf_size: u32,
    ) -> Outcome {
        self.answer(|wasi| wasi.args.put_sizes(mem, argc, argv_buf_size))
    }

    /// `environ_get`: the `NAME=value` strings to `environ_buf` and a pointer to each to `environ`.
    pub fn environ_get(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        environ: u32,
        environ_buf: u32,
    ) -> Outcome {
        self.answer(|wasi| wasi.env.put(mem, environ, environ_buf))
    }

    /// `environ_sizes_get`: how many variables there are, and their bytes with the zero bytes.
    pub fn environ_sizes_get(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        environ_count: u32,
        environ_buf_size: u32,
    ) -> Outcome {
        self.answer(|wasi| wasi.env.put_sizes(mem, environ_count, environ_buf_size))
    }
}
