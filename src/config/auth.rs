//! Who may use the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::parts::{Environment, expected};
use super::{ConfigError, variables as var};
use crate::config::values::{Expected, Secret, duration};

/// The shortest secret: 128 bits, written in hexadecimal.
const SHORTEST_SECRET: usize = 32;

/// Who may use the server.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    /// Whether whoever has no credential may.
    pub(crate) anonymous: bool,
    /// API keys.
    pub(crate) keys: Option<ApiKeys>,
    /// Tokens of an issuer.
    pub(crate) jwt: Option<Jwt>,
    /// What tickets and sessions are signed with: the first signs, all are good. None: what the log's directory has.
    pub(crate) signing_keys: Vec<Secret>,
    /// How long a browser need not sign in again.
    pub(crate) session_max_age: Duration,
    /// A file of certificates to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Where the API keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiKeys {
    /// A file of lines.
    pub(crate) file: Option<PathBuf>,
    /// The lines themselves.
    pub(crate) own: Option<Secret>,
}

/// An issuer of tokens, and how they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jwt {
    /// As tokens name it.
    pub(crate) issuer: String,
    /// For whom tokens have to be made: one of these.
    pub(crate) audience: Vec<String>,
    /// Where the issuer's keys are. `None`: it says so itself (OIDC discovery).
    pub(crate) jwks: Option<Url>,
    /// What claims mean.
    pub(crate) claims: Claims,
}

/// The claims that say who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// `None`: all are of one tenant.
    pub(crate) tenant: Option<String>,
    pub(crate) user: String,
    /// `None`: whoever has a token may chat and read.
    pub(crate) scopes: Option<String>,
    pub(crate) tier: Option<String>,
}

/// By which names the server may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// Any.
    Any,
    /// Those of this machine, and these.
    Only(Vec<String>),
}

/// The methods that `AUTH` lists.
struct Methods {
    none: bool,
    keys: bool,
    jwt: bool,
}

impl Auth {
    /// Whether credentials are looked at.
    pub(crate) const fn is_on(&self) -> bool {
        self.keys.is_some() || self.jwt.is_some()
    }
}

pub(super) fn auth(env: &Environment) -> Result<Auth, ConfigError> {
    let methods = methods(env)?;
    let ca_file = var::UPSTREAM_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?;
    let (keys, jwt) = (keys(env)?, jwt(env)?);
    let (wants_keys, wants_jwt) = methods.as_ref().map_or((false, false), |methods| (methods.keys, methods.jwt));
    if wants_keys && keys.is_none() {
        return Err(var::AUTH.invalid("keys", "API_KEYS_FILE or API_KEYS beside it (rejoinder keys new makes a key)"));
    }
    if wants_jwt && jwt.is_none() {
        return Err(var::AUTH.invalid("jwt", "JWT_ISSUER and JWT_AUDIENCE beside it"));
    }
    Ok(Auth {
        anonymous: methods.is_none_or(|methods| methods.none),
        keys: keys.filter(|_| wants_keys),
        jwt: jwt.filter(|_| wants_jwt),
        signing_keys: var::SECRET_KEY.read(env, secrets)?.unwrap_or_default(),
        session_max_age: var::SESSION_MAX_AGE.get(env, duration)?,
        ca_file,
    })
}

/// `None`: nothing is said.
fn methods(env: &Environment) -> Result<Option<Methods>, ConfigError> {
    var::AUTH.read(env, |text| {
        let mut methods = Methods { none: false, keys: false, jwt: false };
        for method in text.split(',').map(str::trim) {
            match method {
                "none" => methods.none = true,
                "keys" => methods.keys = true,
                "jwt" => methods.jwt = true,
                _ => {
                    return Err(expected(
                        "none (whoever can reach the server may use it), keys, jwt, or several with commas between",
                    ));
                }
            }
        }
        Ok(methods)
    })
}

/// Whether it is said who may use the server.
pub(super) fn is_said(env: &Environment) -> Result<bool, ConfigError> {
    Ok(methods(env)?.is_some())
}

fn keys(env: &Environment) -> Result<Option<ApiKeys>, ConfigError> {
    let file = var::API_KEYS_FILE.read(env, |text| Ok(PathBuf::from(text)))?;
    let own = var::API_KEYS.read(env, |text| Ok(Secret::new(text)))?;
    Ok((file.is_some() || own.is_some()).then_some(ApiKeys { file, own }))
}

