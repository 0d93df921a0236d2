//! What a caller has left, in the headers that OpenAI has for it.

use std::fmt::Write as _;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use crate::http::respond::Answer;
use crate::limits::{Level, Limit, Limited, Standing};

/// The names of the headers of one limit.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

impl Names {
    const REQUESTS: Self = Self {
        limit: HeaderName::from_static("x-ratelimit-limit-requests"),
        remaining: HeaderName::from_static("x-ratelimit-remaining-requests"),
        reset: HeaderName::from_static("x-ratelimit-reset-requests"),
    };
    const TOKENS: Self = Self {
        limit: HeaderName::from_static("x-ratelimit-limit-tokens"),
        remaining: HeaderName::from_static("x-ratelimit-remaining-tokens"),
        reset: HeaderName::from_static("x-ratelimit-reset-tokens"),
    };
}

/// Tells what is left.
pub(in crate::http) fn tell(answer: &mut Answer, standing: Standing) {
    for (level, names) in [(standing.requests, Names::REQUESTS), (standing.tokens, Names::TOKENS)] {
        let Some(Level { limit, remaining, reset }) = level else { continue };
        let headers = answer.headers_mut();
        headers.insert(names.limit, limit.into());
        headers.insert(names.remaining, remaining.into());
        headers.extend(HeaderValue::from_str(&duration(reset)).map(|value| (names.reset, value)));
    }
}

/// Tells that a limit is reached, and whether it is worth while to come again soon: the SDKs do so by themselves.
pub(in crate::http) fn refuse(answer: &mut Answer, limited: &Limited) {
    tell(answer, limited.standing);
    match limited.wait {
        Some(wait) if limited.limit != Limit::TokensPerDay => {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            answer.headers_mut().insert("retry-after-ms", ms.into());
        }
        _ => drop(answer.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"))),
    }
}

/// As OpenAI writes it: `20ms`, `1.5s`, `6m0s`, `1h2m3s`.
fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_millis());
    }
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let fraction = format!("{ms:03}");
    let _ = match fraction.trim_end_matches('0') {
        "" => write!(text, "{seconds}s"),
        fraction => write!(text, "{seconds}.{fraction}s"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_sdks_know_them() {
        for (ms, text) in
            [(0, "0ms"), (20, "20ms"), (1000, "1s"), (1500, "1.5s"), (360_000, "6m0s"), (3_723_040, "1h2m3.04s")]
        {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
