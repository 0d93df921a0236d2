//! Who is told of the ends of replies by webhooks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rejoinder::simulation::{Dice, Fault, Hook};
use serde_json::Value;

use crate::checker::Checker;

/// Takes what is posted, or refuses it.
pub(crate) struct Listener {
    pub(crate) dice: Arc<Dice>,
    pub(crate) checker: Arc<Checker>,
}

impl Hook for Listener {
    fn called(&self, headers: HashMap<&str, &str>, body: &[u8]) -> (Duration, Option<u16>) {
        let event: Value = serde_json::from_slice(body).unwrap_or_default();
        let reply = event["data"]["id"].as_str().unwrap_or_default();
        let fails = self.dice.strikes(Fault::WebhookFails);
        self.checker.notified(reply, headers.get("webhook-id").copied().unwrap_or_default(), !fails);
        let status = match (fails, self.dice.percent(50)) {
            (false, _) => Some(200),
            (true, true) => Some(500),
            (true, false) => None,
        };
        (self.dice.millis(1..300), status)
    }
}
