//! The table of routes. A route is a row: method, path template, operation id, scope, schema, handler. From it come
//! dispatch, 405 and `Allow`, the names of metrics and spans, and the `OpenAPI` document.

use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request};

use super::Edge;
use super::failure::Failure;
use super::middleware::Asks;
use super::respond::Answer;
use crate::domain::caller::{Caller, Scope};
use crate::protocols::ApiError;
use crate::protocols::openapi::{self, Operation};
use crate::protocols::query::segment;

mod table;

/// What answers a request.
type Handler = for<'a> fn(&'a Edge, Call) -> BoxFuture<'a, Result<Answer, Failure>>;

/// A route.
pub(super) struct Route {
    method: Method,
    pub(super) template: &'static str,
    path: Vec<Segment>,
    /// `GET /v1/responses/{response_id}`: its name in metrics and traces.
    pub(super) name: String,
    pub(super) handler: Handler,
    pub(super) schema: Operation,
}

/// A part of a path.
enum Segment {
    Literal(&'static str),
    Variable(&'static str),
    /// All that is left, also with slashes.
    Rest(&'static str),
}

/// A request, with what its path names.
pub(super) struct Call {
    pub(super) request: Request<Incoming>,
    /// Who asks.
    pub(super) asks: Asks,
    variables: Vec<String>,
}

/// All routes, in the order of the document.
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(table::routes);

/// A request that no route takes.
#[derive(Debug)]
pub(super) enum Unrouted {
    /// There is nothing at the path.
    Unknown(ApiError),
    /// The path takes other methods, which `allow` lists (RFC 9110, 10.2.1).
    Method { error: ApiError, allow: String },
}

impl Route {
    fn new(method: Method, template: &'static str, schema: Operation, handler: Handler) -> Self {
        let segments = template.strip_prefix('/').unwrap_or(template).split('/');
        let path = segments.map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            // Names of models may hold slashes.
            Some("model") => Segment::Rest("model"),
            Some(name) => Segment::Variable(name),
            None => Segment::Literal(part),
        });
        Self { path: path.collect(), name: format!("{method} {template}"), method, template, schema, handler }
    }

    /// Whether its path is this one.
    fn matches(&self, raw: &[&str]) -> bool {
        let has_rest = matches!(self.path.last(), Some(Segment::Rest(_)));
        let fits = if has_rest { raw.len() >= self.path.len() } else { raw.len() == self.path.len() };
        fits && self.path.iter().zip(raw).all(|(segment, raw)| match segment {
            Segment::Literal(literal) => literal == raw,
            Segment::Variable(_) | Segment::Rest(_) => !raw.is_empty(),
        })
    }

    /// Whether it tells of the server, and nothing of any tenant's: it may have a listener of its own.
    pub(super) fn is_for_operators(&self) -> bool {
        self.schema.scope == Some(Scope::Admin) && !self.template.starts_with("/v1/")
    }

    /// Whether it is one that platforms ask all the time.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self.template, "/livez" | "/readyz")
    }

    /// Whether what a path names can be there: a word in the place of a reply's id is an address of its own, which is not
    /// known, rather than a reply that does not take this method.
    fn could_name(&self, raw: &[&str]) -> bool {
        let word = |(segment, raw): (&Segment, &&str)| {
            matches!(segment, Segment::Variable("response_id")) && !raw.starts_with("resp_")
        };
        !self.path.iter().zip(raw).any(word)
    }

    /// What a path names, decoded.
    fn variables(&self, raw: &[&str]) -> Result<Vec<String>, ApiError> {
        let mut variables = Vec::new();
        for (index, part) in self.path.iter().enumerate() {
            match part {
                Segment::Literal(_) => {}
                Segment::Variable(name) => variables.push(segment(name, raw[index])?.into_owned()),
                Segment::Rest(name) => variables.push(segment(name, &raw[index..].join("/"))?.into_owned()),
            }
        }
        Ok(variables)
    }
}

