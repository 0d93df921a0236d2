//! Endpoints as callers make, see and change them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use url::Url;

use super::client::{Answer, Client};
use super::secrets::{SEALED_ELSEWHERE, Secrets};
use super::signature;
use super::target::{Reach, Target, event_types_of_file, reach_of_file};
use crate::config::StaticWebhook;
use crate::config::values::Secret;
use crate::domain::caller::{Caller, Scope};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::webhook::{EventType, WebhookEvent, new_endpoint_id, static_endpoint_id};
use crate::log::now_ms;
use crate::store::webhooks::{Counts, Delivery, Endpoint, EndpointState};
use crate::store::{self, Store, Whose};
use crate::telemetry::AUDIT;

/// The most endpoints of one owner.
const MOST: u64 = 100;
/// How long an old secret signs beside a new one, where that is wanted.
const OLD_SECRET: Duration = Duration::from_hours(24);
/// How long the store is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a change is made again that another one was quicker than.
const CHANGES: usize = 5;
/// The longest URL, in bytes.
const LONGEST_URL: usize = 2048;

/// All that callers ask for. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhooks(Arc<Inner>);

struct Inner {
    /// `None`: there is none that instances share.
    store: Option<Store>,
    client: Client,
    of_file: Vec<StaticWebhook>,
    changed: Arc<Notify>,
    secrets: Secrets,
}

/// A new endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct New {
    /// What people call it.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: String,
    /// What it is told of.
    pub(crate) event_types: Vec<EventType>,
}

/// What is changed of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What people call it.
    pub(crate) name: Option<String>,
    /// Its address.
    pub(crate) url: Option<String>,
    /// What it is told of.
    pub(crate) event_types: Option<Vec<EventType>>,
}

/// An endpoint as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its id.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: String,
    /// What it is told of.
    pub(crate) event_types: Vec<EventType>,
    /// When it was made, in milliseconds of Unix time.
    pub(crate) created_at: u64,
    /// When it was changed last.
    pub(crate) updated_at: u64,
    /// The end of its secret.
    pub(crate) hint: String,
    /// Its secret, when it is new.
    pub(crate) secret: Option<Secret>,
    /// Whose replies it is told of.
    pub(crate) reach: Reach,
    /// It stands in the configuration's file.
    pub(crate) is_of_file: bool,
}

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    /// How it answered.
    pub(crate) state: EndpointState,
    /// What waits for it.
    pub(crate) counts: Counts,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Which {
    /// The most of them.
    pub(crate) limit: u64,
    /// Those after this one.
    pub(crate) after: Option<String>,
    /// Only those that were given up, or only those that were not.
    pub(crate) given_up: Option<bool>,
}

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such endpoint, or it is somebody else's.
    #[error("webhook endpoint '{0}' not found")]
    NotFound(String),
    /// It is set by the configuration's file.
    #[error("the endpoint is set in the server's configuration, and changed there")]
    OfFile,
    /// Its owner has as many as there may be.
    #[error("there are {MOST} webhook endpoints already")]
    TooMany,
    /// The address may not be called.
    #[error("{0}")]
    Url(&'static str),
    /// The endpoint did not answer.
    #[error("the endpoint did not answer: {0}")]
    NoAnswer(String),
    /// Instances have no store that they share.
    #[error("the instances of this server share no store")]
    NoSharedStore,
    /// Others change it at the same time, again and again.
    #[error("too many concurrent changes to this endpoint")]
    Contended,
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It does not answer in time.
    #[error("the store does not answer")]
    Late,
}

impl Webhooks {
    pub(super) fn new(
        store: Option<Store>,
        client: Client,
        of_file: Vec<StaticWebhook>,
        changed: Arc<Notify>,
        secrets: Secrets,
    ) -> Self {
        Self(Arc::new(Inner { store, client, of_file, changed, secrets }))
    }

    /// Makes an endpoint, which belongs to its caller. Its secret is shown this once.
    pub(crate) async fn create(&self, caller: &Caller, new: New) -> Result<Shown, Error> {
        let store = self.store()?;
        self.check_url(&new.url)?;
        let (now, secret) = (now_ms(), signature::new_secret());
        let endpoint = Endpoint {
            id: new_endpoint_id(),
            owner: caller.owner().clone(),
            whole_tenant: caller.scopes().has(Scope::Tenant) && !caller.owner().is_anonymous(),
            created_at: now,
            updated_at: now,
            version: 1,
            name: new.name,
            url: new.url,
            event_types: new.event_types,
            secret: self.0.secrets.seal(caller.owner(), &secret),
            old_secret: None,
        };
        if !in_time(store.insert_webhook_endpoint(&endpoint, MOST)).await? {
            return Err(Error::TooMany);
        }
        if !Secrets::is_sealed(&endpoint.secret) {
            tracing::warn!(
                endpoint = endpoint.id,
                "SECRET_KEY is not set: the secret of a webhook endpoint stands in the store as it is"
            );
        }
        self.changed(caller, "created", &endpoint.id);
        Ok(Shown { secret: Some(secret), ..self.shown(&endpoint) })
    }

