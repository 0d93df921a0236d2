//! The model server: the way to it, what it lists, the traps of its kind, and with `--deep` a word of its default model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::Url;

use super::reach::{Names, proxy, reach, shown};
use super::row::{Row, Status};
use super::{TIMEOUT, limited};
use crate::app;
use crate::config::Config;
use crate::domain::event::ErrorCode;
use crate::llm::delta::{UpstreamError, UpstreamErrorKind as Kind};
use crate::llm::inspect::{InspectError, Inspection, elsewhere, inspect};
use crate::llm::{self, DEFAULT_BUILTIN};
use crate::services::Unobserved;

mod answer;
mod listed;
mod traps;

/// What says how to call it.
pub(super) const VARIABLES: &[&str] = &[
    "LLM_BASE_URL",
    "LLM_MODEL",
    "LLM_API_KEY",
    "LLM_CONTINUATION",
    "LLM_CONNECT_TIMEOUT",
    "LLM_FIRST_TIMEOUT",
    "LLM_IDLE_TIMEOUT",
    "LLM_MAX_IN_FLIGHT",
    "LLM_MAX_QUEUED",
    "LLM_QUEUE_TIMEOUT",
    "UPSTREAM_CA_FILE",
    "REJOINDER_CONFIG",
];

/// How long the server may take to list its models.
const LIST: Duration = Duration::from_secs(5);

/// How long another place for its API is looked for.
const ELSEWHERE: Duration = Duration::from_secs(2);

const NAMES: Names = Names {
    resolve: "model: resolve",
    connect: "model: connect",
    change: "LLM_BASE_URL, for example LLM_BASE_URL=http://localhost:11434/v1",
};

pub(super) async fn probe(config: &Config, deep: bool) -> Vec<Row> {
    let upstream = app::upstream_config(config, |_| Arc::new(Unobserved), &TaskTracker::new());
    if upstream.servers.is_empty() {
        return with_answer(vec![builtin(config.upstream.model.as_deref(), &upstream)], upstream, deep).await;
    }
    let several = upstream.servers.len() > 1;
    let probes = upstream.servers.iter().map(async |server| {
        let rows = limited("model", remote(&server.base_url, server)).await;
        let only = llm::Config { servers: vec![server.clone()], model: server.model.clone(), ..upstream.clone() };
        let mut rows = with_answer(rows, only, deep).await;
        if several {
            for row in &mut rows {
                row.value = format!("{}: {}", server.name, row.value);
            }
        }
        rows
    });
    join_all(probes).await.into_iter().flatten().collect()
}

/// With a word of the default model, if that is wanted.
async fn with_answer(mut rows: Vec<Row>, upstream: llm::Config, deep: bool) -> Vec<Row> {
    if deep {
        let works = rows.iter().all(|row| row.status != Status::Fail || row.what == listed::DEFAULT);
        let answer = if works { answer::probe(upstream).await } else { answer::not_tried() };
        // A list may be shorter than what its server has: the model itself knows best.
        if answer.status < Status::Warn && works {
            rows.iter_mut()
                .filter(|row| row.what == listed::DEFAULT)
                .for_each(|row| row.status = row.status.min(Status::Warn));
        }
        rows.push(answer);
    }
    rows
}

/// The models that need no server.
fn builtin(model: Option<&str>, upstream: &llm::Config) -> Row {
    let name = model.unwrap_or(DEFAULT_BUILTIN);
    match llm::Upstream::build(upstream.clone()) {
        Ok(_) => Row::new(Status::Note, "model", name, "built in: no model server is set")
            .change("LLM_BASE_URL, for a real one, for example LLM_BASE_URL=http://localhost:11434/v1"),
        Err(error) => Row::new(Status::Fail, "model", name, "cannot be used")
            .why(error.to_string())
            .change("LLM_BASE_URL, for example LLM_BASE_URL=http://localhost:11434/v1; or LLM_MODEL, for example LLM_MODEL=eliza"),
    }
}

