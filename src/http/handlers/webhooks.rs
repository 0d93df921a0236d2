//! `/v1/webhook_endpoints`: where ends of replies are posted to.

use hyper::Request;
use hyper::body::Incoming;

use crate::domain::caller::Caller;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::respond::{self, Answer};
use crate::protocols::lists::{self, List};
use crate::protocols::query::ListQuery;
use crate::protocols::webhooks::{self, DeletedEndpoint, Endpoint, EventTypes, Resent, Tested, WebhookDelivery};

impl Edge {
    pub(in crate::http) async fn create_webhook_endpoint(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let new = webhooks::parse_new(&self.json_body(request).await?)?;
        Ok(respond::json(&Endpoint::new(self.inner.webhooks.create(caller, new).await?, None)))
    }

    pub(in crate::http) async fn list_webhook_endpoints(
        &self,
        caller: &Caller,
        query: Option<&str>,
    ) -> Result<Answer, Failure> {
        let query = ListQuery::parse(query)?;
        let all = self.inner.webhooks.list(caller).await?;
        let all = all.into_iter().map(|shown| Endpoint::new(shown, None)).collect();
        Ok(respond::json(&lists::page(all, &query)?))
    }

    pub(in crate::http) async fn get_webhook_endpoint(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let (shown, answered) = self.inner.webhooks.get(caller, id).await?;
        Ok(respond::json(&Endpoint::new(shown, Some(answered))))
    }

    pub(in crate::http) async fn update_webhook_endpoint(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let changes = webhooks::parse_changes(&self.json_body(request).await?)?;
        Ok(respond::json(&Endpoint::new(self.inner.webhooks.update(caller, id, changes).await?, None)))
    }

    pub(in crate::http) async fn delete_webhook_endpoint(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        self.inner.webhooks.delete(caller, id).await?;
        Ok(respond::json(&DeletedEndpoint::new(id)))
    }

    pub(in crate::http) async fn rotate_webhook_secret(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let keeps_old = webhooks::parse_rotate(&self.json_body(request).await?)?;
        Ok(respond::json(&Endpoint::new(self.inner.webhooks.rotate_secret(caller, id, keeps_old).await?, None)))
    }

    pub(in crate::http) async fn test_webhook_endpoint(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let event_type = webhooks::parse_test(&self.json_body(request).await?)?;
        let status = self.inner.webhooks.test(caller, id, event_type).await?;
        Ok(respond::json(&Tested::new(id, event_type, status)))
    }

    /// What an endpoint did not take yet, or was given up.
    pub(in crate::http) async fn list_webhook_deliveries(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
    ) -> Result<Answer, Failure> {
        let which = webhooks::parse_which(query)?;
        let (found, has_more) = self.inner.webhooks.deliveries(caller, id, &which).await?;
        Ok(respond::json(&List::new(found.into_iter().map(WebhookDelivery::from).collect(), has_more)))
    }

    pub(in crate::http) async fn resend_webhook_deliveries(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let delivery = webhooks::parse_resend(&self.json_body(request).await?)?;
        let count = self.inner.webhooks.resend(caller, id, delivery.as_deref()).await?;
        Ok(respond::json(&Resent::new(id, count)))
    }

    #[expect(clippy::unused_self, reason = "as all handlers")]
    pub(in crate::http) fn list_webhook_event_types(&self) -> Answer {
        respond::json(&EventTypes::ALL)
    }
}
