//! Endpoints as deliveries see them, whether a caller made them or they stand in the configuration's file.

use bytes::Bytes;
use reqwest::header::HeaderName;
use serde::Serialize;
use url::Url;

use super::secrets::Secrets;
use super::signature;
use crate::config::{StaticWebhook, values::Secret};
use crate::domain::caller::Owner;
use crate::domain::ids::ReplyId;
use crate::domain::webhook::{EventType, WebhookEvent, static_endpoint_id};
use crate::store::webhooks::Endpoint;

/// An endpoint may be told of replies that ended so long before it was made: clocks of instances differ by less.
const CLOCKS_DIFFER_MS: u64 = 5000;

/// Where events are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: String,
    pub(super) url: Url,
    reach: Reach,
    event_types: Vec<EventType>,
    created_at: u64,
    /// `None`: it cannot be opened.
    secret: Option<Secret>,
    old_secret: Option<(Secret, u64)>,
}

/// Whose replies an endpoint is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// An owner's.
    Owner(Owner),
    /// Those of a tenant and all its users.
    Tenant(Owner),
    /// All.
    Everybody,
}

impl Target {
    /// `None`: its address is none (that was checked when it was made).
    pub(super) fn of(endpoint: &Endpoint, secrets: &Secrets) -> Option<Self> {
        let owner = endpoint.owner.clone();
        let old = endpoint.old_secret.as_ref().and_then(|(old, until)| Some((secrets.open(&owner, old)?, *until)));
        Some(Self {
            id: endpoint.id.clone(),
            url: endpoint.url.parse().ok()?,
            secret: secrets.open(&owner, &endpoint.secret),
            old_secret: old,
            reach: if endpoint.whole_tenant { Reach::Tenant(owner) } else { Reach::Owner(owner) },
            event_types: endpoint.event_types.clone(),
            created_at: endpoint.created_at,
        })
    }

    pub(super) fn of_file(webhook: &StaticWebhook) -> Self {
        Self {
            id: static_endpoint_id(&webhook.name, webhook.url.as_str()),
            url: webhook.url.clone(),
            reach: reach_of_file(webhook),
            event_types: event_types_of_file(webhook),
            created_at: 0,
            secret: Some(webhook.secret.clone()),
            old_secret: None,
        }
    }

    /// Whether it is told of an event.
    pub(super) fn wants(&self, event: &WebhookEvent, owner: &Owner) -> bool {
        self.event_types.contains(&event.event_type)
            && event.at.saturating_add(CLOCKS_DIFFER_MS) >= self.created_at
            && self.reach.covers(owner)
    }

    /// What is posted, signed at this time in milliseconds. `None`: there is nothing to sign it with.
    pub(super) fn message(
        &self,
        event: &WebhookEvent,
        id: &str,
        now: u64,
    ) -> Option<([(HeaderName, String); 3], Bytes)> {
        let (secret, body) = (self.secret.clone()?, body(event));
        let old = self.old_secret.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret.clone());
        let secrets: Vec<_> = std::iter::once(secret).chain(old).collect();
        Some((signature::headers(id, now / 1000, &body, &secrets), body))
    }

    /// Its host, for log lines: the rest of an address may be a secret.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

impl Reach {
    /// Whether an owner's replies are among them.
    pub(crate) fn covers(&self, owner: &Owner) -> bool {
        match self {
            Self::Owner(own) => own == owner,
            Self::Tenant(own) => !own.is_anonymous() && own.tenant_owner() == owner.tenant_owner(),
            Self::Everybody => true,
        }
    }
}

/// Whose replies an endpoint of the file is told of.
pub(super) fn reach_of_file(webhook: &StaticWebhook) -> Reach {
    match (&webhook.tenant, &webhook.user) {
        (Some(tenant), Some(user)) => Reach::Owner(Owner::new(tenant, Some(user))),
        (Some(tenant), None) => Reach::Tenant(Owner::new(tenant, None)),
        (None, _) => Reach::Everybody,
    }
}

/// What an endpoint of the file is told of.
pub(super) fn event_types_of_file(webhook: &StaticWebhook) -> Vec<EventType> {
    webhook.event_types.iter().filter_map(|one| one.parse().ok()).collect()
}

/// The body, as OpenAI has it: ids, and no text of the reply.
fn body(event: &WebhookEvent) -> Bytes {
    #[derive(Serialize)]
    struct Body {
        id: String,
        object: &'static str,
        created_at: u64,
        r#type: EventType,
        data: Data,
    }
    #[derive(Serialize)]
    struct Data {
        id: ReplyId,
    }
    let body = Body {
        id: event.id(),
        object: "event",
        created_at: event.at / 1000,
        r#type: event.event_type,
        data: Data { id: event.reply },
    };
    serde_json::to_vec(&body).expect("ids are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::super::secrets::tests::secrets;
    use super::*;
    use crate::domain::ids::ThreadId;

    fn event(at: u64) -> WebhookEvent {
        WebhookEvent { event_type: EventType::Completed, reply: ReplyId::random(ThreadId::random()), at }
    }

    fn endpoint(owner: Owner, whole_tenant: bool) -> Endpoint {
        Endpoint {
            id: "whe_1".to_owned(),
            owner,
            whole_tenant,
            created_at: 1_000_000,
            updated_at: 1_000_000,
            version: 1,
            name: "x".to_owned(),
            url: "https://hook.example/?key=k".to_owned(),
            event_types: vec![EventType::Completed],
            secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            old_secret: Some((Secret::new("old"), 2_000_000)),
        }
    }

    #[test]
    fn an_endpoint_is_told_of_what_its_owner_reaches_and_nothing_from_before() {
        let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
        let (acme, other) = (Owner::new("acme", None), Owner::new("other", Some("alice")));
        let told = |owner: &Owner, whole, at| {
            let target = Target::of(&endpoint(owner.clone(), whole), &secrets(None)).unwrap();
            [&alice, &bob, &acme, &other, &Owner::anonymous()].map(|owner| target.wants(&event(at), owner))
        };
        assert_eq!(told(&alice, false, 1_000_000), [true, false, false, false, false]);
        assert_eq!(told(&acme, false, 1_000_000), [false, false, true, false, false]);
        assert_eq!(told(&acme, true, 1_000_000), [true, true, true, false, false]);
        assert_eq!(told(&Owner::anonymous(), true, 1_000_000), [false; 5], "nobody's tenant is nobody's");
        assert!(told(&Owner::anonymous(), false, 1_000_000)[4]);
        assert!(told(&alice, false, 1_000_000 - CLOCKS_DIFFER_MS)[0]);
        assert!(!told(&alice, false, 1_000_000 - CLOCKS_DIFFER_MS - 1)[0]);
        let target = Target::of(&endpoint(alice.clone(), false), &secrets(None)).unwrap();
        assert!(!target.wants(&WebhookEvent { event_type: EventType::Failed, ..event(1_000_000) }, &alice));
    }

    #[test]
    fn a_message_has_ids_only_and_the_old_secret_signs_until_its_end() {
        let target = Target::of(&endpoint(Owner::anonymous(), false), &secrets(None)).unwrap();
        let event = event(1_999_999);
        let (headers, body) = target.message(&event, "wh_1", 1_999_999).unwrap();
        assert_eq!(headers[2].1.split(' ').count(), 2);
        assert_eq!(target.message(&event, "wh_1", 2_000_000).unwrap().0[2].1.split(' ').count(), 1);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "id": event.id(), "object": "event", "created_at": 1999, "type": "response.completed",
            "data": {"id": event.reply},
        });
        assert_eq!(body, expected);
    }
}
