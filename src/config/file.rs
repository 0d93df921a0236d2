//! The file of `REJOINDER_CONFIG` (TOML): lists of outside services. Every fault in it is told, with its line and field.
//!
//! Keys are not written into it, but the names of the variables of the environment that hold them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::parts::base_url;
use super::retention::{TenantRetention, tenant};
use super::tiers::{DEFAULT_TIER, Tier, Tiers, tier};
use super::webhooks::{StaticWebhook, webhook};
use super::{
    ConfigError, ContinuationPolicy, Dialect, HearingServer, Limits, ModelServer, Server, SpeechServer, Thinks,
    variables as var,
};
use crate::config::values::{Secret, duration_or_off};

pub(super) mod fields;

use fields::{Fields, Reader};

/// What a file sets.
#[derive(Debug, Default)]
pub(super) struct File {
    /// `[[llm]]`: model servers, in the order in which they are asked.
    pub(super) llm: Vec<ModelServer>,
    /// `[[speech]]`: speech servers, the best first.
    pub(super) speech: Vec<SpeechServer>,
    /// `[[hearing]]`: servers that transcribe, the best first.
    pub(super) hearing: Vec<HearingServer>,
    /// `[[tier]]`: how much callers may use.
    pub(super) tiers: Tiers,
    /// `[[webhook]]`: where ends of replies are posted to.
    pub(super) webhooks: Vec<StaticWebhook>,
    /// `[[tenant]]`: how long what belongs to one is kept.
    pub(super) tenants: Vec<TenantRetention>,
    /// Variables of the environment that it names.
    pub(super) variables: Vec<String>,
}

/// What holds where a server of the file says nothing else: what the variables of the environment say.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub(super) server: Server,
    pub(super) speech: Server,
    pub(super) hearing: Server,
    pub(super) continuation: ContinuationPolicy,
    pub(super) first: Duration,
    pub(super) idle: Duration,
    pub(super) dialect: Option<Dialect>,
    pub(super) thinks: Thinks,
    pub(super) batch_window: Option<Duration>,
    pub(super) batch_max: usize,
}

