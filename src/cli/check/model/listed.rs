//! What a model server lists, and which of it would be used.

use url::Url;

use super::{list_url, models};
use crate::cli::check::row::{Row, Status};
use crate::llm::inspect::{DefaultModel, Inspection};

pub(super) const LIST: &str = "model: list";
pub(super) const DEFAULT: &str = "model: default";

/// The most names that are told.
const MAX_NAMES: usize = 5;

/// That it lists its models.
pub(super) fn row(base: &Url, found: &Inspection) -> Row {
    let row = |status, detail: String| Row::new(status, LIST, list_url(base), detail);
    match (found.models.is_empty(), &found.default) {
        (false, _) if base.scheme() == "https" => row(Status::Ok, models(found) + ", by TLS"),
        (false, _) => row(Status::Ok, models(found)),
        (true, Some(_)) => row(Status::Warn, "it lists no models".to_owned())
            .change("the model server: load or install a model there; or nothing, if LLM_MODEL works all the same"),
        (true, None) => row(Status::Fail, "it lists no models".to_owned())
            .why("without LLM_MODEL, the first that it lists would be used")
            .change("the model server: load or install a model there (Ollama: ollama pull llama3.2); or LLM_MODEL"),
    }
}

/// The model when a request names none.
pub(super) fn default(found: &Inspection, is_set: bool) -> Option<Row> {
    let default = found.default.as_ref()?;
    let row = |status, detail: &str| Row::new(status, DEFAULT, &default.name, detail);
    Some(match (is_set, default) {
        (true, DefaultModel { listed: false, .. }) if !found.models.is_empty() => unlisted(found, &default.name),
        (_, DefaultModel { chats: false, .. }) => row(Status::Warn, "its name is that of a model that does not chat")
            .change(format!("LLM_MODEL, for example one of: {}", names(found))),
        (true, _) => row(Status::Ok, &(String::from("LLM_MODEL") + &window(default))),
        (false, _) if found.models.len() > 1 => {
            row(Status::Note, &(String::from("the first that it lists") + &window(default)))
                .change(format!("LLM_MODEL, if another is meant, for example LLM_MODEL={}", default.name))
        }
        (false, _) => row(Status::Ok, &(String::from("the only one that it lists") + &window(default))),
    })
}

fn unlisted(found: &Inspection, name: &str) -> Row {
    // Where lists are known to be short, a name that is not there says little.
    let status = if found.dialect.lists_all_models() { Status::Fail } else { Status::Warn };
    Row::new(status, DEFAULT, name, "not among the models that the server lists")
        .why(format!("it lists: {}", names(found)))
        .change("LLM_MODEL, to one that it lists; or install this one there")
}

fn window(default: &DefaultModel) -> String {
    default.window.map_or_else(String::new, |tokens| format!("; a context of {tokens} tokens"))
}

fn names(found: &Inspection) -> String {
    let more = found.models.len().saturating_sub(MAX_NAMES);
    let names = found.models.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::super::traps::tests::found;
    use super::*;
    use crate::llm::dialect::Dialect;

    #[test]
    fn a_model_that_is_not_listed_fails_where_lists_are_whole() {
        let mut found = found(Dialect::Generic);
        found.default = Some(DefaultModel { name: "typo".into(), listed: false, chats: true, window: None });
        assert_eq!(default(&found, true).unwrap().status, Status::Fail);
        found.dialect = Dialect::Azure;
        assert_eq!(default(&found, true).unwrap().status, Status::Warn);
    }

    #[test]
    fn a_model_that_is_taken_because_it_comes_first_is_told() {
        let mut found = found(Dialect::Generic);
        assert_eq!(default(&found, false).unwrap().status, Status::Ok);
        found.models.push("b".into());
        assert_eq!(default(&found, false).unwrap().status, Status::Note);
        found.default.as_mut().unwrap().chats = false;
        assert_eq!(default(&found, false).unwrap().status, Status::Warn);
    }

    #[test]
    fn no_models_fail_unless_one_is_named() {
        let base = "http://localhost/v1".parse().unwrap();
        let mut found = found(Dialect::Generic);
        found.models.clear();
        assert_eq!(row(&base, &found).status, Status::Warn);
        found.default = None;
        assert_eq!(row(&base, &found).status, Status::Fail);
    }
}
