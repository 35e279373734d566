//! Sizes and times as people write them: on the command line, and in the texts of packages.

use sentient_abi::stdio::WEIGHTS;
use serde::Deserialize;
use std::time::Duration;

/// Reads a size in bytes: a number with an optional K, M, G (powers of 1024; `KiB` and `KB` too).
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or("");
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(format!("`{unit}` is no unit of memory: use K, M or G, as in 64M")),
    };
    let number: u64 =
        digits.parse().map_err(|_| format!("`{digits}` is no whole number: use for example 64M"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is more than 64 bits of bytes"))
}

/// A time in a text: as [`parse_duration`] reads it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub Duration);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_duration(&text).map(Self)
    }
}

/// Reads a time: a number with ns, us, ms, s, m or h; seconds if there is no unit. Not zero.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or("");
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit of time: use ns, us, ms, s, m or h, as in 500ms")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("`{digits}` is no number: use for example 1.5s"))?;
    let time =
        Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("`{text}` is no possible time"))?;
    if time.is_zero() {
        return Err("a time of zero would allow nothing; leave it out for no limit".into());
    }
    Ok(time)
}

/// Reads a part of a processor: whole per cent from 1 to 100, as `20%`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_share(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    let whole = number.filter(|percent| WEIGHTS.contains(percent));
    whole.ok_or_else(|| format!("`{text}` is no part of a processor: use 1% to 100%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        assert_eq!(parse_size("512KiB"), Ok(512 << 10));
        for bad in ["", "M", "1.5M", "-1", "64X", "99999999999G", "64 M"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_a_processor_are_whole_per_cent() {
        assert_eq!((parse_share("20%"), parse_share("100")), (Ok(20), Ok(100)));
        for bad in ["", "%", "0%", "101%", "-1%", "2.5%", "20%%", "half"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1us"), Ok(Duration::from_micros(1)));
        assert_eq!(parse_duration("20ns"), Ok(Duration::from_nanos(20)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("3m"), Ok(Duration::from_secs(180)));
        for bad in ["", "s", "0", "0ms", "-1s", "inf", "NaN", "1d", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
