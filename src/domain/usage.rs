//! What replies used: tokens, by caller, day and model.

use std::fmt;
use std::str::FromStr;

use time::{Date, Month};

use super::caller::Owner;
use super::event::Usage;

/// A day of UTC, as the number of days since 1970-01-01. As a text: `2026-11-27`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(u32);

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a day such as 2026-11-27")]
pub struct InvalidDay;

/// Replies, and the tokens that they used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How many replies.
    pub replies: u64,
    /// Tokens of their inputs.
    pub input: u64,
    /// Of these, those that the model server had in its cache.
    pub cached: u64,
    /// Tokens that were generated.
    pub output: u64,
    /// Of these, thoughts.
    pub reasoning: u64,
}

/// What an owner used of a model on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyUsage {
    /// The owner of the replies.
    pub owner: Owner,
    /// When they ended.
    pub day: Day,
    /// What generated them.
    pub model: String,
    /// How much.
    pub used: Used,
}

impl Day {
    /// 1970-01-01 as the `time` crate numbers days.
    const EPOCH: i32 = 2_440_588;

    const SECONDS: u64 = 24 * 60 * 60;

    /// The day of a time in seconds of Unix time.
    pub fn of(seconds: u64) -> Self {
        Self(u32::try_from(seconds / Self::SECONDS).unwrap_or(u32::MAX))
    }

    /// The day of this number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// So many days before.
    #[must_use]
    pub const fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// The seconds from a time until the next day begins.
    pub const fn seconds_left(seconds: u64) -> u64 {
        Self::SECONDS - seconds % Self::SECONDS
    }

    fn date(self) -> Option<Date> {
        Date::from_julian_day(i32::try_from(self.0).ok()?.checked_add(Self::EPOCH)?).ok()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(date) => write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
            None => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let mut parts = text.splitn(3, '-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|part| part.parse::<u16>().ok()).ok_or(InvalidDay)
        };
        let (year, month, day) = (part(4)?, part(2)?, part(2)?);
        let small = |number: u16| u8::try_from(number).map_err(|_| InvalidDay);
        let month = Month::try_from(small(month)?).map_err(|_| InvalidDay)?;
        let date = Date::from_calendar_date(year.into(), month, small(day)?).map_err(|_| InvalidDay)?;
        u32::try_from(date.to_julian_day() - Self::EPOCH).map(Self).map_err(|_| InvalidDay)
    }
}

impl Used {
    /// What one reply used.
    pub fn of_reply(usage: Usage) -> Self {
        let Usage { input, cached, output, reasoning, .. } = usage;
        Self { replies: 1, input, cached, output, reasoning }
    }

    /// All tokens: what limits count.
    pub const fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.replies = self.replies.saturating_add(other.replies);
        self.input = self.input.saturating_add(other.input);
        self.cached = self.cached.saturating_add(other.cached);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written() {
        for (seconds, text) in
            [(0, "1970-01-01"), (86_399, "1970-01-01"), (951_782_400, "2000-02-29"), (1_795_737_600, "2026-11-27")]
        {
            assert_eq!(Day::of(seconds).to_string(), text);
            assert_eq!(text.parse::<Day>(), Ok(Day::of(seconds)));
        }
        for wrong in
            ["", "2026", "2026-13-01", "2026-02-30", "1969-12-31", "26-1-1", "2026-11-2x", "+026-11-27", "2026-11-27 "]
        {
            assert_eq!(wrong.parse::<Day>(), Err(InvalidDay), "{wrong}");
        }
        assert_eq!(Day::from_number(u32::MAX).to_string(), "day 4294967295");
        assert_eq!(Day::seconds_left(86_399), 1);
    }
}
