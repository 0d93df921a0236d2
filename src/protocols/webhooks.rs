//! Endpoints of webhooks, as OpenAI's SDKs make and read them; what is ours stands in `rejoinder`, or has routes of its own.

use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::json::{self, At, Read, boolean, choice, entries, object, required, short_string};
use super::lists::Listed;
use super::query::{ListQuery, pairs};
use crate::consumers::webhooks::{Answered, Changes, Error, New, Reach, Shown, Which};
use crate::domain::ids::ReplyId;
use crate::domain::webhook::EventType;
use crate::store::webhooks::Delivery;

/// The longest name, in characters.
const LONGEST_NAME: usize = 128;
/// The longest URL, in characters.
const LONGEST_URL: usize = 2048;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Endpoint {
    id: String,
    object: &'static str,
    created_at: u64,
    updated_at: u64,
    name: String,
    url: String,
    event_types: Vec<EventType>,
    signing_secret_hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
    rejoinder: Ours,
}

/// What OpenAI's endpoints do not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ours {
    /// Whose replies it is told of: `own`, `tenant` or `all`.
    replies_of: &'static str,
    /// It stands in the server's configuration.
    configured: bool,
    #[serde(flatten)]
    answered: Option<Deliveries>,
}

/// How an endpoint is; times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Deliveries {
    state: &'static str,
    delivered: u64,
    pending: u64,
    given_up: u64,
    failing_since: Option<u64>,
    last_attempt_at: Option<u64>,
    last_answer: Option<String>,
    ended_at: Option<u64>,
}

/// An endpoint that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeletedEndpoint<'a> {
    id: &'a str,
    object: &'static str,
    deleted: bool,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tested<'a> {
    object: &'static str,
    webhook_endpoint_id: &'a str,
    event_type: EventType,
    status_code: u16,
    success: bool,
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Resent<'a> {
    object: &'static str,
    webhook_endpoint_id: &'a str,
    count: u64,
}

/// The types of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EventTypes {
    object: &'static str,
    data: [EventType; 4],
}

/// Something that an endpoint did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct WebhookDelivery {
    id: String,
    object: &'static str,
    event_type: EventType,
    response_id: ReplyId,
    created_at: u64,
    status: &'static str,
    attempts: u64,
    next_attempt_at: Option<u64>,
    last_answer: Option<String>,
}

impl Endpoint {
    /// An endpoint, and how it is, where that is known.
    pub(crate) fn new(shown: Shown, answered: Option<Answered>) -> Self {
        let replies_of = match shown.reach {
            Reach::Owner(_) => "own",
            Reach::Tenant(_) => "tenant",
            Reach::Everybody => "all",
        };
        Self {
            id: shown.id,
            object: "webhook_endpoint",
            created_at: shown.created_at / 1000,
            updated_at: shown.updated_at / 1000,
            name: shown.name,
            url: shown.url,
            event_types: shown.event_types,
            signing_secret_hint: shown.hint,
            signing_secret: shown.secret.map(|secret| secret.expose().to_owned()),
            rejoinder: Ours { replies_of, configured: shown.is_of_file, answered: answered.map(Deliveries::from) },
        }
    }
}

impl From<Answered> for Deliveries {
    fn from(Answered { state, counts }: Answered) -> Self {
        let seconds = |at: Option<u64>| at.map(|at| at / 1000);
        Self {
            state: match (state.ended_at, state.failing_since) {
                (Some(_), _) => "ended",
                (None, Some(_)) => "failing",
                (None, None) => "ok",
            },
            delivered: state.delivered,
            pending: counts.pending,
            given_up: counts.given_up,
            failing_since: seconds(state.failing_since),
            last_attempt_at: seconds(state.answered_at),
            last_answer: state.answer,
            ended_at: seconds(state.ended_at),
        }
    }
}

