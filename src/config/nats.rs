//! Where NATS servers are, and who one is there. A password or a token in an address is kept apart from it, and is never
//! shown.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use url::Url;

use super::values::{Expected, Secret};

/// What is expected of `NATS_URL`.
const FORM: &str = "addresses such as nats://localhost:4222, nats://user:password@localhost:4222 or \
                    nats://token@localhost:4222, with commas between";

/// NATS servers: one, or several of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Servers {
    /// Without secrets.
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
}

/// Who one is for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A user.
    User {
        /// The name.
        user: Secret,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
}

impl Servers {
    /// Their addresses, without secrets.
    pub fn addresses(&self) -> &[ServerAddr] {
        &self.addresses
    }

    /// Who one is there, if the addresses say so.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }
}

/// Reads addresses with commas between. A connection that is lost may be made anew at any of them, and at servers of the
/// same cluster that nobody has listed: so there is one login for all, and it may stand in one address or in each.
impl FromStr for Servers {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let mut servers = Self { addresses: Vec::new(), login: None };
        for one in text.split(',') {
            let (address, login) = address(one.trim())?;
            servers.addresses.push(address);
            match (&servers.login, login) {
                (Some(before), Some(login)) if *before != login => {
                    return Err(because("all need the same user and password, or the same token"));
                }
                (None, login @ Some(_)) => servers.login = login,
                _ => {}
            }
        }
        Ok(servers)
    }
}

/// One address, and the login in it. What it says of one that it cannot read quotes nothing: that may be a secret.
fn address(text: &str) -> Result<(ServerAddr, Option<Login>), Expected> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let (login, host) = match rest.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, rest),
    };
    let encoded = || because("in a password or a token, write / ? # @ , % as %2F %3F %23 %40 %2C %25");
    if login.is_some_and(|login| login.contains(['/', '?', '#'])) {
        return Err(encoded());
    }
    let url: Url =
        format!("{scheme}://{host}").parse().map_err(|_| if login.is_some() { encoded() } else { form() })?;
    let has_more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
    if !matches!(scheme, "nats" | "tls") || url.host_str().is_none_or(str::is_empty) || has_more {
        return Err(form());
    }
    let address = ServerAddr::from_url(url).map_err(|_| form())?;
    Ok((address, login.map(|login| read_login(login).ok_or_else(encoded)).transpose()?))
}

fn read_login(text: &str) -> Option<Login> {
    let decode = |part: &str| Some(Secret::new(percent_decode_str(part).decode_utf8().ok()?));
    Some(match text.split_once(':') {
        Some((user, password)) => Login::User { user: decode(user)?, password: decode(password)? },
        None => Login::Token(decode(text).filter(|_| !text.is_empty())?),
    })
}

fn form() -> Expected {
    Expected(FORM.to_owned())
}

fn because(reason: &str) -> Expected {
    Expected(format!("{FORM} ({reason})"))
}

/// The addresses alone.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> =
            self.addresses.iter().map(|address| address.as_url_str().trim_end_matches('/')).collect();
        f.write_str(&addresses.join(","))
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("addresses", &self.to_string()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(user: &str, password: &str) -> Login {
        Login::User { user: Secret::new(user), password: Secret::new(password) }
    }

    #[test]
    fn a_login_stands_in_an_address_as_every_client_of_nats_writes_it_and_is_not_shown() {
        let token = |token: &str| Login::Token(Secret::new(token));
        for (text, shown, login) in [
            ("nats://localhost:4222", "nats://localhost:4222", None),
            ("nats://app:s3cret@a:4222", "nats://a:4222", Some(user("app", "s3cret"))),
            ("app:s3cret@a", "nats://a", Some(user("app", "s3cret"))),
            ("nats://ap%40p:s3%2Fcret%3A%25@[::1]:4222", "nats://[::1]:4222", Some(user("ap@p", "s3/cret:%"))),
            ("nats://app:s3c:ret@a", "nats://a", Some(user("app", "s3c:ret"))),
            ("nats://app:s3@cret@a", "nats://a", Some(user("app", "s3@cret"))),
            ("nats://app:@a", "nats://a", Some(user("app", ""))),
            ("tls://s3cr%C3%A9t@a:4443", "tls://a:4443", Some(token("s3crét"))),
            ("nats://app:s3cret@a:1, nats://b:2", "nats://a:1,nats://b:2", Some(user("app", "s3cret"))),
            (
                "nats://a:1,nats://app:s3cret@b:2,app:s3cret@c",
                "nats://a:1,nats://b:2,nats://c",
                Some(user("app", "s3cret")),
            ),
        ] {
            let servers: Servers = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((servers.to_string().as_str(), servers.login()), (shown, login.as_ref()), "{text}");
            assert!(!format!("{servers:?} {:?}", servers.login()).contains("s3"), "{servers:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_in_words_and_not_quoted() {
        for (text, words) in [
            ("", "such as"),
            ("http://a:4222", "such as"),
            ("nats://", "such as"),
            ("nats://a:4222/s3cret", "such as"),
            ("nats://a:port", "such as"),
            ("nats://app:s3/cret@a", "as %2F"),
            ("nats://app:s3#cret@a", "as %2F"),
            ("nats://app:%FF@a", "as %2F"),
            ("nats://@a", "as %2F"),
            ("nats://app:s3cret@a,nats://app:s3other@b", "the same"),
            ("nats://app:s3cret@a,nats://s3token@b", "the same"),
        ] {
            let error = text.parse::<Servers>().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("s3"), "{text}: {error}");
        }
    }
}
