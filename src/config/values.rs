//! The forms of values that people type, in the environment and on the command line: durations, sizes, secrets. Each
//! reads itself from text. Knows nothing of what is set with them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The units of durations, in seconds.
const DURATION_UNITS: [(&str, f64); 6] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// The longest duration, a century: more could not be added to the time of a clock.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A text that is not of the expected form; says which that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Expected(pub String);

impl Secret {
    /// Keeps a secret.
    pub(crate) fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret, for the one place that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Keys travel in a header, and must fit there.
impl FromStr for Secret {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Expected("visible ASCII characters without spaces".to_owned()))
        }
    }
}

/// Reads a duration: a number and `us`, `ms`, `s`, `m`, `h` or `d`. Never zero, and never without a unit: nobody could
/// tell which was meant.
pub fn duration(text: &str) -> Result<Duration, Expected> {
    let read = seconds(text).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let read = read.filter(|duration| !duration.is_zero() && *duration <= LONGEST);
    read.ok_or_else(|| Expected("a duration such as 500ms, 1.5s, 5m, 2h or 7d".to_owned()))
}

/// Reads a duration, or `off`.
pub(crate) fn duration_or_off(text: &str) -> Result<Option<Duration>, Expected> {
    match text {
        "off" => Ok(None),
        text => duration(text).map(Some).map_err(|Expected(expected)| Expected(format!("{expected}, or off"))),
    }
}

/// Reads a number of bytes: a whole number, and perhaps `KiB`, `MiB` or `GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, Expected> {
    const UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    number_and_unit(text, &UNITS)
        .ok_or_else(|| Expected("a number of bytes such as 1048576, 512KiB, 16MiB or 1GiB".to_owned()))
}

/// Writes a duration as [`duration`] reads it, in the largest unit that fits.
pub fn duration_text(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = DURATION_UNITS.into_iter().rev().map(|(name, seconds)| (name, Duration::from_secs_f64(seconds)));
    let mut units = units.map(|(name, unit)| (name, unit.as_micros()));
    let fitting = units.find(|(_, unit)| micros >= *unit && micros.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{micros}us"), |(name, unit)| format!("{}{name}", micros / unit))
}

fn seconds(text: &str) -> Option<f64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit.trim_start())?;
    Some(number.parse::<f64>().ok()? * factor)
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("15 s", 15_000),
            ("1.5s", 1_500),
            ("90m", 5_400_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration_or_off("off"), Ok(None));
        for text in [
            "",
            "0",
            "0s",
            "5",
            "s",
            ".s",
            "1.5.s",
            "-1s",
            "1h30m",
            "nans",
            "1e3s",
            "36501d",
            "99999999999999999999d",
            "15 sec",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["250us", "1ms", "1500ms", "15s", "90m", "2h", "7d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, size) in
            [("0", 0), ("1048576", 1 << 20), ("16MiB", 16 << 20), ("512 KiB", 512 << 10), ("1GiB", 1 << 30)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "16MB", "16M", "-1", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = "sk-123".parse().unwrap();
        assert_eq!((format!("{secret:?}").as_str(), secret.expose()), ("***", "sk-123"));
        assert!("sk 123\n".parse::<Secret>().is_err());
    }
}
