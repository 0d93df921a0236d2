//! Reads bodies of requests: within the budget of memory, in a time, and at a least rate.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_immediate;
use hyper::body::{Body as _, Frame, Incoming};
use tokio::time::Instant;

use super::budget::{Budget, NoRoom, STILL, Share};
use super::server::READ_BUFFER;
use crate::protocols::ApiError;

/// A client is not measured before this.
const GRACE: Duration = Duration::from_secs(10);

/// hyper's buffer of a connection when it is new (its `INIT_BUFFER_SIZE`). It grows with what comes, up to [`READ_BUFFER`],
/// and stays while the body is read.
const FIRST_BUFFER: usize = 8 << 10;

/// How long a client may take to send a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For all of it.
    pub(super) whole: Duration,
    /// The least that it sends in a second, in bytes, after [`GRACE`]. 0: any.
    pub(super) least: u64,
}

/// A body, with its part of the budget.
#[derive(Debug)]
pub(super) struct Upload {
    /// What was sent.
    pub(super) bytes: Bytes,
    /// Held until what was read of it is stored, or refused.
    pub(super) share: Share,
}

impl std::ops::Deref for Upload {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(
    mut incoming: Incoming,
    limit: usize,
    pace: Pace,
    budget: &Arc<Budget>,
) -> Result<Upload, ApiError> {
    let too_large = || ApiError::too_large(limit as u64);
    if incoming.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let begun = Instant::now();
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    let mut share = budget.share();
    loop {
        let size = first.len() + all.len();
        // Room comes before the bytes do: what its connection has read by then is memory already.
        let ahead = incoming.size_hint().upper().map_or(READ_BUFFER, ahead_of);
        share.grow_to(size + ahead).await.map_err(|NoRoom| ApiError::no_memory())?;
        let frame = if let Some(frame) = poll_immediate(next(&mut incoming)).await {
            frame
        } else {
            // A piece is a part of the buffer that its connection reads into: who waits does not hold on to all of that.
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            wait(&mut incoming, pace.deadline(begun, size), size, &mut share).await?
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| ApiError::client(400, "The request's body broke off."))?;
        let Ok(data) = frame.into_data() else { continue };
        if size + data.len() > limit {
            return Err(too_large());
        }
        share.grow_to(size + data.len()).await.map_err(|NoRoom| ApiError::no_memory())?;
        // Most bodies come in one piece, which need not be copied.
        if size == 0 {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    share.shrink_to(first.len() + all.len());
    Ok(Upload { bytes: if all.is_empty() { first } else { all.freeze() }, share })
}

/// How much of so many bytes that are to come can be read ahead.
fn ahead_of(rest: u64) -> usize {
    usize::try_from(rest).map_or(READ_BUFFER, |rest| rest.min(READ_BUFFER))
}

type NextFrame = Option<Result<Frame<Bytes>, hyper::Error>>;

async fn next(incoming: &mut Incoming) -> NextFrame {
    std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await
}

/// Waits for what the client sends next. Where that takes long, the share is the upload's and that of the buffer which its
/// connection keeps for it: ten thousand that stand still would otherwise hold much more than the budget.
async fn wait(
    incoming: &mut Incoming,
    deadline: Instant,
    size: usize,
    share: &mut Share,
) -> Result<NextFrame, ApiError> {
    let budget = Arc::clone(share.budget());
    let waiting = budget.wait();
    let mut next = pin!(next(incoming));
    let mut stands_still = pin!(tokio::time::sleep(STILL));
    let held = size + (FIRST_BUFFER + size).min(READ_BUFFER);
    loop {
        tokio::select! {
            frame = &mut next => return Ok(frame),
            () = tokio::time::sleep_until(deadline) => return Err(ApiError::body_timeout(size)),
            () = waiting.gives_way() => return Err(ApiError::body_timeout(size)),
            () = &mut stands_still, if share.bytes() < held => {
                share.grow_to(held).await.map_err(|NoRoom| ApiError::no_memory())?;
            }
        }
    }
}

impl Pace {
    /// When a body of which so much was read is too late.
    fn deadline(self, begun: Instant, size: usize) -> Instant {
        let enough = (size as u64).checked_div(self.least).map(|seconds| GRACE + Duration::from_secs(seconds));
        begun + enough.map_or(self.whole, |enough| enough.min(self.whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_buys_time_up_to_that_of_the_whole() {
        let pace = Pace { whole: Duration::from_mins(1), least: 1000 };
        let begun = Instant::now();
        let after = |size| pace.deadline(begun, size).duration_since(begun).as_secs();
        assert_eq!((after(0), after(5_000), after(1 << 30)), (10, 15, 60));
        let any = Pace { least: 0, ..pace };
        assert_eq!(any.deadline(begun, 0), begun + any.whole);
    }
}
