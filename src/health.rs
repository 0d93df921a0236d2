//! stub
#![allow(missing_docs)]
use crate::*;
use std::sync::Arc;
pub struct Health(Arc<telemetry::Metrics>);
impl Health {
    pub fn new(_: log::Log, _: Arc<projection::Lag>, _: upstream::Upstream, m: Arc<telemetry::Metrics>) -> Self {
        Self(m)
    }
    pub fn drain(&self) {}
}
impl http::Health for Health {
    fn unready(&self) -> Option<String> {
        None
    }
    fn report(&self) -> futures_util::future::BoxFuture<'static, serde_json::Value> {
        Box::pin(async { serde_json::json!({}) })
    }
    fn metrics(&self) -> String {
        self.0.expose(&Default::default())
    }
}
