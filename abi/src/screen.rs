//! The screen of a machine that is not ours, as the nucleus tells ring 3 of it.

/// A screen that the loader has set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ScreenInfo {
    /// Its first byte, on a page; mapped for ring 3.
    pub address: u64,
    /// Bytes from a line to the next.
    pub pitch: u32,
    /// Pixels of a line, or characters.
    pub width: u32,
    /// Lines, of pixels or characters.
    pub height: u32,
    /// How they are written: [`TEXT`], or [`pixels`].
    pub format: u32,
}

/// Characters of two bytes, as VGA's text mode has them: the character, and its colours.
pub const TEXT: u32 = 2;

/// Most pixels of a line, and most lines.
pub const MOST: u32 = 16_384;

/// Pixels of three or four bytes, in which red, green and blue are the eight bits from these ones on.
#[must_use]
pub const fn pixels(bytes: u8, red: u8, green: u8, blue: u8) -> u32 {
    bytes as u32 | (red as u32) << 8 | (green as u32) << 16 | (blue as u32) << 24
}

impl ScreenInfo {
    /// Bytes of a pixel, or of a character.
    #[must_use]
    pub const fn each(&self) -> u32 {
        self.format & 0xff
    }

    /// The first bits of red, green and blue; `None` for a screen of characters.
    #[must_use]
    pub const fn colours(&self) -> Option<[u32; 3]> {
        if !matches!(self.each(), 3 | 4) {
            return None;
        }
        Some([self.format >> 8 & 0xff, self.format >> 16 & 0xff, self.format >> 24])
    }

    /// Bytes of all of it; `None` if it makes no sense: no lines or too many, lines that are longer than what is from one to the
    /// next, another format, an address that is on no page.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let each = self.each();
        let known = match self.colours() {
            None => self.format == TEXT,
            Some(colours) => colours.iter().all(|bit| bit + 8 <= 8 * each),
        };
        let sound = |count: u32| (1..=MOST).contains(&count);
        let fits = sound(self.width) && sound(self.height) && self.pitch >= self.width * each;
        let all = u64::from(self.pitch) * u64::from(self.height);
        let placed = self.address != 0 && self.address.is_multiple_of(crate::PAGE_SIZE);
        (known && fits && placed && all <= 1 << 32 && self.address < 1 << 46).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_that_makes_no_sense_has_no_bytes() {
        let usual = ScreenInfo {
            address: 0x8000_0000,
            pitch: 4096,
            width: 1024,
            height: 768,
            format: pixels(4, 16, 8, 0),
        };
        assert_eq!((usual.bytes(), usual.colours()), (Some(4096 * 768), Some([16, 8, 0])));
        let text = ScreenInfo { address: 0xb8000, pitch: 160, width: 80, height: 25, format: TEXT };
        assert_eq!((text.bytes(), text.colours()), (Some(4000), None));
        for bad in [
            ScreenInfo { address: 0x8000_0004, ..usual },
            ScreenInfo { address: 0, ..usual },
            ScreenInfo { address: 1 << 46, ..usual },
            ScreenInfo { pitch: 4095, ..usual },
            ScreenInfo { height: 0, ..usual },
            ScreenInfo { width: MOST + 1, pitch: u32::MAX, ..usual },
            ScreenInfo { format: pixels(4, 16, 25, 0), ..usual },
            ScreenInfo { format: pixels(3, 24, 8, 0), ..usual },
            ScreenInfo { format: pixels(5, 0, 0, 0), ..usual },
            ScreenInfo { format: 7, ..usual },
        ] {
            assert_eq!(bad.bytes(), None, "{bad:?}");
        }
    }
}
