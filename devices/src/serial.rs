//! COM1: a 16550 on `vm-superio`'s model.
//!
//! The VMM routes the eight ports from [`COM1_BASE`] here and its interrupt to line [`COM1_IRQ`].
//! Output goes, byte by byte, to whatever sink it was made with: this is the channel of early boot and
//! of guests that know nothing else, not of containers.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use vm_superio::serial::{Error as SuperioError, NoEvents};
use vm_superio::{SerialState as Registers, Trigger};

use crate::interrupt::Interrupt;
use crate::lifecycle::{Lifecycle, RestoreError};

/// First port of COM1 on a PC.
pub const COM1_BASE: u16 = 0x3f8;
/// Ports from [`COM1_BASE`].
pub const COM1_LEN: u16 = 8;
/// Interrupt line of COM1 on a PC.
pub const COM1_IRQ: u32 = 4;
/// Bytes of input the device holds for the guest, the depth of the model's receive queue.
pub const INPUT_DEPTH: usize = 64;

const STATE_VERSION: u32 = 1;
/// Interrupt enable and identification bits (16550 data sheet, tables 3 and 5): received data,
/// transmitter empty.
const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_TRANSMIT_EMPTY: u8 = 1 << 1;
const PENDING_TRANSMIT_EMPTY: u8 = 1 << 1;
const PENDING_RECEIVED: u8 = 1 << 2;

/// What went wrong while serving an access. The device stays usable.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// A byte of output is lost.
    #[error("serial: a byte of the guest's output could not be written and is lost")]
    Output(#[source] io::Error),
    /// The guest may miss that there is input.
    #[error("serial: the interrupt could not be raised")]
    Interrupt(#[source] io::Error),
}

/// The interrupt as `vm-superio` wants it; disarmed while a state is being restored, since the
/// machine's interrupt controller is being restored too.
struct Line {
    interrupt: Arc<dyn Interrupt>,
    armed: AtomicBool,
}

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        if self.armed.load(Ordering::Relaxed) { self.interrupt.raise() } else { Ok(()) }
    }
}

type Model = vm_superio::Serial<Line, NoEvents, Vec<u8>>;

/// The device.
pub struct Serial {
    /// Its output buffer holds at most the byte of the access being served, so that the model can be
    /// replaced by a restored one while the sink stays.
    model: Model,
    sink: Box<dyn Write + Send>,
    interrupt: Arc<dyn Interrupt>,
}

/// What a [`Serial`] saves: the registers of the 16550 under their data sheet names, and input the
/// guest has not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the registers of their names")]
pub struct SerialState {
    /// Layout of this struct.
    pub version: u32,
    pub baud_divisor_low: u8,
    pub baud_divisor_high: u8,
    pub interrupt_enable: u8,
    pub interrupt_identification: u8,
    pub line_control: u8,
    pub line_status: u8,
    pub modem_control: u8,
    pub modem_status: u8,
    pub scratch: u8,
    /// Oldest first, at most [`INPUT_DEPTH`] bytes.
    pub input: Vec<u8>,
}

impl Serial {
    /// A device after power-on that writes to `sink`. The sink must not block for long: the vCPU that
    /// writes the byte waits for it.
    #[must_use]
    pub fn new(interrupt: Arc<dyn Interrupt>, sink: Box<dyn Write + Send>) -> Self {
        let model = vm_superio::Serial::new(Line::armed(&interrupt), Vec::new());
        Self { model, sink, interrupt }
    }

    /// A read by the guest from [`COM1_BASE`]` + offset`; the ports are one byte wide, so only
    /// `data[0]` is meant, the rest reads as ones.
    pub fn read(&mut self, offset: u8, data: &mut [u8]) {
        data.fill(0xff);
        if let Some(first) = data.first_mut() {
            *first = self.model.read(offset);
        }
    }