impl Listed for Endpoint {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Listed for WebhookDelivery {
    fn id(&self) -> &str {
        &self.id
    }
}

impl<'a> DeletedEndpoint<'a> {
    pub(crate) const fn new(id: &'a str) -> Self {
        Self { id, object: "webhook_endpoint.deleted", deleted: true }
    }
}

impl<'a> Tested<'a> {
    pub(crate) const fn new(webhook_endpoint_id: &'a str, event_type: EventType, status_code: u16) -> Self {
        Self { object: "webhook_endpoint.test", webhook_endpoint_id, event_type, status_code, success: true }
    }
}

impl<'a> Resent<'a> {
    pub(crate) const fn new(webhook_endpoint_id: &'a str, count: u64) -> Self {
        Self { object: "webhook_endpoint.resend", webhook_endpoint_id, count }
    }
}

impl EventTypes {
    /// All of them.
    pub(crate) const ALL: Self = Self { object: "list", data: EventType::ALL };
}

impl From<Delivery> for WebhookDelivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            object: "webhook_delivery",
            event_type: delivery.event.event_type,
            response_id: delivery.event.reply,
            created_at: delivery.event.at / 1000,
            status: if delivery.given_up { "given_up" } else { "pending" },
            attempts: delivery.attempts,
            next_attempt_at: (!delivery.given_up).then_some(delivery.next_at / 1000),
            last_answer: delivery.answer,
        }
    }
}

/// Reads `POST /v1/webhook_endpoints`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_new(body: &[u8]) -> Result<New, ApiError> {
    let Changes { name, url, event_types } = parse_changes(body)?;
    Ok(New {
        name: required(At::Body, "name", name)?,
        url: required(At::Body, "url", url)?,
        event_types: required(At::Body, "event_types", event_types)?,
    })
}

/// Reads `POST /v1/webhook_endpoints/{id}`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_changes(body: &[u8]) -> Result<Changes, ApiError> {
    let mut fields = fields(body)?;
    let mut take = |name| fields.remove(name).filter(|value| !value.is_null());
    let text = |name: &str, value: Value, most| {
        let at = At::Field(&At::Body, name);
        let text = short_string(at, value, most)?;
        let is_plain = !text.chars().any(char::is_control);
        if is_plain { Ok(text) } else { Err(ApiError::invalid(at, "control characters are not allowed.")) }
    };
    Ok(Changes {
        name: take("name").map(|name| text("name", name, LONGEST_NAME)).transpose()?,
        url: take("url").map(|url| text("url", url, LONGEST_URL)).transpose()?,
        event_types: take("event_types").map(event_types).transpose()?,
    })
}

/// Reads `POST …/rotate_secret`, whose body may be empty: whether the old secret stays good for a day.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_rotate(body: &[u8]) -> Result<bool, ApiError> {
    const FIELD: &str = "keep_old_secret_active_for_24_hours";
    let value = fields_or_none(body)?.remove(FIELD).filter(|value| !value.is_null());
    Ok(value.map(|value| boolean(At::Field(&At::Body, FIELD), &value)).transpose()?.unwrap_or_default())
}

/// Reads `POST …/test`: which event is sent.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_test(body: &[u8]) -> Result<EventType, ApiError> {
    let value = required(At::Body, "event_type", fields(body)?.remove("event_type"))?;
    event_type(At::Field(&At::Body, "event_type"), value)
}

/// Reads `POST …/resend`, whose body may be empty: which delivery; `None`: all.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_resend(body: &[u8]) -> Result<Option<String>, ApiError> {
    const FIELD: &str = "delivery_id";
    let value = fields_or_none(body)?.remove(FIELD).filter(|value| !value.is_null());
    value.map(|value| short_string(At::Field(&At::Body, FIELD), value, 64)).transpose()
}

/// Reads the query of a list of deliveries.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_which(query: Option<&str>) -> Result<Which, ApiError> {
    let list = ListQuery::parse(query)?;
    let mut which = Which { limit: list.limit as u64, after: list.after, given_up: None };
    for pair in pairs(query) {
        let (name, value) = pair?;
        if name == "status" {
            which.given_up = Some(match value.as_ref() {
                "pending" => false,
                "given_up" => true,
                other => return Err(ApiError::invalid_value("status", other, &["pending", "given_up"])),
            });
        }
    }
    Ok(which)
}

fn fields(body: &[u8]) -> Read<Map<String, Value>> {
    object(At::Body, json::parse(body)?)
}

fn fields_or_none(body: &[u8]) -> Read<Map<String, Value>> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(Map::new()) } else { fields(body) }
}

fn event_types(value: Value) -> Read<Vec<EventType>> {
    let at = At::Field(&At::Body, "event_types");
    let mut types = entries(at, value, event_type)?;
    types.sort_unstable();
    types.dedup();
    if types.is_empty() { Err(ApiError::empty_array(at)) } else { Ok(types) }
}

fn event_type(at: At, value: Value) -> Read<EventType> {
    choice(at, value, &EventType::ALL.map(|one| (one.as_str(), one)))
}