/// The way there, and its list, at once: behind a proxy there is a list without a way.
async fn remote(base: &Url, config: &llm::Server) -> Vec<Row> {
    let begun = Instant::now();
    let list = async {
        let list = timeout(LIST, inspect(base, config)).await;
        (list, begun.elapsed())
    };
    let (reached, (list, took)) = tokio::join!(reach(base, &NAMES), list);
    let mut rows = reached.rows;
    rows.extend(traps::of_settings(base, config));
    match list {
        Ok(Ok(found)) => {
            if !reached.connected {
                do_not_matter(&mut rows);
            }
            rows.push(listed::row(base, &found).took(took));
            rows.extend(listed::default(&found, config.model.is_some()));
            rows.extend(traps::of_server(config, &found));
        }
        // The way says it better, where it is the one that is taken.
        _ if !reached.connected && proxy(base).is_none() => {}
        Ok(Err(error)) => rows.push(unlisted(base, config, &error).await.took(took)),
        Err(_) => rows.push(
            Row::new(Status::Fail, listed::LIST, list_url(base), format!("no answer within {} s", LIST.as_secs()))
                .why("it takes connections, and does not answer")
                .change("the model server: is it still starting, or busy? Else LLM_BASE_URL"),
        ),
    }
    rows
}

/// It cannot be reached from here, and it answers: through a proxy.
fn do_not_matter(rows: &mut [Row]) {
    for row in rows.iter_mut().filter(|row| row.status == Status::Fail) {
        row.status = Status::Note;
        row.change = Some("nothing: it answers through a proxy".to_owned());
    }
}

/// It is there, and does not list its models.
async fn unlisted(base: &Url, config: &llm::Server, error: &InspectError) -> Row {
    let row = |detail| Row::new(Status::Fail, listed::LIST, list_url(base), detail);
    let error = match error {
        InspectError::Upstream(error) => error,
        InspectError::Build(message) => {
            return row("cannot be called").why(message).change("LLM_BASE_URL and LLM_API_KEY");
        }
    };
    if error.kind == Kind::Credentials {
        return refused(row("the key is refused"), error, !config.keys.is_empty());
    }
    if is_tls(error) {
        let change = "LLM_BASE_URL: http:// where the server has no TLS, else the name that its certificate has";
        return row("no TLS connection").why(&error.cause).change(change);
    }
    if let Some((place, found)) = search(base, config).await {
        let (place, models) = (shown(&place), models(&found));
        return row("not the address of the API")
            .why(format!("there is no list of models here, and {place} lists {models}"))
            .change(format!("LLM_BASE_URL={place}"));
    }
    let row = row("no list of models").why(match proxy(base) {
        Some(name) => format!("{} (through the proxy of {name})", error.cause),
        None => error.cause.clone(),
    });
    if is_redirect(error) {
        return row.change("LLM_BASE_URL, to where it sends us, which mostly is the same with https://");
    }
    // Some servers have none, and that is all that is wrong with them.
    match (&config.model, error.kind) {
        (Some(_), Kind::Request) => Row { status: Status::Warn, ..row }.change(
            "nothing, if it just has none (rejoinder check --deep tells); else LLM_BASE_URL, which mostly ends in /v1",
        ),
        (None, Kind::Request) => {
            row.change("LLM_BASE_URL, which mostly ends in /v1; or LLM_MODEL, if the server just has no list")
        }
        _ => row.change("the model server, which fails; else LLM_BASE_URL, which mostly ends in /v1"),
    }
}

fn refused(row: Row, error: &UpstreamError, has_key: bool) -> Row {
    let change = if has_key { "LLM_API_KEY: this one is not accepted" } else { "LLM_API_KEY: the server wants one" };
    row.why(&error.cause).change(change)
}

/// Redirects are not followed: a key would go to whoever is named.
fn is_redirect(error: &UpstreamError) -> bool {
    error.kind == Kind::Request && error.error.code == ErrorCode::ServerError
}

/// A connection there was, and rustls made nothing of it.
fn is_tls(error: &UpstreamError) -> bool {
    ["certificate", "tls", "corrupt message", "handshake"].iter().any(|word| error.cause.to_lowercase().contains(word))
}

/// The place where the server does list its models.
async fn search(base: &Url, config: &llm::Server) -> Option<(Url, Inspection)> {
    let tries = elsewhere(base).into_iter().map(|place| async move {
        let found = timeout(ELSEWHERE, inspect(&place, config)).await.ok()?.ok()?;
        Some((place, found))
    });
    join_all(tries).await.into_iter().flatten().next()
}

fn models(found: &Inspection) -> String {
    match found.models.len() {
        1 => "1 model".to_owned(),
        many => format!("{many} models"),
    }
}

fn list_url(base: &Url) -> String {
    let mut url = base.clone();
    url.set_path(&format!("{}/models", base.path().trim_end_matches('/')));
    shown(&url)
}

const _: () = assert!(LIST.as_secs() + ELSEWHERE.as_secs() < TIMEOUT.as_secs());
