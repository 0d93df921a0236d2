//! A look at the NATS servers by somebody who does not want to keep a log there: nothing is made.

use std::num::NonZeroU32;

use async_nats::jetstream;

use super::connect::{self, Config, OpenError};
use super::streams;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the server that answered.
    pub version: String,
    /// How many servers of its cluster it told of, itself included.
    pub servers: usize,
    /// How many shards the log that is there has. `None`: there is none, and it would be made.
    pub shards: Option<NonZeroU32>,
}

/// Looks whether a log could be kept there.
pub async fn inspect(config: &Config) -> Result<Inspection, OpenError> {
    let connections = connect::connect(config).await?;
    let context = jetstream::new(connections.read.clone());
    if context.query_account().await.is_err() {
        return Err(OpenError::NoJetStream { url: config.shown() });
    }
    let shards = streams::shards(&context).await;
    let info = connections.read.server_info();
    Ok(Inspection { version: info.version, servers: info.connect_urls.len().max(1), shards })
}
