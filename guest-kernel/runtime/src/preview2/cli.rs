//! `wasi:cli`.

use super::resources::{Input, Output, Terminal};
use super::scratch::{Place, Scratch};
use super::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use crate::calls::Stop;
use crate::container::State;
use crate::host::Streams;
use alloc::string::String;
use alloc::vec::Vec;
use sentient_wasi::{Host, Outcome, Stream, Wasi};
use wasmtime::component::Resource;

/// How preview 1 gives a list of words: their number and bytes first.
type Sizes = fn(&mut Wasi, &mut Streams, &mut [u8], u32, u32) -> Outcome;

impl State {
    /// Arguments or variables. Bytes that are no text are replaced.
    fn words(&mut self, sizes: Sizes, words: Sizes) -> wasmtime::Result<Vec<String>> {
        let refused = |errno| wasmtime::format_err!("its words are refused: {errno:?}");
        let mut scratch = Scratch::new();
        let (count, bytes) = (scratch.room(4), scratch.room(4));
        self.call(&mut scratch, |wasi, host, memory| sizes(wasi, host, memory, count.at, bytes.at))?
            .map_err(refused)?;
        let (count, len) = (scratch.u32(count.at) as usize, scratch.u32(bytes.at) as usize);
        let (pointers, bytes) = (scratch.room(count.saturating_mul(4)), scratch.room(len));
        self.call(&mut scratch, |wasi, host, memory| words(wasi, host, memory, pointers.at, bytes.at))?
            .map_err(refused)?;
        let all = scratch.get(Place { len: bytes.len.saturating_sub(1), ..bytes });
        let texts = all.split(|byte| *byte == 0).take(count);
        Ok(texts.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }
}

impl environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        let variables = self.words(
            |wasi, host, memory, count, bytes| wasi.environ_sizes_get(host, memory, count, bytes),
            |wasi, host, memory, at, bytes| wasi.environ_get(host, memory, at, bytes),
        )?;
        let split = |variable: String| match variable.split_once('=') {
            Some((name, value)) => (name.into(), value.into()),
            None => (variable, String::new()),
        };
        Ok(variables.into_iter().map(split).collect())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        self.words(
            |wasi, host, memory, count, bytes| wasi.args_sizes_get(host, memory, count, bytes),
            |wasi, host, memory, at, bytes| wasi.args_get(host, memory, at, bytes),
        )
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(Stop::Exit(status.is_err().into())))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(Stop::Exit(code.into())))
    }
}

impl stdin::Host for State {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<Input>> {
        self.give(Input::Stdin)
    }
}

impl stdout::Host for State {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<Output>> {
        self.give(Output::Standard(Stream::Stdout))
    }
}

impl stderr::Host for State {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<Output>> {
        self.give(Output::Standard(Stream::Stderr))
    }
}

impl State {
    fn terminal(&mut self, is_one: bool) -> wasmtime::Result<Option<Resource<Terminal>>> {
        is_one.then(|| self.give(Terminal)).transpose()
    }
}

impl terminal_input::Host for State {}

impl terminal_input::HostTerminalInput for State {
    fn drop(&mut self, terminal: Resource<Terminal>) -> wasmtime::Result<()> {
        self.taken(terminal).map(drop)
    }
}

impl terminal_output::Host for State {}

impl terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, terminal: Resource<Terminal>) -> wasmtime::Result<()> {
        self.taken(terminal).map(drop)
    }
}

impl terminal_stdin::Host for State {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        let is_one = self.streams.stdin_is_terminal();
        self.terminal(is_one)
    }
}

impl terminal_stdout::Host for State {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        let is_one = self.streams.output_is_terminal(Stream::Stdout);
        self.terminal(is_one)
    }
}

impl terminal_stderr::Host for State {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<Terminal>>> {
        let is_one = self.streams.output_is_terminal(Stream::Stderr);
        self.terminal(is_one)
    }
}
