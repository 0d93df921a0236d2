//! Where NATS servers are, who one is there, and where JetStream is asked. A password or a token in an address is kept apart
//! from it, and is never shown.

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
    /// Who one is at each.
    logins: Vec<Option<Login>>,
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

    /// Who one is where an address does not say it, if any says it.
    pub fn login(&self) -> Option<&Login> {
        self.logins.iter().flatten().next()
    }

    /// Who one is at this server. A connection may also move to a server of the cluster that nobody has listed.
    pub fn login_at(&self, address: &ServerAddr) -> Option<&Login> {
        let listed = self.addresses.iter().position(|one| one == address);
        listed.and_then(|number| self.logins[number].as_ref()).or_else(|| self.login())
    }

    /// Whether one is the same everywhere.
    pub fn have_one_login(&self) -> bool {
        self.logins.iter().flatten().all(|login| Some(login) == self.login())
    }
}

/// Reads addresses with commas between. A login may stand in one address, for all, or in each.
impl FromStr for Servers {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let read = text.split(',').map(|one| address(one.trim())).collect::<Result<Vec<_>, _>>()?;
        let (addresses, logins) = read.into_iter().unzip();
        Ok(Self { addresses, logins })
    }
}

/// Where JetStream is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Api {
    /// At the servers themselves.
    #[default]
    Own,
    /// In a domain of this name: of a hub, say, behind a leaf.
    Domain(String),
    /// Under this subject, to which an account imports the API of another one.
    Prefix(String),
}

impl Api {
    /// What the subjects of requests begin with.
    pub fn prefix(&self) -> String {
        match self {
            Self::Own => "$JS.API".to_owned(),
            Self::Domain(domain) => format!("$JS.{domain}.API"),
            Self::Prefix(prefix) => prefix.clone(),
        }
    }

    /// Reads the name of a domain.
    pub(crate) fn domain(text: &str) -> Result<Self, Expected> {
        let is_one = is_token(text) && !text.contains('$');
        let expected = || Expected("the name of a JetStream domain, such as hub: one word without . * > $".to_owned());
        is_one.then(|| Self::Domain(text.to_owned())).ok_or_else(expected)
    }

    /// Reads a prefix. Some write it with the point that follows.
    pub(crate) fn under(text: &str) -> Result<Self, Expected> {
        let prefix = text.strip_suffix('.').unwrap_or(text);
        let expected =
            || Expected("the subject under which JetStream is asked, such as JS.hub.API, without * >".to_owned());
        prefix.split('.').all(is_token).then(|| Self::Prefix(prefix.to_owned())).ok_or_else(expected)
    }
}

/// Whether this can stand between two points of a subject.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>".contains(&byte))
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
        ] {
            let error = text.parse::<Servers>().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("s3"), "{text}: {error}");
        }
    }

    #[test]
    fn each_address_may_have_a_login_of_its_own_and_those_without_have_the_first() {
        let servers: Servers = "nats://a, nats://app:one@b, nats://token@c:1, app:two@d".parse().unwrap();
        let at = |address: &str| servers.login_at(&address.parse().unwrap()).cloned();
        assert!(!servers.have_one_login());
        for first in ["nats://a", "nats://b", "nats://unlisted:5"] {
            assert_eq!(at(first), Some(user("app", "one")), "{first}");
        }
        assert_eq!(at("nats://c:1"), Some(Login::Token(Secret::new("token"))));
        assert_eq!(at("nats://d"), Some(user("app", "two")));
        for same in ["nats://a,nats://b", "app:one@a,b", "app:one@a,app:one@b"] {
            assert!(same.parse::<Servers>().unwrap().have_one_login(), "{same}");
        }
    }

    #[test]
    fn an_api_is_a_domain_or_a_subject_without_wildcards() {
        let prefix = |api: Result<Api, Expected>| api.map(|api| api.prefix()).map_err(|_| ());
        assert_eq!(Api::Own.prefix(), "$JS.API");
        for (text, domain, under) in [
            ("hub", Ok("$JS.hub.API"), Ok("hub")),
            ("JS.hub.API", Err(()), Ok("JS.hub.API")),
            ("$JS.hub.API.", Err(()), Ok("$JS.hub.API")),
            ("a..b", Err(()), Err(())),
            ("a.>", Err(()), Err(())),
            ("a b", Err(()), Err(())),
            (".", Err(()), Err(())),
        ] {
            assert_eq!(prefix(Api::domain(text)), domain.map(str::to_owned), "{text}");
            assert_eq!(prefix(Api::under(text)), under.map(str::to_owned), "{text}");
        }
    }
}