/// Reads the file that is set, if one is. All that is wrong with it is told.
pub(super) fn read(env: &HashMap<String, String>, defaults: &Defaults) -> Result<File, Vec<ConfigError>> {
    let Some(path) = var::REJOINDER_CONFIG.text(env) else { return Ok(File::default()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![var::REJOINDER_CONFIG.invalid(path, format!("a file that can be read ({error})"))])?;
    parse(path, &text, env, defaults)
}

fn parse(path: &str, text: &str, env: &HashMap<String, String>, defaults: &Defaults) -> Result<File, Vec<ConfigError>> {
    let reader = Reader::new(path, text, env);
    let Some(document) = reader.document() else { return Err(reader.faults()) };
    let top = Fields::top(&reader, document.get_ref());
    let llm = top.list("llm", |fields| model_server(fields, defaults));
    let speech = top.list("speech", |fields| speech_server(fields, defaults));
    let hearing = top.list("hearing", |fields| hearing_server(fields, defaults));
    let tiers = top.list("tier", tier);
    check_tiers(&top, &tiers);
    let webhooks = top.list("webhook", webhook);
    let tenants = top.list("tenant", tenant);
    for (index, one) in tenants.iter().enumerate() {
        if tenants[..index].iter().any(|other| other.name == one.name) {
            top.wrong("tenant", &format!("tenant[{index}].name"), "a name that no other tenant has");
        }
    }
    for (index, one) in webhooks.iter().enumerate() {
        if webhooks[..index].iter().any(|other| (&other.name, &other.url) == (&one.name, &one.url)) {
            top.wrong("webhook", &format!("webhook[{index}].name"), "another name than that of the same url before");
        }
    }
    top.done();
    // Also across the lists: names are those of metrics.
    let mut names = std::collections::HashSet::new();
    let listed = llm.iter().map(|one| &one.server).enumerate().map(|(index, server)| ("llm", index, server));
    let spoken = speech.iter().map(|one| &one.server).enumerate().map(|(index, server)| ("speech", index, server));
    let heard = hearing.iter().map(|one| &one.server).enumerate().map(|(index, server)| ("hearing", index, server));
    for (list, index, server) in listed.chain(spoken).chain(heard) {
        if !names.insert(&server.name) {
            top.wrong(list, &format!("{list}[{index}].name"), "a name that no other server of the file has");
        }
    }
    let faults = reader.faults();
    if faults.is_empty() {
        Ok(File { llm, speech, hearing, tiers: Tiers::new(tiers), webhooks, tenants, variables: reader.named() })
    } else {
        Err(faults)
    }
}

/// Each tier has a name of its own, and one is for callers of whom no other is said.
fn check_tiers(top: &Fields<'_>, tiers: &[Tier]) {
    for (index, tier) in tiers.iter().enumerate() {
        if tiers[..index].iter().any(|other| other.name == tier.name) {
            top.wrong("tier", &format!("tier[{index}].name"), "a name that no other tier has");
        }
    }
    if !tiers.is_empty() && !tiers.iter().any(|tier| tier.name == DEFAULT_TIER) {
        let expected = format!("one with the name \"{DEFAULT_TIER}\", for callers of whom no other is said");
        top.wrong("tier", "tier", &expected);
    }
}

/// What all outside services have in common.
fn server(fields: &Fields<'_>, defaults: &Server) -> Option<Server> {
    let base_url = fields.need("base_url", |text| base_url(text).map_err(|error| error.0));
    let host = base_url.as_ref().and_then(|url| url.host_str()).unwrap_or_default().to_owned();
    let server = Server {
        name: fields.text("name", name).unwrap_or(host),
        keys: fields.variables("keys").into_iter().filter_map(|key| secret(fields, &key)).collect(),
        connect: fields.duration("connect_timeout").unwrap_or(defaults.connect),
        limits: Limits {
            max_in_flight: fields.count("max_in_flight", 1).unwrap_or(defaults.limits.max_in_flight),
            max_queued: fields.count("max_queued", 0).unwrap_or(defaults.limits.max_queued),
            queue_timeout: fields.duration("queue_timeout").unwrap_or(defaults.limits.queue_timeout),
        },
        ca_file: fields.text("ca_file", |path| Ok(path.into())).or_else(|| defaults.ca_file.clone()),
        base_url: base_url?,
    };
    Some(server)
}

fn model_server(fields: &Fields<'_>, defaults: &Defaults) -> Option<ModelServer> {
    let rename: BTreeMap<String, String> = fields.map("rename");
    let first = fields.duration("first_timeout");
    let continuation = fields.text("continuation", |text| ContinuationPolicy::read(text).map_err(|error| error.0));
    let models = fields.texts("models");
    let dialect = fields.text("dialect", |text| Dialect::read(text).map_err(|error| error.0));
    let thinks = fields.text("thinks", |text| Thinks::read(text).map_err(|error| error.0));
    let batch_window = fields.text("batch_window", |text| duration_or_off(text).map_err(|error| error.0));
    let model_server = ModelServer {
        model: fields.text("default_model", |text| Ok(text.to_owned())),
        continuation: continuation.unwrap_or(defaults.continuation),
        first: first.unwrap_or(defaults.first),
        // What is said of one server is meant.
        first_with_fallback: first,
        idle: fields.duration("idle_timeout").unwrap_or(defaults.idle),
        dialect: dialect.unwrap_or(defaults.dialect),
        thinks: thinks.unwrap_or(defaults.thinks),
        batch_window: batch_window.unwrap_or(defaults.batch_window),
        batch_max: fields.count("batch_max", 2).unwrap_or(defaults.batch_max),
        models,
        rename,
        server: server(fields, &defaults.server)?,
    };
    Some(model_server)
}

fn speech_server(fields: &Fields<'_>, defaults: &Defaults) -> Option<SpeechServer> {
    let model = fields.text("model", |text| Ok(text.to_owned()));
    let voice = fields.text("voice", |text| Ok(text.to_owned()));
    let server = server(fields, &defaults.speech)?;
    Some(SpeechServer { server, model, voice })
}

fn hearing_server(fields: &Fields<'_>, defaults: &Defaults) -> Option<HearingServer> {
    let model = fields.text("model", |text| Ok(text.to_owned()));
    Some(HearingServer { server: server(fields, &defaults.hearing)?, model })
}

/// Names are labels of metrics.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("up to 64 letters, digits, dashes, dots and underscores".to_owned())
}

/// A key, by the name of the variable that holds it.
fn secret(fields: &Fields<'_>, variable: &str) -> Option<Secret> {
    let set = fields.environment(variable);
    let key = set.ok_or_else(|| format!("the name of a variable of the environment that is set ({variable} is not)"));
    let key = key.and_then(|key| {
        key.parse::<Secret>().map_err(|error| format!("a variable that holds {} ({variable} does not)", error.0))
    });
    key.map_err(|expected| fields.wrong("keys", "", &expected)).ok()
}

#[cfg(test)]
mod tests;