    /// The endpoints that a caller may see, oldest first; those of the file stand first.
    pub(crate) async fn list(&self, caller: &Caller) -> Result<Vec<Shown>, Error> {
        let owner = caller.owner().clone();
        let whose = if caller.scopes().has(Scope::Tenant) { Whose::Tenant(owner) } else { Whose::Own(owner) };
        let made = in_time(self.store()?.webhook_endpoints_of(&whose)).await?;
        let of_file = self.0.of_file.iter().filter(|webhook| may_see(caller, webhook)).map(Shown::of_file);
        Ok(of_file.chain(made.iter().map(|endpoint| self.shown(endpoint))).collect())
    }

    /// An endpoint, and how it is.
    pub(crate) async fn get(&self, caller: &Caller, id: &str) -> Result<(Shown, Answered), Error> {
        let shown = self.find(caller, id).await?;
        let store = self.store()?;
        let answered = async {
            let (state, counts) = (store.webhook_state(id).await?, store.count_webhook_deliveries(id).await?);
            Ok(Answered { state, counts })
        };
        Ok((shown, in_time(answered).await?))
    }

    /// Changes an endpoint. One that had ended is told again.
    pub(crate) async fn update(&self, caller: &Caller, id: &str, changes: Changes) -> Result<Shown, Error> {
        if let Some(url) = &changes.url {
            self.check_url(url)?;
        }
        let endpoint = self
            .change(caller, id, |endpoint| {
                let before = endpoint.clone();
                endpoint.name = changes.name.clone().unwrap_or_else(|| before.name.clone());
                endpoint.url = changes.url.clone().unwrap_or_else(|| before.url.clone());
                endpoint.event_types = changes.event_types.clone().unwrap_or_else(|| before.event_types.clone());
                if *endpoint != before {
                    endpoint.updated_at = now_ms();
                }
            })
            .await?;
        in_time(self.store()?.revive_webhook_endpoint(id)).await?;
        self.changed(caller, "changed", id);
        Ok(self.shown(&endpoint))
    }

    /// Deletes an endpoint, with what waits for it.
    pub(crate) async fn delete(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.own(caller, id).await?;
        if !in_time(self.store()?.delete_webhook_endpoint(id)).await? {
            return Err(Error::NotFound(id.to_owned()));
        }
        // (The edge notes who deleted it.)
        self.0.changed.notify_one();
        Ok(())
    }

    /// Gives an endpoint another secret, which is shown this once. The old one signs beside it for a day, if that is wanted.
    pub(crate) async fn rotate_secret(&self, caller: &Caller, id: &str, keeps_old: bool) -> Result<Shown, Error> {
        let secret = signature::new_secret();
        let changed = self
            .change(caller, id, |endpoint| {
                let sealed = self.0.secrets.seal(&endpoint.owner, &secret);
                let old = std::mem::replace(&mut endpoint.secret, sealed);
                let now = now_ms();
                endpoint.old_secret =
                    keeps_old.then(|| (old, now + u64::try_from(OLD_SECRET.as_millis()).unwrap_or(0)));
                endpoint.updated_at = now;
            })
            .await?;
        self.changed(caller, "given another secret", id);
        Ok(Shown { secret: Some(secret), ..self.shown(&changed) })
    }

    /// Sends an endpoint an event of a reply that never was. Gives the status of its answer.
    pub(crate) async fn test(&self, caller: &Caller, id: &str, event_type: EventType) -> Result<u16, Error> {
        self.find(caller, id).await?;
        let target = match self.of_file(id) {
            Some(webhook) => Target::of_file(webhook),
            None => {
                Target::of(&self.own(caller, id).await?, &self.0.secrets).ok_or(Error::Url("the address is no URL"))?
            }
        };
        let reply = ReplyId::random(ThreadId::random());
        let event = WebhookEvent { event_type, reply, at: now_ms() };
        let message = target.message(&event, &event.delivery_id(id), event.at);
        let (headers, body) = message.ok_or_else(|| Error::NoAnswer(SEALED_ELSEWHERE.to_owned()))?;
        match self.0.client.post(&target.url, &headers, body).await {
            Answer::Taken(status) | Answer::Refused(status, _) => Ok(status),
            Answer::Gone => Ok(410),
            Answer::Failed(why) => Err(Error::NoAnswer(why)),
        }
    }

    /// What an endpoint did not take yet, or was given up, the newest first; and whether there is more.
    pub(crate) async fn deliveries(
        &self,
        caller: &Caller,
        id: &str,
        which: &Which,
    ) -> Result<(Vec<Delivery>, bool), Error> {
        self.find(caller, id).await?;
        let Which { limit, after, given_up } = which;
        let listing = self.store()?.webhook_deliveries(id, after.as_deref(), *given_up, limit + 1);
        let mut found = in_time(listing).await?;
        let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        Ok((found, has_more))
    }