/// The route of a request, and what its path names.
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), Unrouted> {
    let mut raw = path.strip_prefix('/').unwrap_or(path).split('/').collect::<Vec<_>>();
    // `/v1/responses/` is `/v1/responses`.
    if raw.len() > 1 && raw.last() == Some(&"") {
        raw.pop();
    }
    // HEAD is GET without the body, which hyper leaves out.
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let at_path = || ROUTES.iter().filter(|route| route.matches(&raw));
    if let Some(route) = at_path().find(|route| route.method == *wanted) {
        return Ok((route, route.variables(&raw).map_err(Unrouted::Unknown)?));
    }
    let mut allowed: Vec<&str> = Vec::new();
    for route in at_path().filter(|route| route.could_name(&raw)) {
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() {
        return Err(Unrouted::Unknown(ApiError::unknown_url(method.as_str(), path)));
    }
    allowed.push("OPTIONS");
    let error = ApiError::method_not_allowed(method.as_str(), path);
    Err(Unrouted::Method { error, allow: allowed.join(", ") })
}

/// The `OpenAPI` document of all routes.
pub(crate) fn document() -> serde_json::Value {
    openapi::document(ROUTES.iter().map(|route| (route.method.as_str(), route.template, &route.schema)))
}

impl Call {
    pub(super) const fn new(request: Request<Incoming>, asks: Asks, variables: Vec<String>) -> Self {
        Self { request, asks, variables }
    }

    const fn caller(&self) -> &Caller {
        &self.asks.who.caller
    }

    /// What the path names in this place.
    fn variable(&self, index: usize) -> &str {
        self.variables.get(index).map_or("", String::as_str)
    }

    fn query(&self) -> Option<&str> {
        self.request.uri().query()
    }

    fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn name(method: &Method, path: &str) -> Option<&'static str> {
        find(method, path).ok().map(|(route, _)| route.name.as_str())
    }

    #[test]
    fn a_known_path_with_another_method_is_405_and_an_unknown_one_404() {
        assert_eq!(name(&Method::POST, "/v1/responses"), Some("POST /v1/responses"));
        assert_eq!(name(&Method::POST, "/v1/responses/"), Some("POST /v1/responses"));
        assert_eq!(name(&Method::HEAD, "/livez"), Some("GET /livez"));
        assert_eq!(name(&Method::GET, "/"), Some("GET /"));
        let (_, variables) = find(&Method::GET, "/v1/models/a/b%20c").expect("a model");
        assert_eq!(variables, ["a/b c"]);
        assert!(matches!(find(&Method::GET, "/v1/nothing"), Err(Unrouted::Unknown(error)) if error.status == 404));
        assert!(
            matches!(find(&Method::GET, "/v1/responses/%ff"), Err(Unrouted::Unknown(error)) if error.status == 400)
        );
    }

    #[test]
    fn allow_lists_every_method_that_a_path_takes_with_head_for_get() {
        let allow = |path| match find(&Method::PUT, path) {
            Err(Unrouted::Method { allow, error }) if error.status == 405 => allow,
            _ => panic!("{path} takes PUT"),
        };
        assert_eq!(allow("/v1/responses"), "POST, GET, HEAD, OPTIONS");
        assert_eq!(allow("/v1/responses/resp_x"), "GET, HEAD, DELETE, OPTIONS");
        let word = find(&Method::POST, "/v1/responses/word");
        assert!(matches!(word, Err(Unrouted::Unknown(error)) if error.status == 404));
        assert_eq!(allow("/v1/conversations/x"), "GET, HEAD, POST, DELETE, OPTIONS");
    }

    #[test]
    fn operation_ids_and_names_are_used_once() {
        let ids: HashSet<_> = ROUTES.iter().map(|route| route.schema.id).collect();
        let names: HashSet<_> = ROUTES.iter().map(|route| &route.name).collect();
        assert_eq!((ids.len(), names.len()), (ROUTES.len(), ROUTES.len()));
    }
}
