//! Inspects the NATS servers without storing a log there: nothing is created.

use std::num::NonZeroU32;

use async_nats::RequestErrorKind;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream;

use super::connect::{self, Config, Connections};
use super::fit::{differences, faults};
use super::names::Names;
use super::open_error::OpenError;
use super::streams;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the server that answered.
    pub version: String,
    /// How many servers of its cluster it reported, itself included.
    pub servers: usize,
    /// How many shards the log that is there has. `None`: there is none, and it would be made.
    pub shards: Option<NonZeroU32>,
    /// Streams that would be made.
    pub missing: Vec<String>,
    /// Where streams are not as configured and cannot be changed by us, though the log can live on them.
    pub differing: Vec<String>,
}

/// Checks whether a log could be stored there.
pub async fn inspect(config: &Config) -> Result<Inspection, OpenError> {
    let connections = connect::connect(config).await?;
    let context = config.context(&connections.append);
    let account = streams::account(&context, &connections.denied, config).await?;
    let shards = streams::check_shards(&context, &connections.denied, config).await?;
    let (mut missing, mut differing) = (Vec::new(), Vec::new());
    for wanted in streams::all(config, &Names::new(config.shards)) {
        let name = wanted.name.clone();
        match streams::find(&context, &connections.denied, &name).await? {
            None => missing.push(wanted),
            Some(found) => {
                let different = differences(&found.config, &wanted);
                if !different.is_empty() && may_not(&connections, &format!("STREAM.UPDATE.{name}")).await?.is_some() {
                    let faults = faults(&found.config, &wanted);
                    if !faults.is_empty() {
                        return Err(OpenError::Unfit { stream: name, faults });
                    }
                    differing.push(format!("{name}: {}", different.join(", ")));
                }
            }
        }
    }
    if let Some(first) = missing.first() {
        if let Some(reason) = may_not(&connections, &format!("STREAM.CREATE.{}", first.name)).await? {
            return Err(OpenError::MayNotMake { stream: first.name.clone(), reason });
        }
        if let Some(account) = &account {
            fits(account, config, &missing)?;
        }
    }
    let info = connections.read.server_info();
    Ok(Inspection {
        version: info.version,
        servers: info.connect_urls.len().max(1),
        shards,
        missing: missing.into_iter().map(|wanted| wanted.name).collect(),
        differing,
    })
}

/// Whether a request is forbidden, and the server's words. It is sent without its content, so that a permitted request
/// is answered as wrong, and has no effect.
async fn may_not(connections: &Connections, what: &str) -> Result<Option<String>, OpenError> {
    let Connections { append, denied, .. } = connections;
    denied.take();
    match append.request(append.api(what), "{}".into()).await {
        Ok(_) => Ok(None),
        Err(error) => match denied.take() {
            Some(reason) => Ok(Some(reason)),
            None if error.kind() == RequestErrorKind::TimedOut => {
                Ok(Some("the server does not answer a request to make a stream".to_owned()))
            }
            None => Err(OpenError::Stream { stream: what.to_owned(), reason: error.to_string() }),
        },
    }
}

/// Whether the account has room for the streams that would be made.
fn fits(account: &Account, config: &Config, missing: &[stream::Config]) -> Result<(), OpenError> {
    let limits = streams::limits(account, config.replicas);
    if limits.max_bytes_required && config.max_bytes.is_none() {
        return Err(OpenError::MaxBytes);
    }
    let too_much =
        |stream: &stream::Config, reason: String| Err(OpenError::Stream { stream: stream.name.clone(), reason });
    let limit = |limit: Option<i64>| limit.filter(|limit| *limit > 0);
    if let Some(most) = limit(limits.storage_max_stream_bytes)
        && let Some(large) = missing.iter().find(|stream| stream.max_bytes > most)
    {
        return too_much(large, format!("the account allows streams of {most} bytes (LOG_MAX_BYTES)"));
    }
    let (first, count) = (&missing[0], i64::try_from(missing.len()).unwrap_or(i64::MAX));
    let there = i64::try_from(account.streams).unwrap_or(i64::MAX);
    if let Some(most) = limit(limits.max_streams).filter(|most| there.saturating_add(count) > *most) {
        return too_much(first, format!("{count} more are needed; the account allows {most}, and has {there}"));
    }
    let copies = i64::try_from(config.replicas).unwrap_or(1);
    let needed: i64 = missing.iter().map(|stream| stream.max_bytes.max(0)).sum::<i64>().saturating_mul(copies);
    let reserved = i64::try_from(account.reserved_storage).unwrap_or(i64::MAX);
    match limit(limits.max_storage).filter(|most| account.tiers.is_empty() && needed > most.saturating_sub(reserved)) {
        Some(most) => too_much(
            first,
            format!(
                "LOG_MAX_BYTES for each family takes {needed} bytes together; the account has {most}, of which \
                 {reserved} are taken"
            ),
        ),
        None => Ok(()),
    }
}
