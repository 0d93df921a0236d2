//! Who may use the server: whether keys can be read and the issuer's keys fetched, and what that comes to.

use std::time::Instant;

use super::row::{Row, Status};
use crate::auth::{Auth, key_lines};
use crate::cli::chain;
use crate::config::{AllowedHosts, Config, CorsOrigins, Jwt};

const WHAT: &str = "callers";

pub(super) const VARIABLES: &[&str] =
    &["AUTH", "API_KEYS_FILE", "API_KEYS", "JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_URL", "SECRET_KEY", "ADMIN_ADDR"];

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let mut rows: Vec<_> = keys(config).into_iter().collect();
    rows.extend(issuer(config).await);
    if config.auth.anonymous {
        rows.push(anonymous(config));
    }
    if config.auth.is_on() {
        rows.extend(secret(config));
    }
    rows.extend(super::tiers::rows(config));
    if config.http.cors_origins == CorsOrigins::Any && config.auth.anonymous {
        let row =
            Row::new(Status::Warn, WHAT, "CORS_ORIGINS=*", "every page that somebody opens here may use the server");
        rows.push(row.change("CORS_ORIGINS, for example CORS_ORIGINS=https://chat.example.com"));
    }
    if let Some(admin) = config.http.admin.filter(|admin| !admin.ip().is_loopback()) {
        let told = "health and figures are told to whoever reaches this address";
        rows.push(Row::new(Status::Note, WHAT, format!("ADMIN_ADDR={admin}"), told));
    }
    rows
}

fn keys(config: &Config) -> Option<Row> {
    let keys = config.auth.keys.as_ref()?;
    let value = keys.file.as_ref().map_or_else(|| "API_KEYS".to_owned(), |file| file.display().to_string());
    let row = |status, detail: String| Row::new(status, WHAT, value.clone(), detail);
    Some(match key_lines(keys) {
        Err(error) => row(Status::Fail, "the API keys cannot be used".to_owned())
            .why(chain(&error))
            .change("that file: rejoinder keys new prints a line for it"),
        Ok(lines) if lines.is_empty() => row(Status::Warn, "there is no API key".to_owned())
            .change("that file: rejoinder keys new prints a line for it"),
        Ok(lines) => {
            let now = time::OffsetDateTime::now_utc();
            let expired = lines.iter().filter(|line| line.expires.is_some_and(|expires| expires <= now)).count();
            let tenants = lines.iter().map(|line| &line.tenant).collect::<std::collections::HashSet<_>>().len();
            row(Status::Ok, format!("{} API keys of {tenants} tenants; {expired} have expired", lines.len()))
        }
    })
}

async fn issuer(config: &Config) -> Option<Row> {
    let jwt = config.auth.jwt.as_ref()?;
    let row = |status, detail: String| Row::new(status, WHAT, jwt.issuer.clone(), detail);
    let fail = |why| {
        row(Status::Fail, "the keys of the issuer cannot be fetched".to_owned())
            .why(why)
            .change("JWT_ISSUER, or JWT_JWKS_URL")
    };
    let without_keys = crate::config::Auth { keys: None, ..config.auth.clone() };
    let auth = match Auth::build(&without_keys) {
        Ok(auth) => auth,
        Err(error) => return Some(fail(chain(&error))),
    };
    let begun = Instant::now();
    Some(match auth.probe_issuer().await? {
        Ok(()) => row(Status::Ok, told(jwt)).took(begun.elapsed()),
        Err(why) => fail(why),
    })
}

/// How its tokens are read.
fn told(jwt: &Jwt) -> String {
    let claims = &jwt.claims;
    let tenant =
        claims.tenant.as_ref().map_or_else(|| "all of one tenant".to_owned(), |claim| format!("tenant by {claim}"));
    let scopes =
        claims.scopes.as_ref().map_or_else(|| "all may chat and read".to_owned(), |claim| format!("scopes by {claim}"));
    format!("its tokens for {} are good; {tenant}, user by {}, {scopes}", jwt.audience.join(" or "), claims.user)
}

/// What somebody without a credential may do, and from where.
fn anonymous(config: &Config) -> Row {
    let Config { http, auth, .. } = config;
    let what = if auth.is_on() { "chat and read" } else { "do everything" };
    if !http.host.is_loopback() {
        let row = Row::new(Status::Warn, WHAT, "AUTH=none", format!("whoever reaches this address may {what}"));
        return row.change("AUTH, for example AUTH=keys and API_KEYS_FILE=keys, unless that is meant");
    }
    let names = match &http.allowed_hosts {
        AllowedHosts::Any => "by any name",
        AllowedHosts::Only(names) if names.is_empty() => "by this machine's own names",
        AllowedHosts::Only(_) => "by this machine's own names and those of ALLOWED_HOSTS",
    };
    Row::new(Status::Ok, WHAT, "no credential", format!("whoever is on this machine may {what}, {names}"))
}

fn secret(config: &Config) -> Option<Row> {
    let is_missing = config.auth.signing_keys.is_empty() && config.log.nats.is_some();
    is_missing.then(|| {
        Row::new(Status::Warn, WHAT, "SECRET_KEY", "not set: there are neither tickets nor sessions for browsers")
            .change("SECRET_KEY, the same on all instances: openssl rand -hex 32")
    })
}
