//! stub
#![allow(missing_docs)]
use crate::log::Log;
use crate::store::{self, Batch, Position, Record, Store};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
#[derive(Default)]
pub struct Lag;
pub struct Projection {
    log: Log,
    store: Store,
    lag: Arc<Lag>,
}
impl Projection {
    pub fn new(log: Log, store: Store) -> Self {
        Self { log, store, lag: Arc::default() }
    }
    pub fn lag(&self) -> Arc<Lag> {
        self.lag.clone()
    }
    pub async fn run(self, stop: CancellationToken) {
        let mut expected = self.store.position(0).await.unwrap();
        loop {
            let after = expected.as_ref().map_or(0, |p| p.position);
            tokio::select! {()=self.log.wait_after(after)=>{},()=stop.cancelled()=>return}
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let r = self.log.scan(after, 512).await.unwrap();
            let Some(l) = r.last() else { continue };
            let position =
                Position { identity: self.log.identity().id, position: l.position, last_record: String::new() };
            let records = r.iter().map(|s| Record { thread: s.thread, payload: s.record.payload.clone() }).collect();
            self.store
                .apply(&Batch { shard: 0, expected: expected.clone(), position: position.clone(), records })
                .await
                .unwrap();
            expected = Some(position);
            let _: Option<store::Error> = None;
        }
    }
}
