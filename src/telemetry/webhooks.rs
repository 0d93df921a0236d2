//! Instruments of webhooks.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::instruments::Histogram;

/// So many endpoints have figures of their own: those that fail, for the longest time first.
const MOST: usize = 100;

/// Instruments of webhooks.
#[derive(Debug)]
pub(crate) struct WebhookMetrics {
    tries: Family<[(&'static str, &'static str); 1], Counter>,
    lag: Histogram<Duration>,
    carries: Gauge,
    endpoints: Family<[(&'static str, &'static str); 1], Gauge>,
    pending: Gauge,
    waiting: Gauge<f64, std::sync::atomic::AtomicU64>,
    endpoint_pending: Family<[(&'static str, String); 1], Gauge>,
    endpoint_failing: Family<[(&'static str, String); 1], Gauge<f64, std::sync::atomic::AtomicU64>>,
}

/// How deliveries are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedWebhooks {
    /// Whether this instance delivers.
    pub(crate) delivers: bool,
    /// Endpoints, where it does.
    pub(crate) endpoints: Vec<ObservedEndpoint>,
    /// For how long they have been waiting for the log or the store; zero: they do not.
    pub(crate) waiting: Duration,
}

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedEndpoint {
    /// Its id.
    pub(crate) endpoint: String,
    /// Deliveries that wait for it.
    pub(crate) pending: u64,
    /// For how long it takes nothing.
    pub(crate) failing: Option<Duration>,
    /// It said that it is gone for good.
    pub(crate) is_ended: bool,
}

impl WebhookMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            tries: Family::default(),
            lag: lags(),
            carries: Gauge::default(),
            endpoints: Family::default(),
            pending: Gauge::default(),
            waiting: Gauge::default(),
            endpoint_pending: Family::default(),
            endpoint_failing: Family::default(),
        };
        registry.register(
            "webhook_deliveries",
            "Tries of webhooks: delivered, failed, or given up",
            metrics.tries.clone(),
        );
        registry.register(
            "webhook_delivery_seconds",
            "From the end of a reply to the answer of an endpoint that took it",
            metrics.lag.clone(),
        );
        registry.register("webhook_carrier", "1 when this instance delivers webhooks", metrics.carries.clone());
        // They are there before the first one is counted, so that it is seen to rise.
        for outcome in ["delivered", "failed", "given_up"] {
            metrics.tries.get_or_create(&[("outcome", outcome)]).inc_by(0);
        }
        let help = "Endpoints of webhooks, where this instance delivers: ok, failing, or ended";
        registry.register("webhook_endpoints", help, metrics.endpoints.clone());
        registry.register("webhook_pending", "Webhooks that wait for another try", metrics.pending.clone());
        let help = "For how long ends of replies cannot be read, or deliveries not be noted: log or store are away";
        registry.register("webhook_waiting_seconds", help, metrics.waiting.clone());
        let help = "Webhooks that wait for another try, of endpoints that fail";
        registry.register("webhook_endpoint_pending", help, metrics.endpoint_pending.clone());
        let help = "For how long an endpoint takes no webhook";
        registry.register("webhook_endpoint_failing_seconds", help, metrics.endpoint_failing.clone());
        metrics
    }

    /// An endpoint took an event, so long after the reply had ended.
    pub(crate) fn delivered(&self, lag: Duration) {
        self.tries.get_or_create(&[("outcome", "delivered")]).inc();
        self.lag.observe(lag);
    }

    /// An endpoint did not take an event.
    pub(crate) fn failed(&self) {
        self.tries.get_or_create(&[("outcome", "failed")]).inc();
    }

    /// Events are not tried any more.
    pub(crate) fn given_up(&self, count: u64) {
        self.tries.get_or_create(&[("outcome", "given_up")]).inc_by(count);
    }

    /// Whether this instance delivers.
    pub(crate) fn carries(&self, carries: bool) {
        self.carries.set(carries.into());
    }

    pub(super) fn observe(&self, observed: &ObservedWebhooks) {
        let is = |one: &ObservedEndpoint, state| {
            state
                == if one.is_ended {
                    "ended"
                } else if one.failing.is_some() {
                    "failing"
                } else {
                    "ok"
                }
        };
        for state in ["ok", "failing", "ended"] {
            let count = observed.endpoints.iter().filter(|one| is(one, state)).count();
            self.endpoints.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.pending.set(number(observed.endpoints.iter().map(|one| one.pending).sum()));
        self.waiting.set(observed.waiting.as_secs_f64());
        let mut failing: Vec<_> = observed.endpoints.iter().filter(|one| is(one, "failing")).collect();
        failing.sort_by_key(|one| std::cmp::Reverse(one.failing));
        self.endpoint_pending.clear();
        self.endpoint_failing.clear();
        for one in failing.into_iter().take(MOST) {
            let label = [("endpoint", one.endpoint.clone())];
            self.endpoint_pending.get_or_create(&label).set(number(one.pending));
            self.endpoint_failing.get_or_create(&label).set(one.failing.unwrap_or_default().as_secs_f64());
        }
    }
}

/// From milliseconds to three days.
fn lags() -> Histogram<Duration> {
    let millis =
        [5, 10, 25, 50, 100, 250, 400, 1_000, 2_500, 10_000, 60_000, 600_000, 3_600_000, 86_400_000, 259_200_000];
    Histogram::new(millis.map(Duration::from_millis))
}
