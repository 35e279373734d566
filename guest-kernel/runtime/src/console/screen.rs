//! The screen of a machine that is not ours: what is said, in characters, on what the loader has set up.
//!
//! What is on it is kept in memory, because reading a screen takes long. When it is full all lines move up by one, and only what
//! changes by that is drawn.

use crate::{gate, heap};
use alloc::vec;
use alloc::vec::Vec;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use sentient_abi::screen::ScreenInfo;
use spin::Mutex;

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;
/// Pixels of a character.
const WIDTH: usize = get_raster_width(WEIGHT, SIZE);
const HEIGHT: usize = SIZE.val();

/// Light grey on black, as VGA's text mode has it.
const TEXT_COLOURS: u16 = 0x0700;

const ESCAPE: u8 = 0x1b;
const BACKSPACE: u8 = 8;
const BLANK: u8 = b' ';
/// For what the font has not.
const UNKNOWN: u8 = b'?';

/// What a terminal's control sequence is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    None,
    Begun,
    Parameters,
}

struct Screen {
    info: ScreenInfo,
    columns: usize,
    rows: usize,
    /// What is to be seen: a character each.
    cells: Vec<u8>,
    row: usize,
    column: usize,
    sequence: Sequence,
}

static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);

/// Takes over the machine's screen, if it has one.
pub fn start() {
    *SCREEN.lock() = Screen::find();
}

/// Shows what is said.
pub fn say(bytes: &[u8]) {
    heap::in_runtime(|| {
        if let Some(screen) = SCREEN.lock().as_mut() {
            bytes.iter().for_each(|byte| screen.take(*byte));
        }
    });
}

/// The same of the last that is said: whoever had the screen never comes back to it.
pub fn last_words(bytes: &[u8]) {
    if let Some(mut screen) = SCREEN.try_lock()
        && let Some(screen) = screen.as_mut()
    {
        bytes.iter().for_each(|byte| screen.take(*byte));
    }
}

impl Screen {
    fn find() -> Option<Self> {
        let info = gate::screen().filter(|info| info.bytes().is_some())?;
        let (width, height) = (info.width as usize, info.height as usize);
        let (columns, rows) =
            if info.colours().is_some() { (width / WIDTH, height / HEIGHT) } else { (width, height) };
        if columns == 0 || rows == 0 {
            return None;
        }
        let cells = vec![0; columns * rows];
        let mut screen = Self { info, columns, rows, cells, row: 0, column: 0, sequence: Sequence::None };
        screen.clear();
        Some(screen)
    }

    fn take(&mut self, byte: u8) {
        match (self.sequence, byte) {
            (Sequence::None, ESCAPE) => self.sequence = Sequence::Begun,
            (Sequence::None, b'\n') => self.next_line(),
            (Sequence::None, b'\r') => self.column = 0,
            (Sequence::None, BACKSPACE) => self.column = self.column.saturating_sub(1),
            (Sequence::None, b'\t') => (self.column % 8..8).for_each(|_| self.put(BLANK)),
            (Sequence::None, b' '..=b'~') => self.put(byte),
            // The first byte of a character of several, of which the others are left out.
            (Sequence::None, 0xc0..) => self.put(UNKNOWN),
            (Sequence::None, _) => {}
            (Sequence::Begun, b'[') => self.sequence = Sequence::Parameters,
            (Sequence::Parameters, ..b'@') => {}
            (Sequence::Begun | Sequence::Parameters, _) => self.sequence = Sequence::None,
        }
    }

    fn put(&mut self, byte: u8) {
        if self.column == self.columns {
            self.column = 0;
            self.next_line();
        }
        self.show(self.row, self.column, byte);
        self.column += 1;
    }

    fn next_line(&mut self) {
        if self.row + 1 < self.rows {
            self.row += 1;
            return;
        }
        for row in 0..self.rows {
            for column in 0..self.columns {
                let below = self.cells.get((row + 1) * self.columns + column).copied();
                self.show(row, column, below.unwrap_or(BLANK));
            }
        }
    }

    /// Draws a character, unless it is there.
    fn show(&mut self, row: usize, column: usize, byte: u8) {
        let Some(cell) = self.cells.get_mut(row * self.columns + column) else { return };
        if core::mem::replace(cell, byte) != byte {
            self.draw(row, column, byte);
        }
    }

    fn clear(&mut self) {
        // What is beside the characters, too.
        let is_text = self.info.colours().is_none();
        for y in 0..self.info.height as usize {
            for x in 0..self.info.width as usize {
                if is_text {
                    self.write(y, x * 2, TEXT_COLOURS | u16::from(BLANK));
                } else {
                    self.dot(y, x, 0);
                }
            }
        }
        self.cells.fill(BLANK);
    }

    fn draw(&self, row: usize, column: usize, byte: u8) {
        let Some([red, green, blue]) = self.info.colours() else {
            return self.write(row, column * 2, TEXT_COLOURS | u16::from(byte));
        };
        let Some(raster) = get_raster(byte.into(), WEIGHT, SIZE) else { return };
        for (y, line) in raster.rows().enumerate() {
            for (x, light) in line.iter().enumerate() {
                let light = u32::from(*light);
                let pixel = light << red | light << green | light << blue;
                self.dot(row * HEIGHT + y, column * WIDTH + x, pixel);
            }
        }
    }

    fn dot(&self, y: usize, x: usize, pixel: u32) {
        if self.info.each() == 4 {
            return self.write(y, x * 4, pixel);
        }
        let [low, middle, high, _] = pixel.to_le_bytes();
        self.write(y, x * 3, [low, middle, high]);
    }

    /// Writes a pixel or a character at `offset` bytes of line `y`, if that is on the screen.
    fn write<T>(&self, y: usize, offset: usize, value: T) {
        let (pitch, height) = (self.info.pitch as usize, self.info.height as usize);
        if y >= height || offset + size_of::<T>() > pitch {
            return;
        }
        let at = self.info.address as usize + y * pitch + offset;
        // SAFETY: the nucleus has mapped `pitch * height` bytes from the address on for ring 3, which the line above stays
        // within; they are no memory of this program's. It need not be aligned.
        unsafe { (at as *mut T).write_unaligned(value) }
    }
}