    /// A write by the guest to [`COM1_BASE`]` + offset`; all but the first byte is ignored.
    ///
    /// # Errors
    ///
    /// [`SerialError`]; for the log, as there is nothing the guest could do.
    pub fn write(&mut self, offset: u8, data: &[u8]) -> Result<(), SerialError> {
        let Some(&value) = data.first() else {
            return Ok(());
        };
        let served = self.model.write(offset, value);
        let output = self.model.writer_mut();
        let written = self.sink.write_all(output).and_then(|()| self.sink.flush());
        output.clear();
        written.map_err(SerialError::Output)?;
        match served {
            Ok(()) | Err(SuperioError::FullFifo) => Ok(()),
            Err(SuperioError::Trigger(error)) => Err(SerialError::Interrupt(error)),
            Err(SuperioError::IOError(error)) => Err(SerialError::Output(error)),
        }
    }

    /// Hands input to the guest and returns how many bytes were taken, at most [`Self::room`]. None are
    /// taken while the guest has put the device into loop-back mode.
    ///
    /// # Errors
    ///
    /// [`SerialError::Interrupt`]; the bytes are taken nevertheless.
    pub fn enqueue(&mut self, input: &[u8]) -> Result<usize, SerialError> {
        match self.model.enqueue_raw_bytes(input) {
            Ok(taken) => Ok(taken),
            Err(SuperioError::FullFifo) => Ok(0),
            Err(SuperioError::Trigger(error)) => Err(SerialError::Interrupt(error)),
            Err(SuperioError::IOError(error)) => Err(SerialError::Output(error)),
        }
    }

    /// Bytes of input the device has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.model.fifo_capacity()
    }
}

impl Line {
    fn armed(interrupt: &Arc<dyn Interrupt>) -> Self {
        Self { interrupt: Arc::clone(interrupt), armed: AtomicBool::new(true) }
    }

    fn disarmed(interrupt: &Arc<dyn Interrupt>) -> Self {
        Self { interrupt: Arc::clone(interrupt), armed: AtomicBool::new(false) }
    }
}

impl Lifecycle for Serial {
    type State = SerialState;

    fn resume(&mut self) {
        let registers = self.model.state();
        let received = registers.interrupt_enable & ENABLE_RECEIVED != 0
            && registers.interrupt_identification & PENDING_RECEIVED != 0;
        let empty = registers.interrupt_enable & ENABLE_TRANSMIT_EMPTY != 0
            && registers.interrupt_identification & PENDING_TRANSMIT_EMPTY != 0;
        if received || empty {
            // A failure here is a missed edge of a line that the next byte raises again.
            let _ = self.interrupt.raise();
        }
    }

    fn reset(&mut self) {
        self.model = vm_superio::Serial::new(Line::armed(&self.interrupt), Vec::new());
    }

    fn save(&self) -> SerialState {
        let registers = self.model.state();
        SerialState {
            version: STATE_VERSION,
            baud_divisor_low: registers.baud_divisor_low,
            baud_divisor_high: registers.baud_divisor_high,
            interrupt_enable: registers.interrupt_enable,
            interrupt_identification: registers.interrupt_identification,
            line_control: registers.line_control,
            line_status: registers.line_status,
            modem_control: registers.modem_control,
            modem_status: registers.modem_status,
            scratch: registers.scratch,
            input: registers.in_buffer,
        }
    }

    fn restore(&mut self, state: &SerialState) -> Result<(), RestoreError> {
        RestoreError::check_version("serial", state.version, STATE_VERSION)?;
        let too_long = || {
            let expected = format!("the device holds at most {INPUT_DEPTH} bytes");
            RestoreError::value("serial", "the length of the input", state.input.len(), expected)
        };
        if state.input.len() > INPUT_DEPTH {
            return Err(too_long());
        }
        let registers = Registers {
            baud_divisor_low: state.baud_divisor_low,
            baud_divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.input.clone(),
        };
        let line = Line::disarmed(&self.interrupt);
        let model = Model::from_state(&registers, line, NoEvents, Vec::new()).map_err(|_| too_long())?;
        model.interrupt_evt().armed.store(true, Ordering::Relaxed);
        self.model = model;
        Ok(())
    }
}