impl From<&Error> for ApiError {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound(id) => Self::webhook_endpoint_not_found(id),
            Error::OfFile => {
                Self::client(400, "This endpoint is set in the server's configuration, and changed there.")
            }
            Error::TooMany => Self::client(400, format!("{error}; delete one first.")).with_code("too_many_endpoints"),
            Error::Url(problem) => Self::invalid("url", problem),
            // (Not a 5xx: the SDKs would send the test again and again.)
            Error::NoAnswer(_) => Self::client(422, format!("{error}.")).with_code("webhook_endpoint_unreachable"),
            Error::NoSharedStore => Self::client(
                400,
                "The instances of this server share no store, which webhooks need: set DATABASE_URL=postgres://…",
            )
            .with_code("webhooks_unavailable"),
            Error::Contended => Self::client(409, "Too many concurrent changes to this endpoint; try again."),
            Error::Store(_) | Error::Late => Self {
                retry_after: Some(std::time::Duration::from_secs(1)),
                ..Self::unavailable("The server cannot reach what it needs for this request; try again.")
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::caller::Owner;
    use crate::store::webhooks::{Counts, EndpointState};

    fn parsed<T: std::fmt::Debug>(parse: fn(&[u8]) -> Result<T, ApiError>, body: &Value) -> Result<T, String> {
        parse(body.to_string().as_bytes()).map_err(|error| error.param.unwrap_or(error.message))
    }

    #[test]
    fn a_new_endpoint_needs_a_name_a_url_and_types_that_there_are() {
        let whole = json!({"name": "n", "url": "https://x.example/", "event_types": ["response.failed", "response.completed", "response.failed"]});
        let new = parsed(parse_new, &whole).unwrap();
        assert_eq!(new.event_types, [EventType::Completed, EventType::Failed]);
        for (field, wrong, param) in [
            ("name", Value::Null, "name"),
            ("name", json!(""), "name"),
            ("name", json!("a\nb"), "name"),
            ("url", json!(7), "url"),
            ("url", json!("x".repeat(LONGEST_URL + 1)), "url"),
            ("event_types", json!([]), "event_types"),
            ("event_types", json!(["response.completed", "batch.completed"]), "event_types[1]"),
            ("event_types", json!("response.completed"), "event_types"),
        ] {
            let mut body = whole.clone();
            body[field] = wrong;
            assert_eq!(parsed(parse_new, &body).unwrap_err(), param, "{body}");
        }
        assert_eq!(parsed(parse_changes, &json!({})).unwrap(), Changes::default());
        assert_eq!((parse_rotate(b"").unwrap(), parse_resend(b" ").unwrap()), (false, None));
        assert!(parsed(parse_rotate, &json!({"keep_old_secret_active_for_24_hours": true})).unwrap());
        assert_eq!(parsed(parse_test, &json!({"event_type": "x"})).unwrap_err(), "event_type");
        assert_eq!(
            parse_which(Some("status=given_up&limit=3")).unwrap(),
            Which { limit: 3, after: None, given_up: Some(true) }
        );
        assert!(parse_which(Some("status=x")).is_err());
    }

    #[test]
    fn an_endpoint_is_shown_as_openai_shows_it_and_its_state_beside() {
        let shown = Shown {
            id: "whe_1".to_owned(),
            name: "n".to_owned(),
            url: "https://x.example/".to_owned(),
            event_types: vec![EventType::Completed],
            created_at: 1_999,
            updated_at: 2_000,
            hint: "whsec_…abcd".to_owned(),
            secret: None,
            reach: Reach::Owner(Owner::anonymous()),
            is_of_file: false,
        };
        let state = EndpointState { delivered: 3, failing_since: Some(5_500), ..EndpointState::default() };
        let answered = Answered { state, counts: Counts { pending: 1, given_up: 2 } };
        let json = serde_json::to_value(Endpoint::new(shown, Some(answered))).unwrap();
        assert_eq!(
            json,
            json!({"id": "whe_1", "object": "webhook_endpoint", "created_at": 1, "updated_at": 2, "name": "n",
                "url": "https://x.example/", "event_types": ["response.completed"], "signing_secret_hint": "whsec_…abcd",
                "rejoinder": {"replies_of": "own", "configured": false, "state": "failing", "delivered": 3, "pending": 1,
                    "given_up": 2, "failing_since": 5, "last_attempt_at": null, "last_answer": null, "ended_at": null}})
        );
    }
}