    /// Has what was given up be sent again: one delivery, or all. Gives how many.
    pub(crate) async fn resend(&self, caller: &Caller, id: &str, delivery: Option<&str>) -> Result<u64, Error> {
        self.find(caller, id).await?;
        let count = in_time(self.store()?.resend_webhook_deliveries(id, delivery, now_ms())).await?;
        self.changed(caller, "to be sent again what was given up", id);
        Ok(count)
    }

    /// An endpoint that a caller may see.
    async fn find(&self, caller: &Caller, id: &str) -> Result<Shown, Error> {
        match self.of_file(id) {
            Some(webhook) if may_see(caller, webhook) => Ok(Shown::of_file(webhook)),
            Some(_) => Err(Error::NotFound(id.to_owned())),
            None => Ok(self.shown(&self.own(caller, id).await?)),
        }
    }

    /// An endpoint that a caller may change.
    async fn own(&self, caller: &Caller, id: &str) -> Result<Endpoint, Error> {
        if self.of_file(id).is_some_and(|webhook| may_see(caller, webhook)) {
            return Err(Error::OfFile);
        }
        let found = in_time(self.store()?.webhook_endpoint(id)).await?;
        found.filter(|found| caller.may_reach(&found.owner)).ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    fn of_file(&self, id: &str) -> Option<&StaticWebhook> {
        self.0.of_file.iter().find(|webhook| static_endpoint_id(&webhook.name, webhook.url.as_str()) == id)
    }

    async fn change(&self, caller: &Caller, id: &str, change: impl Fn(&mut Endpoint)) -> Result<Endpoint, Error> {
        for _ in 0..CHANGES {
            let mut endpoint = self.own(caller, id).await?;
            change(&mut endpoint);
            let Endpoint { owner, secret, old_secret, .. } = &mut endpoint;
            for stored in std::iter::once(secret).chain(old_secret.as_mut().map(|(old, _)| old)) {
                self.0.secrets.seal_plain(owner, stored);
            }
            if in_time(self.store()?.update_webhook_endpoint(&endpoint)).await? {
                return Ok(endpoint);
            }
        }
        Err(Error::Contended)
    }

    fn changed(&self, caller: &Caller, what: &'static str, endpoint: &str) {
        tracing::info!(
            target: AUDIT, owner = %caller.owner(), key = caller.key(), endpoint, what, "webhook endpoint"
        );
        self.0.changed.notify_one();
    }

    fn shown(&self, endpoint: &Endpoint) -> Shown {
        Shown::of(endpoint, self.0.secrets.open(&endpoint.owner, &endpoint.secret).as_ref())
    }

    fn store(&self) -> Result<&Store, Error> {
        self.0.store.as_ref().ok_or(Error::NoSharedStore)
    }

    /// Whether an address may be one of an endpoint. What a name stands for is looked at when it is called.
    fn check_url(&self, text: &str) -> Result<(), Error> {
        if text.len() > LONGEST_URL {
            return Err(Error::Url("it is longer than 2048 bytes."));
        }
        let url: Url = text.parse().map_err(|_| Error::Url("expected an address such as https://example.com/hook."))?;
        let guard = self.0.client.guard();
        match url.scheme() {
            "https" => {}
            "http" if guard.allows_private() => {}
            _ => return Err(Error::Url("expected an address that begins with https://.")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(Error::Url("expected an address without a user, a password and a fragment."));
        }
        guard.check(&url).map_err(|_| Error::Url("the address is not one of the public internet."))
    }
}

impl Shown {
    fn of(endpoint: &Endpoint, secret: Option<&Secret>) -> Self {
        let owner = endpoint.owner.clone();
        Self {
            id: endpoint.id.clone(),
            name: endpoint.name.clone(),
            url: endpoint.url.clone(),
            event_types: endpoint.event_types.clone(),
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
            hint: secret.map_or_else(|| "…".to_owned(), signature::hint),
            secret: None,
            reach: if endpoint.whole_tenant { Reach::Tenant(owner) } else { Reach::Owner(owner) },
            is_of_file: false,
        }
    }

    fn of_file(webhook: &StaticWebhook) -> Self {
        Self {
            id: static_endpoint_id(&webhook.name, webhook.url.as_str()),
            name: webhook.name.clone(),
            url: webhook.url.to_string(),
            event_types: event_types_of_file(webhook),
            created_at: 0,
            updated_at: 0,
            hint: signature::hint(&webhook.secret),
            secret: None,
            reach: reach_of_file(webhook),
            is_of_file: true,
        }
    }
}

/// Whether an endpoint of the file is a caller's: it is told of their replies alone, of those of their tenant, or of all.
fn may_see(caller: &Caller, webhook: &StaticWebhook) -> bool {
    match reach_of_file(webhook) {
        Reach::Owner(owner) => caller.may_reach(&owner),
        Reach::Tenant(owner) => caller.scopes().has(Scope::Tenant) && caller.may_reach(&owner),
        Reach::Everybody => caller.scopes().has(Scope::Admin),
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, store::Error>>) -> Result<T, Error> {
    Ok(tokio::time::timeout(TIMEOUT, asked).await.map_err(|_| Error::Late)??)
}
