//! Who asks, and whether they may: the one place where a request gets its caller.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::cookie;
use super::site::{self, Foreign};
use crate::auth::{self, Auth, Authenticated, Credential, Denied, Purpose};
use crate::config;
use crate::domain::caller::Scope;
use crate::http::routes::Route;
use crate::protocols::query::parameter;
use crate::telemetry::Metrics;

/// Who asks, and by what that is known.
#[derive(Debug, Clone)]
pub(in crate::http) struct Asks {
    pub(in crate::http) who: Authenticated,
    pub(in crate::http) by: By,
}

/// What a request came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum By {
    Nothing,
    /// A key or a token, in a header.
    Header,
    Ticket,
    Session,
}

/// Why somebody may not do what they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum Refused {
    /// It is not known who they are.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// They may not do this.
    #[error("the scope {} is missing", .0.as_str())]
    Scope(Scope),
    /// The request comes from elsewhere.
    #[error(transparent)]
    Foreign(#[from] Foreign),
}

impl Asks {
    /// Whoever asks for what is open to all.
    pub(in crate::http) const fn nobody(who: Authenticated) -> Self {
        Self { who, by: By::Nothing }
    }
}

/// What decides who may do what.
pub(in crate::http) struct Admission<'a> {
    pub(in crate::http) config: &'a config::Http,
    pub(in crate::http) auth: &'a Auth,
    pub(in crate::http) metrics: &'a Metrics,
}

impl Admission<'_> {
    /// Who asks for what a route needs, if they may. Failures are noted.
    pub(in crate::http) async fn admit<B: Sync>(
        &self,
        route: &Route,
        request: &Request<B>,
        peer: IpAddr,
    ) -> Result<Asks, Refused> {
        let (asks, key) = match self.identify(route, request).await {
            Ok(asks) => (asks, None),
            Err((refused, key)) => {
                self.note(refused, route, key, peer);
                return Err(refused);
            }
        };
        let (caller, needed) = (&asks.who.caller, route.schema.scope);
        if let Some(scope) = needed.filter(|scope| !caller.scopes().has(*scope)) {
            self.note(Refused::Scope(scope), route, caller.key().or(key), peer);
            return Err(Refused::Scope(scope));
        }
        Ok(asks)
    }

    async fn identify<'a, B: Sync>(
        &self,
        route: &Route,
        request: &'a Request<B>,
    ) -> Result<Asks, (Refused, Option<&'a str>)> {
        let Self { config, auth, .. } = *self;
        if route.schema.scope.is_some() && !config.allowed_hosts.admit(request) {
            return Err((Foreign::Host.into(), None));
        }
        let is_open = route.schema.scope.is_none() || !auth.is_on();
        let (credential, by) = if is_open {
            (Credential::None, By::Nothing)
        } else {
            credential(request, route.schema.takes_ticket).map_err(|denied| (denied.into(), None))?
        };
        let is_foreign = match by {
            By::Nothing => route.schema.scope.is_some() && !site::is_welcome(&config.cors_origins, request),
            By::Session => !site::is_meant(&config.cors_origins, request),
            // No page has these but from whom they belong to.
            By::Header | By::Ticket => false,
        };
        if is_foreign {
            return Err((Foreign::Origin.into(), None));
        }
        if route.schema.scope.is_none() {
            return Ok(Asks { who: auth.nobody(), by });
        }
        let key = match credential {
            Credential::Bearer(text) => auth::keys::id_of(text),
            _ => None,
        };
        let who = auth.authenticate(credential).await.map_err(|denied| {
            // Of a key that nobody has, no part is told: it may be somebody's from elsewhere.
            (denied.into(), key.filter(|_| denied == Denied::Expired))
        })?;
        Ok(Asks { who, by })
    }

    fn note(&self, refused: Refused, route: &Route, key: Option<&str>, peer: IpAddr) {
        self.metrics.auth_failures(match refused {
            Refused::Denied(Denied::Missing) => "missing",
            Refused::Denied(Denied::Expired) => "expired",
            Refused::Denied(Denied::NoKeys) => "unavailable",
            Refused::Denied(_) => "invalid",
            Refused::Scope(_) => "scope",
            Refused::Foreign(Foreign::Host) => "host",
            Refused::Foreign(Foreign::Origin) => "origin",
        });
        self.auth.note_failure(&refused, &route.name, key, peer);
    }
}

/// What a request comes with. A header says more than a ticket, and that more than a cookie; one that is no good is not
/// made up for by another.
fn credential<B>(request: &Request<B>, takes_ticket: bool) -> Result<(Credential<'_>, By), Denied> {
    if let Some(secret) = header(request.headers())? {
        return Ok((Credential::Bearer(secret), By::Header));
    }
    let ticket = takes_ticket.then(|| parameter(request.uri().query(), "ticket")).flatten();
    if let Some(ticket) = ticket {
        return Ok((Credential::Signed(Purpose::Ticket(request.uri().path()), ticket), By::Ticket));
    }
    Ok(match cookie::session(request.headers()) {
        Some(session) => (Credential::Signed(Purpose::Session, session), By::Session),
        None => (Credential::None, By::Nothing),
    })
}

/// A key or a token: `Authorization: Bearer …` (RFC 6750), or as other APIs have it.
fn header(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    if let Some(line) = lines.next() {
        // Of two it could not be said which one counts.
        if lines.next().is_some() {
            return Err(Denied::Malformed);
        }
        let (scheme, secret) = line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or(Denied::Malformed)?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        return if is_bearer { Ok(Some(secret.trim())) } else { Err(Denied::Malformed) };
    }
    let own = ["x-api-key", "api-key"].into_iter().find_map(|name| headers.get(name));
    own.map(|value| value.to_str().map_err(|_| Denied::Malformed)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let start = Request::builder().uri(uri);
        headers.iter().fold(start, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn a_credential_is_found_wherever_clients_put_it() {
        for (headers, found) in [
            (&[("authorization", "Bearer rj_a")][..], Ok(Some("rj_a"))),
            (&[("authorization", "bearer   rj_a ")], Ok(Some("rj_a"))),
            (&[("x-api-key", "rj_a")], Ok(Some("rj_a"))),
            (&[("api-key", "rj_a")], Ok(Some("rj_a"))),
            (&[("authorization", "Bearer rj_a"), ("x-api-key", "rj_b")], Ok(Some("rj_a"))),
            (&[], Ok(None)),
            (&[("authorization", "Basic eDp5")], Err(Denied::Malformed)),
            (&[("authorization", "rj_a")], Err(Denied::Malformed)),
            (&[("authorization", "Bearer rj_a"), ("authorization", "Bearer rj_b")], Err(Denied::Malformed)),
        ] {
            assert_eq!(header(request("/", headers).headers()), found, "{headers:?}");
        }
    }

    #[test]
    fn tickets_and_cookies_count_only_where_there_is_no_header() {
        let cookie = ("cookie", "rejoinder_session=s.s");
        let by =
            |uri: &str, headers: &[(&str, &str)], takes: bool| credential(&request(uri, headers), takes).unwrap().1;
        assert_eq!(by("/x?ticket=t.t", &[cookie, ("api-key", "k")], true), By::Header);
        assert_eq!(by("/x?ticket=t.t", &[cookie], true), By::Ticket);
        assert_eq!(by("/x?ticket=t.t", &[cookie], false), By::Session);
        assert_eq!(by("/x?ticket=t.t", &[], false), By::Nothing);
    }
}
