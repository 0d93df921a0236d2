//! The streams that the log needs in NATS: made when they are missing, brought up to the configuration when they are not.
//! Where that is not for us to do, what an operator made is used, if the log can live on it.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::account::{Account, Limits};
use async_nats::jetstream::context::{Context, CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{self, DiscardPolicy, Republish, StorageType};

use super::connect::{Config, Connections, Denied};
use super::fit::{differences, faults};
use super::names::{self, Names, STORED};
use super::open_error::OpenError;
use crate::log::Position;
use crate::telemetry::causes::chain;

/// The number of shards that the log was made with, on the first stream. A log without it has one.
pub(super) const SHARDS: &str = "rejoinder-shards";

/// For this long pieces outlive the records that name them: longer than it takes to write one.
const LONGER: Duration = Duration::from_mins(10);

/// A shard's transcript, as it is found.
#[derive(Debug)]
pub(super) struct Transcript {
    /// Distinguishes it from one that was made anew.
    pub(super) identity: String,
    /// The place of its last record.
    pub(super) last: Position,
}

/// Makes the streams of a log, or brings them up to the configuration, without opening it.
pub async fn prepare(config: &Config) -> Result<(), OpenError> {
    let connections = super::connect::connect(config).await?;
    make(&connections, config, &Names::new(config.shards)).await.map(|_| ())
}

/// Makes the streams that are not there, and brings those that are up to the configuration. Returns the blobs'
/// bucket, and each shard's transcript.
pub(super) async fn make(
    connections: &Connections,
    config: &Config,
    names: &Names,
) -> Result<(ObjectStore, Vec<Transcript>), OpenError> {
    let (context, denied) = (config.context(&connections.append), &connections.denied);
    account(&context, denied, config).await?;
    check_shards(&context, denied, config).await?;
    let mut transcripts = Vec::new();
    for wanted in all(config, names) {
        let is_transcript = wanted.subjects.iter().any(|subject| names::is_all_transcripts(subject));
        let info = have(&context, denied, wanted).await?;
        if is_transcript {
            let identity = info.created.unix_timestamp_nanos().to_string();
            transcripts.push(Transcript { identity, last: info.state.last_sequence });
        }
    }
    let bucket = context.get_object_store(names::BLOBS).await;
    Ok((bucket.map_err(|error| failed(names::BLOBS, &error))?, transcripts))
}

/// The account's limits and what of them is used. `None`: we may not ask.
pub(super) async fn account(context: &Context, denied: &Denied, config: &Config) -> Result<Option<Account>, OpenError> {
    denied.take();
    match context.query_account().await {
        Ok(account) => Ok(Some(account)),
        Err(_) if denied.take().is_some() => Ok(None),
        Err(_) => Err(OpenError::NoJetStream { url: config.shown(), api: config.api.clone() }),
    }
}

/// What the account allows for streams of so many copies.
pub(super) fn limits(account: &Account, replicas: usize) -> Limits {
    account.tiers.get(&format!("R{replicas}")).map_or(account.limits, |tier| tier.limits)
}

/// How many shards the log that is there has. `None`: there is none yet. An error: they are not as many as configured.
pub(super) async fn check_shards(
    context: &Context,
    denied: &Denied,
    config: &Config,
) -> Result<Option<NonZeroU32>, OpenError> {
    let first = Names::new(NonZeroU32::MIN).of(0).transcript.clone();
    let Some(found) = find(context, denied, &first).await? else { return Ok(None) };
    let shards = found.config.metadata.get(SHARDS).and_then(|shards| shards.parse().ok());
    let made_with = shards.unwrap_or(NonZeroU32::MIN);
    if made_with == config.shards {
        return Ok(Some(made_with));
    }
    Err(OpenError::Shards { made_with, wanted: config.shards })
}

/// A stream, if it is there.
pub(super) async fn find(context: &Context, denied: &Denied, name: &str) -> Result<Option<stream::Info>, OpenError> {
    denied.take();
    let error = match context.get_stream(name).await {
        Ok(stream) => return Ok(Some(stream.cached_info().clone())),
        Err(error) => error,
    };
    match (error.kind(), denied.take()) {
        (GetStreamErrorKind::JetStream(error), _) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        (_, Some(reason)) => Err(OpenError::MayNot(reason)),
        _ => Err(failed(name, &error)),
    }
}

/// Makes a stream, or changes one that is not as it is wanted.
async fn have(context: &Context, denied: &Denied, wanted: stream::Config) -> Result<stream::Info, OpenError> {
    let name = wanted.name.clone();
    let Some(found) = find(context, denied, &name).await? else {
        let made = context.create_stream(wanted).await;
        return made.map(|stream| stream.cached_info().clone()).map_err(|error| match denied.take() {
            Some(reason) => OpenError::MayNotMake { stream: name, reason },
            None => not_made(&name, &error),
        });
    };
    let differing = differences(&found.config, &wanted);
    if differing.is_empty() {
        return Ok(found);
    }
    let faults = faults(&found.config, &wanted);
    match (context.update_stream(wanted).await, denied.take()) {
        (Ok(changed), _) => Ok(changed),
        (Err(_), Some(_)) if faults.is_empty() => {
            tracing::warn!(stream = name, differing = differing.join(", "), "this user may not change a stream");
            Ok(found)
        }
        (Err(_), Some(_)) => Err(OpenError::Unfit { stream: name, faults }),
        (Err(error), None) => Err(not_made(&name, &error)),
    }
}

fn not_made(name: &str, error: &CreateStreamError) -> OpenError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_MAX_BYTES_REQUIRED => {
            OpenError::MaxBytes
        }
        _ => failed(name, error),
    }
}

