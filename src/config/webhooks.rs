//! Webhooks: endpoints of the file, and which addresses are called.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::file::fields::Fields;
use super::parts::expected;
use super::values::{Secret, duration};
use super::{ConfigError, variables as var};

/// What endpoints can be told of.
pub(crate) const EVENT_TYPES: [&str; 4] =
    ["response.completed", "response.failed", "response.incomplete", "response.cancelled"];

/// Where ends of replies are posted to.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    /// Endpoints of the file.
    pub(crate) of_file: Vec<StaticWebhook>,
    /// Whether addresses are called that are not of the public internet.
    pub(crate) allows_private: bool,
    /// For how long a delivery is tried.
    pub(crate) give_up_after: Duration,
    /// A file of certificates to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// An endpoint of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaticWebhook {
    /// Its name.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: Url,
    /// What is sent to it is signed with this.
    pub(crate) secret: Secret,
    /// What it is told of: of [`EVENT_TYPES`].
    pub(crate) event_types: Vec<String>,
    /// The tenant whose replies it is told of. `None`: all.
    pub(crate) tenant: Option<String>,
    /// The user of the tenant whose replies it is told of. `None`: all.
    pub(crate) user: Option<String>,
}

pub(super) fn webhooks(env: &HashMap<String, String>, of_file: Vec<StaticWebhook>) -> Result<Webhooks, ConfigError> {
    Ok(Webhooks {
        of_file,
        allows_private: var::WEBHOOK_ALLOW_PRIVATE.get(env, |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(expected("on or off")),
        })?,
        give_up_after: var::WEBHOOK_GIVE_UP_AFTER.get(env, duration)?,
        ca_file: var::UPSTREAM_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?,
    })
}

/// A table of the file.
pub(super) fn webhook(fields: &Fields<'_>) -> Option<StaticWebhook> {
    let url = fields.need("url", url);
    let secret = fields.variable("secret").and_then(|variable| secret(fields, &variable));
    let name = fields.text("name", name);
    let mut event_types = fields.texts("event_types");
    if event_types.iter().any(|one| !EVENT_TYPES.contains(&one.as_str())) {
        fields.wrong("event_types", "", &format!("some of {}", EVENT_TYPES.join(", ")));
    }
    if event_types.is_empty() {
        event_types = EVENT_TYPES.map(str::to_owned).into();
    }
    let text = |field| fields.text(field, |text| Ok(text.to_owned()));
    let (tenant, user) = (text("tenant"), text("user"));
    if user.is_some() && tenant.is_none() {
        fields.wrong("user", "", "tenant beside it");
    }
    let url = url?;
    let name = name.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
    Some(StaticWebhook { name, url, secret: secret?, event_types, tenant, user })
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    url.ok_or_else(|| "an address such as https://example.com/hook, without a password and a fragment".to_owned())
}

/// A secret, by the name of the variable that holds it.
fn secret(fields: &Fields<'_>, variable: &str) -> Option<Secret> {
    /// Shorter ones can be guessed.
    const SHORTEST: usize = 24;
    let set = fields.environment(variable);
    let set = set.ok_or_else(|| format!("the name of a variable of the environment that is set ({variable} is not)"));
    let secret = set.and_then(|text| match text.parse::<Secret>() {
        Ok(secret) if text.len() >= SHORTEST => Ok(secret),
        _ => Err(format!(
            "a variable that holds at least {SHORTEST} visible characters, such as whsec_ and base64 ({variable} does not)"
        )),
    });
    secret.map_err(|expected| fields.wrong("secret", "", &expected)).ok()
}

/// Names are shown to callers.
fn name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("up to 128 characters".to_owned()) }
}
