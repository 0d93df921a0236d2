//! Tickets and sessions, as browsers get them: an extension of the API.

use serde::Serialize;

use super::error::ApiError;
use super::json::{At, object, parse, required, short_string};
use crate::domain::caller::Caller;

/// The longest path of a resource.
const LONGEST: usize = 512;

/// `POST /v1/tickets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateTicket {
    /// The path of what is to be opened.
    pub(crate) resource: String,
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct Ticket<'a> {
    object: &'static str,
    resource: &'a str,
    /// The resource, with the ticket in its query.
    url: String,
    ticket: &'a str,
    expires_at: i64,
}

/// Who a browser is signed in as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Session<'a> {
    object: &'static str,
    tenant: Option<String>,
    user: Option<&'a str>,
    scopes: Vec<&'static str>,
    tier: &'a str,
    expires_at: Option<i64>,
}

impl CreateTicket {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = object(At::Body, parse(body)?)?;
        let at = At::Body;
        let resource = required(at, "resource", fields.remove("resource"))?;
        let at = at.field("resource");
        Ok(Self { resource: short_string(at, resource, LONGEST)? })
    }
}

impl<'a> Ticket<'a> {
    /// A ticket for this resource, until then (Unix seconds).
    pub(crate) fn new(resource: &'a str, ticket: &'a str, expires_at: i64) -> Self {
        Self { object: "ticket", resource, url: format!("{resource}?ticket={ticket}"), ticket, expires_at }
    }
}

impl<'a> Session<'a> {
    /// The session of this caller, until then (Unix seconds).
    pub(crate) fn new(caller: &'a Caller, expires_at: Option<i64>) -> Self {
        let owner = caller.owner();
        Self {
            object: "session",
            tenant: (!owner.is_anonymous()).then(|| owner.tenant().into_owned()),
            user: owner.user(),
            scopes: caller.scopes().names().collect(),
            tier: caller.tier(),
            expires_at,
        }
    }
}