fn failed(stream: &str, error: &dyn Error) -> OpenError {
    OpenError::Stream { stream: stream.to_owned(), reason: chain(error) }
}

/// All streams, as they are wanted.
pub(super) fn all(config: &Config, names: &Names) -> Vec<stream::Config> {
    let mut all = Vec::new();
    for (shard, name) in names.all() {
        all.push(transcript(config, shard, &name.transcript));
        let reply_log = base(config, &name.reply_log, names::all_reply_logs(shard));
        all.push(stream::Config { max_age: config.replay_window, republish: Some(republish()), ..reply_log });
        let snapshot = base(config, &name.snapshot, names::all_snapshots(shard));
        all.push(stream::Config { max_messages_per_subject: 1, ..snapshot });
        let pieces = base(config, &name.pieces, names::all_pieces(shard));
        all.push(stream::Config { max_age: config.retention + LONGER, ..pieces });
    }
    let tickets = base(config, names::TICKETS_STREAM, names::ALL_TICKETS.to_owned());
    all.push(stream::Config { allow_rollup: true, ..tickets });
    all.push(bucket(config));
    all
}

fn transcript(config: &Config, shard: crate::log::Shard, name: &str) -> stream::Config {
    let metadata = match shard {
        0 => HashMap::from([(SHARDS.to_owned(), config.shards.to_string())]),
        _ => HashMap::new(),
    };
    let all = names::all_transcripts(shard);
    stream::Config { republish: Some(republish()), metadata, ..base(config, name, all) }
}

/// The stream of the blobs' bucket, as the object store of every client has it ([ADR-20]).
///
/// [ADR-20]: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md
fn bucket(config: &Config) -> stream::Config {
    let of = |what| format!("$O.{}.{what}.>", names::BLOBS);
    stream::Config {
        subjects: vec![of("C"), of("M")],
        allow_rollup: true,
        max_bytes: size(config.max_bytes),
        duplicate_window: Duration::ZERO,
        ..base(config, &format!("OBJ_{}", names::BLOBS), String::new())
    }
}

/// What all streams have in common.
fn base(config: &Config, name: &str, subjects: String) -> stream::Config {
    let shards = u64::from(config.shards.get());
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects],
        max_age: config.retention,
        num_replicas: config.replicas,
        storage: StorageType::File,
        // What is new is refused rather than what is old dropped.
        discard: DiscardPolicy::New,
        max_bytes: size(config.max_bytes.map(|bytes| bytes / shards)),
        allow_direct: true,
        // Message ids are not used: fences show what was written.
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    }
}

/// Bytes as a stream has them: less than none is no limit.
fn size(bytes: Option<u64>) -> i64 {
    bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1)
}

/// What is stored is republished.
fn republish() -> Republish {
    Republish { source: ">".to_owned(), destination: format!("{STORED}.>"), headers_only: false }
}
