//! Tiers: how much callers may use. `[[tier]]` in the file of `REJOINDER_CONFIG`.

use super::file::fields::Fields;

/// The tier of callers of whom nothing else is said.
pub(crate) const DEFAULT_TIER: &str = "default";

/// The most that a limit may be: beyond it, counting in fractions of a token would not fit 64 bits.
const MOST: u64 = 1_000_000_000_000;

/// What callers of one tier may use. `None`: any amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tier {
    /// As keys and tokens name it.
    pub(crate) name: String,
    /// Requests for replies and speech.
    pub(crate) requests_per_minute: Option<u64>,
    /// Of these, as many at once, after a pause.
    pub(crate) burst: u64,
    /// Tokens of input and output together.
    pub(crate) tokens_per_minute: Option<u64>,
    /// The same, of a day of UTC.
    pub(crate) tokens_per_day: Option<u64>,
    /// Replies that run.
    pub(crate) replies_at_once: Option<u64>,
    /// The largest `max_output_tokens`, and that of requests that say none.
    pub(crate) max_output_tokens: Option<u64>,
}

/// The tiers of a server; empty: there are no limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tiers(Vec<Tier>);

impl Tiers {
    /// These; one of them is that of callers of whom nothing else is said.
    pub(crate) fn new(tiers: Vec<Tier>) -> Self {
        debug_assert!(tiers.is_empty() || tiers.iter().any(|tier| tier.name == DEFAULT_TIER));
        Self(tiers)
    }

    /// Those that there are, in the order of the file.
    pub(crate) fn all(&self) -> &[Tier] {
        &self.0
    }

    /// The tier of this name; where there is none, that of all others. `None`: there are no limits.
    pub(crate) fn of(&self, name: &str) -> Option<&Tier> {
        let named = |name: &str| self.0.iter().find(|tier| tier.name == name);
        named(name).or_else(|| named(DEFAULT_TIER))
    }
}

pub(super) fn tier(fields: &Fields<'_>) -> Option<Tier> {
    let limit = |name| fields.limit(name, MOST);
    let requests_per_minute = limit("requests_per_minute");
    let burst = limit("burst");
    if burst.is_some() && requests_per_minute.is_none() {
        fields.wrong("burst", "", "requests_per_minute beside it");
    }
    if let (Some(requests), Some(burst)) = (requests_per_minute, burst)
        && burst > requests.saturating_mul(60)
    {
        fields.wrong("burst", "", "no more than an hour's requests");
    }
    // Six seconds' worth.
    let default_burst = requests_per_minute.map_or(1, |requests| requests.div_ceil(10));
    let tier = Tier {
        requests_per_minute,
        burst: burst.unwrap_or(default_burst),
        tokens_per_minute: limit("tokens_per_minute"),
        tokens_per_day: limit("tokens_per_day"),
        replies_at_once: limit("replies_at_once"),
        max_output_tokens: limit("max_output_tokens"),
        name: fields.need("name", name)?,
    };
    if let (Some(minute), Some(output)) = (tier.tokens_per_minute, tier.max_output_tokens)
        && output > minute
    {
        fields.wrong("max_output_tokens", "", "no more than tokens_per_minute: such a reply could never begin");
    }
    Some(tier)
}

/// As a key's line and a claim can name it.
fn name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic() && c != ';');
    if fits { Ok(text.to_owned()) } else { Err("up to 64 visible characters of ASCII, without ;".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_is_not_there_is_the_default_one() {
        let tier = |name: &str| Tier {
            name: name.to_owned(),
            requests_per_minute: None,
            burst: 1,
            tokens_per_minute: None,
            tokens_per_day: None,
            replies_at_once: None,
            max_output_tokens: None,
        };
        let tiers = Tiers::new(vec![tier("gold"), tier("default")]);
        let name = |name: &str| tiers.of(name).map(|tier| tier.name.as_str());
        assert_eq!((name("gold"), name("silver")), (Some("gold"), Some("default")));
        assert_eq!(Tiers::default().of("gold"), None);
    }
}
