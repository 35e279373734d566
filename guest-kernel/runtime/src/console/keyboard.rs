//! The keyboard of a PC: an 8042 controller, which gives codes of set 1, and a layout of the USA.

use crate::gate;
use pc_keyboard::layouts::Us104Key;
use pc_keyboard::{DecodedKey, HandleControl, PS2Keyboard, ScancodeSet1};
use spin::Mutex;

static KEYBOARD: Mutex<PS2Keyboard<Us104Key, ScancodeSet1>> =
    Mutex::new(PS2Keyboard::new(ScancodeSet1::new(), Us104Key, HandleControl::Ignore));

/// A character that was typed, if one was.
pub fn typed() -> Option<u8> {
    let mut keyboard = KEYBOARD.lock();
    // What is no character is pressed and released all the same.
    while let Some(code) = gate::key_code() {
        let Ok(Some(event)) = keyboard.add_byte(code) else { continue };
        if let Some(DecodedKey::Unicode(character)) = keyboard.process_keyevent(event)
            && let Ok(byte) = u8::try_from(character)
        {
            return Some(byte);
        }
    }
    None
}
