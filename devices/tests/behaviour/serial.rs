//! COM1 as a driver, a terminal and a snapshot see it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use sentient_devices::serial::{INPUT_DEPTH, Serial, SerialError, SerialState};
use sentient_devices::{Lifecycle, RestoreError};

use crate::driver::Edges;

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1;

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Jammed;

impl Write for Jammed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn serial() -> (Serial, Paper, Arc<Edges>) {
    let (paper, edges) = (Paper::default(), Arc::new(Edges::default()));
    (Serial::new(edges.clone(), Box::new(paper.clone())), paper, edges)
}

fn get(serial: &mut Serial, offset: u8) -> u8 {
    let mut byte = [0];
    serial.read(offset, &mut byte);
    byte[0]
}

#[test]
fn what_the_guest_writes_comes_out() {
    let (mut serial, paper, _) = serial();
    for byte in b"boot\n" {
        serial.write(DATA, &[*byte]).unwrap();
    }
    assert_eq!(*paper.0.lock().unwrap(), b"boot\n");
}

#[test]
fn output_that_cannot_be_written_is_reported_once_and_not_kept() {
    let mut serial = Serial::new(Arc::new(Edges::default()), Box::new(Jammed));
    assert!(matches!(serial.write(DATA, b"x"), Err(SerialError::Output(_))));
    assert!(serial.write(INTERRUPT_ENABLE, &[0]).is_ok());
}

#[test]
fn input_waits_for_the_guest_within_bounds_and_interrupts_it() {
    let (mut serial, _, edges) = serial();
    serial.write(INTERRUPT_ENABLE, &[1]).unwrap();
    assert_eq!(serial.enqueue(&[b'x'; 100]).unwrap(), INPUT_DEPTH);
    assert_eq!((serial.room(), serial.enqueue(b"y").unwrap()), (0, 0));
    assert_eq!(edges.take(), 1);
    assert_eq!(get(&mut serial, LINE_STATUS) & DATA_READY, DATA_READY);
    for _ in 0..INPUT_DEPTH {
        assert_eq!(get(&mut serial, DATA), b'x');
    }
    assert_eq!(get(&mut serial, LINE_STATUS) & DATA_READY, 0);
}

#[test]
fn in_loop_back_no_input_comes_from_outside() {
    let (mut serial, paper, _) = serial();
    serial.write(MODEM_CONTROL, &[0x10]).unwrap();
    assert_eq!(serial.enqueue(b"x").unwrap(), 0);
    serial.write(DATA, b"y").unwrap();
    assert_eq!(get(&mut serial, DATA), b'y');
    assert!(paper.0.lock().unwrap().is_empty());
}

#[test]
fn accesses_wider_than_a_port_read_ones_beyond_it() {
    let (mut serial, paper, _) = serial();
    let mut wide = [0; 4];
    serial.read(LINE_STATUS, &mut wide);
    assert_eq!(wide[1..], [0xff; 3]);
    serial.read(200, &mut []);
    serial.write(DATA, b"ab").unwrap();
    serial.write(DATA, b"").unwrap();
    assert_eq!(*paper.0.lock().unwrap(), b"a");
}

#[test]
fn a_restored_port_has_its_input_and_interrupts_only_when_it_is_resumed() {
    let (mut saved, _, _) = serial();
    saved.write(INTERRUPT_ENABLE, &[1]).unwrap();
    saved.enqueue(b"typed").unwrap();
    let state = saved.save();
    let state: SerialState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();

    let (mut serial, paper, edges) = serial();
    serial.restore(&state).unwrap();
    assert_eq!(edges.take(), 0, "the interrupt controller is being restored too");
    assert_eq!(serial.save(), state);
    serial.resume();
    assert_eq!(edges.take(), 1);
    let typed: Vec<u8> = (0..5).map(|_| get(&mut serial, DATA)).collect();
    assert_eq!(typed, b"typed");
    serial.enqueue(b"!").unwrap();
    assert_eq!(edges.take(), 1, "and from then on as ever");
    serial.write(DATA, b"k").unwrap();
    assert_eq!(*paper.0.lock().unwrap(), b"k", "the sink is still the one of this machine");
}

#[test]
fn a_state_with_too_much_input_is_refused() {
    let (mut serial, _, _) = serial();
    let before = serial.save();
    let state = SerialState { input: vec![0; INPUT_DEPTH + 1], ..before.clone() };
    assert!(matches!(serial.restore(&state), Err(RestoreError::Value { .. })));
    let state = SerialState { version: 9, ..before.clone() };
    assert!(matches!(serial.restore(&state), Err(RestoreError::Version { found: 9, .. })));
    assert_eq!(serial.save(), before);
}
