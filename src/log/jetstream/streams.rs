//! The streams that the log needs in NATS: made when they are missing, checked when they are not.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZeroU32;

use async_nats::Client;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{self, DiscardPolicy, Republish, StorageType};
use async_nats::jetstream::{self, Context};

use super::connect::{Config, Connections, OpenError, shown};
use super::names::{self, Names, STORED};
use crate::log::Position;
use crate::telemetry::causes::chain;

/// Says on the first stream how many shards the log was made with. A log without it has one.
const SHARDS: &str = "rejoinder-shards";

/// A shard's transcript, as it is found.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Tells it from one that was made anew.
    pub(super) identity: String,
    /// The place of its last record.
    pub(super) last: Position,
}

/// Makes the streams that are not there, and brings those that are up to the configuration. Gives the blobs'
/// bucket, and each shard's transcript.
pub(super) async fn make(
    connections: &Connections,
    config: &Config,
    names: &Names,
) -> Result<(ObjectStore, Vec<Transcript>), OpenError> {
    let context = jetstream::new(Client::clone(&connections.append));
    if context.query_account().await.is_err() {
        return Err(OpenError::NoJetStream { url: shown(&config.url) });
    }
    if let Some(made_with) = shards(&context).await
        && made_with != config.shards
    {
        return Err(OpenError::Shards { made_with, wanted: config.shards });
    }
    let mut transcripts = Vec::new();
    for (shard, name) in names.all() {
        let info = make_one(&context, transcript(config, shard, &name.transcript)).await?;
        let identity = info.created.unix_timestamp_nanos().to_string();
        transcripts.push(Transcript { identity, last: info.state.last_sequence });
        let chain = base(config, &name.chain, names::all_chains(shard));
        make_one(&context, stream::Config { max_age: config.replay_window, republish: Some(republish()), ..chain })
            .await?;
        let snapshot = base(config, &name.snapshot, names::all_snapshots(shard));
        make_one(&context, stream::Config { max_messages_per_subject: 1, ..snapshot }).await?;
    }
    let tickets = base(config, names::TICKETS_STREAM, format!("{}.*", names::TICKETS));
    make_one(&context, stream::Config { allow_rollup: true, ..tickets }).await?;
    Ok((make_bucket(&context, config).await?, transcripts))
}

/// How many shards the log that is there was made with. `None`: there is none yet.
pub(super) async fn shards(context: &Context) -> Option<NonZeroU32> {
    let first = context.get_stream(&Names::new(NonZeroU32::MIN).of(0).transcript).await.ok()?;
    let said = first.cached_info().config.metadata.get(SHARDS).and_then(|said| said.parse().ok());
    Some(said.unwrap_or(NonZeroU32::MIN))
}

async fn make_one(context: &Context, wanted: stream::Config) -> Result<stream::Info, OpenError> {
    let name = wanted.name.clone();
    context.create_or_update_stream(wanted).await.map_err(|error| failed(&name, &error))
}

async fn make_bucket(context: &Context, config: &Config) -> Result<ObjectStore, OpenError> {
    if let Ok(store) = context.get_object_store(names::BLOBS).await {
        return Ok(store);
    }
    let wanted = jetstream::object_store::Config {
        bucket: names::BLOBS.to_owned(),
        max_age: config.retention,
        num_replicas: config.replicas,
        ..Default::default()
    };
    context.create_object_store(wanted).await.map_err(|error| failed(names::BLOBS, &error))
}

fn failed(stream: &str, error: &dyn Error) -> OpenError {
    OpenError::Stream { stream: stream.to_owned(), reason: chain(error) }
}

fn transcript(config: &Config, shard: crate::log::Shard, name: &str) -> stream::Config {
    let metadata = match shard {
        0 => HashMap::from([(SHARDS.to_owned(), config.shards.to_string())]),
        _ => HashMap::new(),
    };
    let all = names::all_transcripts(shard);
    stream::Config { republish: Some(republish()), metadata, ..base(config, name, all) }
}

/// What all streams have in common.
fn base(config: &Config, name: &str, subjects: String) -> stream::Config {
    let shards = u64::from(config.shards.get());
    let max_bytes = config.max_bytes.and_then(|bytes| i64::try_from(bytes / shards).ok());
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects],
        max_age: config.retention,
        num_replicas: config.replicas,
        storage: StorageType::File,
        // What is new is refused rather than what is old dropped.
        discard: DiscardPolicy::New,
        max_bytes: max_bytes.unwrap_or(-1),
        allow_direct: true,
        // Message ids are not used: fences tell what was written.
        duplicate_window: std::time::Duration::from_millis(100),
        ..Default::default()
    }
}

/// What is stored is told again.
fn republish() -> Republish {
    Republish { source: ">".to_owned(), destination: format!("{STORED}.>"), headers_only: false }
}
