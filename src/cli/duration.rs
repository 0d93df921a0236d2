//! Durations as people type them: `200ms`, `1.5s`, `2m`, `1h`.

use std::time::Duration;

/// Reads a number with its unit: `us`, `ms`, `s`, `m` or `h`. A bare number is refused, because nobody can tell which
/// unit was meant; `0` alone is fine.
///
/// # Errors
/// A sentence for the person who typed it, as clap shows it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 =
        number.trim().parse().map_err(|_| format!("“{text}” does not start with a number; try 200ms, 1.5s or 2m"))?;
    let seconds_per_unit = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 0.0,
        "" => return Err(format!("“{text}” has no unit; try {text}ms or {text}s")),
        other => return Err(format!("“{other}” is no unit of time; use us, ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| format!("“{text}” is out of range"))
}

/// Reads a duration that must be longer than nothing.
///
/// # Errors
/// As [`parse`], and for zero.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("must be longer than 0".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, micros) in [
            ("250us", 250),
            ("250µs", 250),
            ("200ms", 200_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            ("0", 0),
            (" 3 s ", 3_000_000),
        ] {
            assert_eq!(parse(text).map(|d| d.as_micros()), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "s", "5", "5 parsecs", "-1s", "nan s", "inf s", "1e30h", "1ss"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_positive("0ms").is_err());
    }
}
