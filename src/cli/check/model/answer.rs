//! A word of the default model: the whole way that a reply goes, but for log and store.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::chain;
use crate::cli::check::row::{Row, Status};
use crate::domain::items::{Extra, Item, ItemStatus, Message, Part, Role};
use crate::domain::params::Params;
use crate::llm::call::{Call, ContextItem};
use crate::llm::delta::{Delta, UpstreamError, UpstreamErrorKind as Kind};
use crate::llm::{Config, ResolveError, Upstream};

const WHAT: &str = "model: answer";

/// Enough for the first token of those that think first.
const MAX_TOKENS: u64 = 16;

/// What may pass after thoughts began and before they are seen.
const MORE: Duration = Duration::from_secs(5);

/// Has the default model say something.
pub(super) async fn probe(config: Config) -> Row {
    let first = config.servers.iter().map(|server| server.timeouts.first_content).max().unwrap_or(MORE);
    let fail = |model: &str, detail: &str| Row::new(Status::Fail, WHAT, model, detail);
    let upstream = match Upstream::build(config) {
        Ok(upstream) => upstream,
        Err(error) => {
            return fail("", "cannot be called").why(chain(&error)).change("LLM_BASE_URL, LLM_MODEL, LLM_API_KEY");
        }
    };
    let model = match upstream.resolve_model(None).await {
        Ok(model) => model,
        Err(error) => return fail("", "no model to ask").why(cause_of(&error)).change("LLM_MODEL"),
    };
    tell(&model);
    let begun = Instant::now();
    match first_token(&upstream, &model, begun + first + MORE).await {
        Ok(Some(said)) => Row::new(Status::Ok, WHAT, model, said).took(begun.elapsed()),
        // Thoughts may be hidden: then the limit comes before a word.
        Ok(None) => Row::new(Status::Note, WHAT, model, "it answered, with no text").took(begun.elapsed()),
        Err(error) => fail(&model, "did not answer")
            .why(format!("{} ({})", error.error.message, error.cause))
            .change(change(&error, first))
            .took(begun.elapsed()),
    }
}

/// Where there is nobody to ask.
pub(super) fn not_tried() -> Row {
    Row::new(Status::Note, WHAT, "", "not tried: the model server does not work")
}

/// What came first, in words. `None`: nothing that can be seen. The call ends there.
async fn first_token(
    upstream: &Upstream,
    model: &str,
    deadline: Instant,
) -> Result<Option<&'static str>, UpstreamError> {
    let mut started = upstream.ask(call(model), deadline).await?;
    while let Some(delta) = started.deltas.next().await {
        match delta? {
            Delta::Content { .. } | Delta::Refusal(_) | Delta::ToolCall(_) => return Ok(Some("first token")),
            Delta::Reasoning(_) => return Ok(Some("first token, of a thought")),
            Delta::Usage(_) | Delta::ProviderState(_) | Delta::Finish(_) => {}
        }
    }
    Ok(None)
}

fn call(model: &str) -> Call {
    let params =
        Params { model: model.to_owned(), store: false, max_output_tokens: Some(MAX_TOKENS), ..Params::default() };
    let message = Message {
        id: "msg_check".to_owned(),
        status: ItemStatus::Completed,
        role: Role::User,
        content: vec![Part::InputText { text: "Say: OK".to_owned() }],
        extra: Extra::new(),
    };
    let item = ContextItem { item: Item::Message(message), provider_state: None };
    Call { params: Arc::new(params), context: vec![item], prefix: None, max_bytes: usize::MAX }
}

fn cause_of(error: &ResolveError) -> String {
    match error {
        ResolveError::Unknown { .. } => error.to_string(),
        ResolveError::Upstream(error) => error.cause.clone(),
    }
}

fn change(error: &UpstreamError, first: Duration) -> String {
    match error.kind {
        Kind::Credentials => "LLM_API_KEY".to_owned(),
        Kind::Request => "LLM_MODEL, or LLM_BASE_URL: the server does not take this model".to_owned(),
        Kind::Retry { .. } | Kind::PrefillRejected | Kind::ContextLength => format!(
            "the model server; or LLM_FIRST_TIMEOUT (now {}), if it only takes long",
            crate::config::values::duration_text(first)
        ),
    }
}

/// A server that loads a model first takes minutes: somebody who watches wants to know what is waited for.
fn tell(model: &str) {
    let mut screen = std::io::stderr();
    if screen.is_terminal() {
        let _ = writeln!(screen, "waiting for a word of {model} …");
    }
}
