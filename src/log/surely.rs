//! Acceptances on a log that others share: tried again while it is not known whether the record was stored.

use std::time::Duration;

use bytes::Bytes;

use super::{AppendError, Log, ReadError, Subject};
use crate::domain::ids::{InstanceId, ReplyId};

/// How long an acceptance is tried while it is not known whether it was stored.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(4);

/// See [`super::Records::accept`].
pub(super) async fn accept(
    log: &Log,
    instance: InstanceId,
    reply: ReplyId,
    expected: u64,
    payload: Bytes,
) -> Result<u64, AppendError> {
    let subject = Subject::Transcript(reply.thread());
    let (held, appended) = tokio::join!(log.leases().acquire(instance, reply), append(log, subject, expected, payload));
    match (&appended, held) {
        // It was not accepted, and that is certain.
        (Err(AppendError::Conflict { .. } | AppendError::Full), _) => log.leases().release(reply),
        // It was accepted. The ticket is tried again until it is written.
        (Ok(_), Err(error)) => tracing::warn!(%reply, %error, "the lease of a reply is not yet written"),
        // If it was accepted after all, the ticket leads back to it.
        _ => {}
    }
    appended
}

/// Tries again while it is not known whether the record was stored.
async fn append(log: &Log, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
    let begun = tokio::time::Instant::now();
    let mut is_first = true;
    loop {
        let result = match log.records().append(subject, expected, payload.clone()).await {
            // What stands there may be the same record, of which the acknowledgement was lost.
            Err(AppendError::Conflict { expected, last }) if !is_first => {
                match find(log, subject, expected, &payload).await {
                    Ok(Some(sequence)) => Ok(sequence),
                    Ok(None) => Err(AppendError::Conflict { expected, last }),
                    Err(ReadError(error)) => Err(AppendError::Unavailable(error)),
                }
            }
            // This one wrote nothing; one before it may have.
            Err(AppendError::Full) if !is_first => Err(AppendError::Unavailable(AppendError::Full.to_string())),
            result => result,
        };
        match result {
            Err(AppendError::Unavailable(_)) if begun.elapsed() < ACCEPT_TIMEOUT => {
                is_first = false;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

/// The sequence of this very record, if it is one of those after `after`.
async fn find(log: &Log, subject: Subject, after: u64, payload: &Bytes) -> Result<Option<u64>, ReadError> {
    let records = log.records().read(subject, after).await?;
    Ok(records.into_iter().find(|record| record.payload == payload).map(|record| record.sequence))
}
