//! Inspects a model server, for a person who sets one up: which models it lists, which would be used, and where its API
//! is if not at the given address. Stores nothing.

use url::Url;

use super::client::{BuildError, Client};
use super::delta::UpstreamError;
use super::dialect::{Dialect, PrefillSupport};
use super::{Server, models};

/// A model server, as it shows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Its dialect.
    pub(crate) dialect: Dialect,
    /// Its list of models is Ollama's, wherever it is.
    pub(crate) is_ollama: bool,
    /// How it continues a message.
    pub(crate) prefill: PrefillSupport,
    /// The names of its models.
    pub(crate) models: Vec<String>,
    /// The model when a request names none. `None`: there is none.
    pub(crate) default: Option<DefaultModel>,
}

/// The model when a request names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DefaultModel {
    /// Its name.
    pub(crate) name: String,
    /// Whether the server lists it.
    pub(crate) listed: bool,
    /// Whether its name is that of a model that chats, and does not embed or transcribe.
    pub(crate) chats: bool,
    /// The length of its context in tokens, if the list has it.
    pub(crate) window: Option<u64>,
}

/// Why a server could not be looked at.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum InspectError {
    /// The client cannot be set up.
    #[error("{0}")]
    Build(String),
    /// The server does not list its models.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Asks a server for its models, at this address.
pub(crate) async fn inspect(base: &Url, config: &Server) -> Result<Inspection, InspectError> {
    let server = Server { base_url: base.clone(), ..config.clone() };
    let dialect = config.dialect.unwrap_or_else(|| Dialect::detect(base));
    let client = Client::build(dialect, &server)?;
    let body = client.models().await?;
    let list = models::parse(&body)?;
    let dialect = if dialect == Dialect::Generic { models::dialect(&list).unwrap_or(dialect) } else { dialect };
    let is_ollama = list.iter().any(|model| model.owned_by == "library");
    let names = if is_ollama { Dialect::Ollama } else { dialect };
    let name = config.model.clone().or_else(|| models::first(&list));
    let default = name.map(|name| DefaultModel {
        listed: models::find(&list, names, &name).is_some(),
        chats: models::chats(&name),
        window: list.iter().find(|model| model.id == name).and_then(|model| model.context_window),
        name,
    });
    Ok(Inspection {
        dialect,
        is_ollama,
        prefill: dialect.prefill(base.path()),
        models: list.into_iter().map(|model| model.id).collect(),
        default,
    })
}

/// Where else the API of a server may lie: as people leave it out, or take the address of another API of it.
pub(crate) fn elsewhere(base: &Url) -> Vec<Url> {
    let own = base.path().trim_end_matches('/');
    let places = [format!("{own}/v1"), "/v1".to_owned(), "/api/v1".to_owned(), "/v1beta/openai".to_owned()];
    let mut found: Vec<Url> = Vec::new();
    for place in places {
        let mut url = base.clone();
        url.set_path(&place);
        if url != *base && !found.contains(&url) {
            found.push(url);
        }
    }
    found
}

impl From<BuildError> for InspectError {
    fn from(error: BuildError) -> Self {
        Self::Build(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_its_version_has_a_place_where_to_look() {
        let places = |base: &str| elsewhere(&base.parse().unwrap()).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(places("http://localhost:11434")[0], "http://localhost:11434/v1");
        assert_eq!(
            places("http://localhost:11434/api")[..2],
            ["http://localhost:11434/api/v1", "http://localhost:11434/v1"]
        );
        assert!(!places("http://localhost:11434/v1").contains(&"http://localhost:11434/v1".to_owned()));
        assert!(places("https://openrouter.ai").contains(&"https://openrouter.ai/api/v1".to_owned()));
    }
}
