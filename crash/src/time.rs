//! Times as people read them.

use chrono::{DateTime, SecondsFormat};

/// A time in UTC, as ISO 8601 has it, with milliseconds. One after the year 2262 becomes that year's.
pub fn utc(unix_ns: u64) -> String {
    DateTime::from_timestamp_nanos(i64::try_from(unix_ns).unwrap_or(i64::MAX))
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Microseconds as milliseconds, with one digit behind the point.
pub fn millis(us: u64) -> String {
    let tenths = us / 100 + u64::from(us % 100 >= 50);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_709_210_096_789_999_999), "2024-02-29T12:34:56.789Z");
        assert!(utc(u64::MAX).starts_with("2262-"));
    }

    #[test]
    fn milliseconds_are_rounded_to_a_tenth() {
        assert_eq!(
            [0, 49, 50, 1_949, 1_950, 12_345].map(millis),
            ["0.0", "0.0", "0.1", "1.9", "2.0", "12.3"]
        );
        assert_eq!(millis(u64::MAX), "18446744073709551.6");
    }
}
