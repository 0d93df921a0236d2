//! What a model server is set up with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::dialect::Dialect;
use crate::config::values::Secret;
use crate::config::{ContinuationPolicy, Limits};
use crate::services::Observer;

/// If a fallback is configured, a server without output for this long is given up.
pub(crate) const FIRST_CONTENT_WITH_FALLBACK: Duration = Duration::from_secs(30);

/// In [`Server::rename`], what stands for all other names.
const ANY: &str = "*";

/// Where a model server is, and how it is to be treated.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Its name, in logs and metrics.
    pub(crate) name: String,
    /// The address below which `/chat/completions` lies.
    pub(crate) base_url: Url,
    /// Its keys, in the order in which they are used.
    pub(crate) keys: Vec<Secret>,
    /// The model that is used where a request names none. `None`: the first of `models`, else the first that it lists.
    pub(crate) model: Option<String>,
    /// The models that it is asked for. Empty: those that it lists.
    pub(crate) models: Vec<String>,
    /// What it calls a model, by the name that clients use. `*` stands for every other name.
    pub(crate) rename: BTreeMap<String, String>,
    /// How interrupted replies are continued.
    pub(crate) continuation: ContinuationPolicy,
    /// How long is waited for what.
    pub(crate) timeouts: Timeouts,
    /// The server's dialect, if its address does not show it.
    pub(crate) dialect: Option<Dialect>,
    /// Its template opens the thoughts itself: text is thought until a tag closes it.
    pub(crate) thinks_from_the_start: bool,
    /// How much it is given at once.
    pub(crate) limits: Limits,
    /// How calls are batched. `None`: each is made by itself.
    pub(crate) batch: Option<Batch>,
    /// A file of certificates to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Receives the outcome of calls.
    pub(crate) observer: Arc<dyn Observer>,
}

/// Which calls go to a server as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Those that come within this time after the first …
    pub(crate) window: Duration,
    /// … but not more than so many.
    pub(crate) most: usize,
}

/// How long is waited for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// For a connection.
    pub(crate) connect: Duration,
    /// For headers and first content together; comments are no content.
    pub(crate) first_content: Duration,
    /// The same, where another server can be asked instead.
    pub(crate) first_content_with_fallback: Duration,
    /// Between two chunks after that; comments count.
    pub(crate) between_chunks: Duration,
}

impl Server {
    /// The server at this address, with the usual settings.
    #[cfg(test)]
    pub(crate) fn at(base_url: Url) -> Self {
        Self {
            name: base_url.host_str().unwrap_or("llm").to_owned(),
            base_url,
            keys: Vec::new(),
            model: None,
            models: Vec::new(),
            rename: BTreeMap::new(),
            continuation: ContinuationPolicy::default(),
            timeouts: Timeouts::default(),
            dialect: None,
            thinks_from_the_start: false,
            limits: Limits::default(),
            batch: None,
            ca_file: None,
            observer: Arc::new(crate::services::Unobserved),
        }
    }

    /// What the server calls a model.
    pub(super) fn own_name<'a>(&'a self, model: &'a str) -> &'a str {
        let is_own = self.models.iter().any(|own| own == model);
        let other = || self.rename.get(ANY).filter(|_| !is_own);
        self.rename.get(model).or_else(other).map_or(model, String::as_str)
    }

    /// The names of models that are configured for it.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.models.iter().map(String::as_str).collect();
        let renamed = self.rename.keys().map(String::as_str).filter(|name| *name != ANY);
        names.extend(renamed.filter(|name| !self.models.iter().any(|own| own == name)));
        names
    }

    /// Whether it is configured for this model.
    pub(super) fn is_configured(&self, model: &str) -> bool {
        self.model.as_deref() == Some(model) || self.rename.contains_key(ANY) || self.names().contains(&model)
    }

    /// The model that is configured for requests that name none.
    pub(super) fn default_model(&self) -> Option<&str> {
        self.model.as_deref().or_else(|| self.names().first().copied())
    }
}

#[cfg(test)]
impl Default for Timeouts {
    /// 3 s, 300 s, 120 s: a server may load a model before it answers, and think for long while it does.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_content: Duration::from_mins(5),
            first_content_with_fallback: FIRST_CONTENT_WITH_FALLBACK,
            between_chunks: Duration::from_mins(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_in_its_own_words_for_what_it_is_configured_for() {
        let rename = BTreeMap::from([("big".to_owned(), "gpt-4o".to_owned())]);
        let mut server = Server { rename, ..Server::at("http://localhost/v1".parse().unwrap()) };
        assert_eq!((server.own_name("big"), server.own_name("other")), ("gpt-4o", "other"));
        assert_eq!(
            (server.is_configured("big"), server.is_configured("other"), server.default_model()),
            (true, false, Some("big"))
        );
        server.rename.insert("*".to_owned(), "any".to_owned());
        server.models = vec!["small".to_owned()];
        assert_eq!(["big", "small", "other"].map(|model| server.own_name(model)), ["gpt-4o", "small", "any"]);
        assert_eq!((server.names(), server.is_configured("other")), (vec!["small", "big"], true));
    }
}
