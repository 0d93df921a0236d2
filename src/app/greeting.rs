//! What a person who starts the server is told, and what `GET /` says.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Config;
use crate::llm::Upstream;

/// How long the start waits for a model server to say which models it has.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Address, log, store, model, how to set another, and a line to copy.
pub(super) async fn greeting(config: &Config, upstream: &Upstream, address: SocketAddr) -> String {
    let url = format!("http://{address}");
    let version = env!("CARGO_PKG_VERSION");
    let log = match super::parts::nats(config) {
        Some(nats) => format!("{} (NATS JetStream)", nats.shown()),
        None => format!("{} (embedded)", config.data_dir.display()),
    };
    let callers = callers(config);
    let key = if config.auth.is_on() && !config.auth.anonymous { " -H \"Authorization: Bearer $KEY\"" } else { "" };
    let (store, model) = (config.store.url(), model(config, upstream).await);
    let more = if config.upstream.servers.is_empty() {
        "A real model:  LLM_BASE_URL=http://localhost:11434/v1 (Ollama, vLLM, llama.cpp, OpenAI …)"
    } else {
        "Another model: LLM_MODEL, or \"model\" in the request. All settings: .env.example"
    };
    format!(
        "rejoinder {version}\n\
         \n  \
           address  {url}\n  \
           log      {log}\n  \
           store    {store}\n  \
           model    {model}\n  \
           callers  {callers}\n\
         \n\
         {more}\n\
         \n\
         Say something:\n\
         \n  \
           curl -N {url}/v1/responses{key} -d '{{\"input\":\"Hello\",\"stream\":true}}'\n\
         \n\
         Rejoin a reply where you left it, also after a restart (its id is in x-response-id, and in every event):\n\
         \n  \
           curl -N '{url}/v1/responses/<id>?stream=true&starting_after=<sequence_number>'{key}\n"
    )
}

/// Who may use it.
fn callers(config: &Config) -> String {
    let auth = &config.auth;
    let methods = [
        auth.keys.as_ref().map(|_| "API keys".to_owned()),
        auth.jwt.as_ref().map(|jwt| format!("tokens of {}", jwt.issuer)),
        auth.anonymous.then(|| {
            if config.http.host.is_loopback() { "whoever is on this machine" } else { "whoever reaches it" }.to_owned()
        }),
    ];
    methods.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What anybody is told by a server that not anybody may use: nothing of what is behind it.
pub(super) fn public() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "rejoinder {version}\n\
         \n\
         Say something, with a key or a token:\n\
         \n  \
           curl -N /v1/responses -H \"Authorization: Bearer $KEY\" -d '{{\"input\":\"Hello\",\"stream\":true}}'\n\
         \n\
         What else there is: /openapi.json\n"
    )
}

/// The model that a request gets when it names none, and where it is.
async fn model(config: &Config, upstream: &Upstream) -> String {
    let servers: Vec<_> = config.upstream.servers.iter().map(|server| server.server.base_url.as_str()).collect();
    if servers.is_empty() {
        return "eliza (built in, as are echo and echo-50ms)".to_owned();
    }
    let server = servers.join(", then ");
    match tokio::time::timeout(TIMEOUT, upstream.resolve_model(None)).await {
        Ok(Ok(model)) => format!("{model} at {server}"),
        Ok(Err(error)) => format!("not known yet: {server} does not answer as it should ({error})"),
        Err(_) => format!("not known yet: {server} does not answer"),
    }
}