fn jwt(env: &Environment) -> Result<Option<Jwt>, ConfigError> {
    let url = |text: &str| {
        let url =
            Url::parse(text).ok().filter(|url| url.scheme() == "https" || url.scheme() == "http" && is_local(url));
        url.ok_or_else(|| expected("an https address (http is taken for this machine only)"))
    };
    let issuer = var::JWT_ISSUER.read(env, |text| url(text).map(|_| text.to_owned()))?;
    let audience = var::JWT_AUDIENCE.read(env, |text| {
        let audience = text.split(',').map(str::trim).map(str::to_owned);
        Ok(audience.filter(|one| !one.is_empty()).collect::<Vec<_>>())
    })?;
    let jwks = var::JWT_JWKS_URL.read(env, url)?;
    let name = |text: &str| Ok(text.to_owned());
    let claims = Claims {
        tenant: var::JWT_TENANT_CLAIM.read(env, name)?,
        user: var::JWT_USER_CLAIM.get(env, name)?,
        scopes: var::JWT_SCOPES_CLAIM.read(env, name)?,
        tier: var::JWT_TIER_CLAIM.read(env, name)?,
    };
    Ok(issuer.zip(audience).map(|(issuer, audience)| Jwt { issuer, audience, jwks, claims }))
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn secrets(text: &str) -> Result<Vec<Secret>, Expected> {
    let secrets: Vec<_> = text.split(',').map(str::trim).map(Secret::new).collect();
    let fits = secrets.len() <= 2 && secrets.iter().all(|secret| secret.expose().len() >= SHORTEST_SECRET);
    let form = format!(
        "a random text of at least {SHORTEST_SECRET} characters (openssl rand -hex 32), or the new and the old one with a comma between"
    );
    if fits { Ok(secrets) } else { Err(Expected(form)) }
}

/// Names by which the server may be called. Where whoever reaches this machine's own address needs no credential, a page of
/// another site must not reach it by a name that it points here (DNS rebinding).
pub(super) fn allowed_hosts(env: &Environment, is_guarded: bool) -> Result<AllowedHosts, ConfigError> {
    let listed = var::ALLOWED_HOSTS.read(env, |text| {
        if text == "*" {
            return Ok(AllowedHosts::Any);
        }
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = names.map(|name| match name {
            name if name.contains(['/', '@', ' ']) || name.ends_with(':') => {
                Err(expected("*, or names such as chat.example.com, with commas between, without scheme and port"))
            }
            name => Ok(name.trim_matches(['[', ']']).to_ascii_lowercase()),
        });
        Ok(AllowedHosts::Only(names.collect::<Result<_, _>>()?))
    })?;
    let default = if is_guarded { AllowedHosts::Only(Vec::new()) } else { AllowedHosts::Any };
    Ok(listed.unwrap_or(default))
}

pub(super) fn admin_addr(env: &Environment) -> Result<Option<SocketAddr>, ConfigError> {
    var::ADMIN_ADDR.read(env, |text| {
        let text = text.replace("localhost", "127.0.0.1");
        text.parse().map_err(|_| expected("an IP address and a port, such as 127.0.0.1:9090"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::Config;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env: HashMap<_, _> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::from_env_map(&env)
    }

    const ISSUER: [(&str, &str); 2] = [("JWT_ISSUER", "https://id.example"), ("JWT_AUDIENCE", "chat")];

    #[test]
    fn methods_are_a_list_and_each_needs_what_it_needs() {
        let auth = with(&[]).unwrap().auth;
        assert!(auth.anonymous && !auth.is_on());
        let auth = with(&[("AUTH", "keys"), ("API_KEYS", "x")]).unwrap().auth;
        assert!(!auth.anonymous && auth.keys.is_some() && auth.jwt.is_none());
        let both = [("AUTH", "none, jwt"), ISSUER[0], ISSUER[1]];
        let auth = with(&both).unwrap().auth;
        assert!(auth.anonymous && auth.keys.is_none() && auth.jwt.is_some());
        for wrong in
            [&[("AUTH", "keys")][..], &[("AUTH", "jwt"), ISSUER[0]], &[("AUTH", "basic")], &[("AUTH", "keys,")]]
        {
            assert_eq!(with(wrong).unwrap_err().name, "AUTH", "{wrong:?}");
        }
    }

    #[test]
    fn an_address_that_others_reach_needs_a_word_about_who_may() {
        assert_eq!(with(&[("HOST", "0.0.0.0")]).unwrap_err().name, "HOST");
        for auth in ["none", "keys"] {
            assert!(with(&[("HOST", "0.0.0.0"), ("AUTH", auth), ("API_KEYS", "x")]).is_ok(), "{auth}");
        }
    }

    #[test]
    fn names_are_checked_where_no_credential_is() {
        let hosts = |pairs: &[(&str, &str)]| with(pairs).unwrap().http.allowed_hosts;
        assert_eq!(hosts(&[]), AllowedHosts::Only(Vec::new()));
        assert_eq!(hosts(&[("AUTH", "none"), ("HOST", "0.0.0.0")]), AllowedHosts::Any);
        assert_eq!(hosts(&[("AUTH", "keys"), ("API_KEYS", "x")]), AllowedHosts::Any);
        assert_eq!(hosts(&[("AUTH", "none,keys"), ("API_KEYS", "x")]), AllowedHosts::Only(Vec::new()));
        let named = hosts(&[("ALLOWED_HOSTS", "Chat.example, ::1")]);
        assert_eq!(named, AllowedHosts::Only(vec!["chat.example".to_owned(), "::1".to_owned()]));
        assert_eq!(hosts(&[("ALLOWED_HOSTS", "*")]), AllowedHosts::Any);
        assert_eq!(with(&[("ALLOWED_HOSTS", "http://x")]).unwrap_err().name, "ALLOWED_HOSTS");
    }

    #[test]
    fn an_issuer_is_asked_in_the_clear_on_this_machine_only_and_secrets_are_long() {
        for (name, wrong) in [
            ("JWT_ISSUER", "http://id.example"),
            ("JWT_JWKS_URL", "ftp://id.example"),
            ("SECRET_KEY", "short"),
            ("ADMIN_ADDR", "9090"),
        ] {
            let error = with(&[(name, wrong)]).unwrap_err();
            assert_eq!(error.name, name);
            assert!(name != "SECRET_KEY" || !error.to_string().contains("short"));
        }
        let long = "0123456789abcdef0123456789abcdef";
        let config =
            with(&[("SECRET_KEY", &format!("{long},{long}")), ("JWT_ISSUER", "http://localhost:1/x")]).unwrap();
        assert_eq!(config.auth.signing_keys.len(), 2);
        assert_eq!(with(&[("ADMIN_ADDR", "localhost:9090")]).unwrap().http.admin.unwrap().port(), 9090);
    }
}
