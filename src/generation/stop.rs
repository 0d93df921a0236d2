//! Stops replies: cancellation, which keeps what was said, and deletion, which does not.

use std::sync::Arc;
use std::time::Duration;

use super::{Generation, Order};
use crate::api::ApiError;
use crate::conversation::ids::ReplyId;
use crate::log::feed::Feed;
use crate::threads::{Found, Unavailable};

/// How long a stop may take before its client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

impl Generation {
    /// Stops a reply. One that has ended stays as it is.
    pub(super) async fn cancel_reply(&self, reply: ReplyId) -> Result<Arc<Feed>, ApiError> {
        let feed = self.find_or_adopt(reply).await?;
        if feed.end().is_none() {
            self.stop(reply, Order::Cancel, &feed).await?;
        }
        Ok(feed)
    }

    /// Deletes a reply, running or not.
    pub(super) async fn delete_reply(&self, reply: ReplyId) -> Result<(), ApiError> {
        let feed = self.find_or_adopt(reply).await?;
        if feed.end().is_none() {
            self.stop(reply, Order::Delete, &feed).await?;
        }
        let threads = &self.inner.threads;
        // The ticket brings the deletion to its end after a crash in the middle.
        threads.log().hold(self.inner.instance, reply).await.map_err(Unavailable::from)?;
        threads.feeds().forget(reply);
        threads.delete_reply(reply).await?;
        threads.log().release(reply);
        Ok(())
    }

    async fn find_or_adopt(&self, reply: ReplyId) -> Result<Arc<Feed>, ApiError> {
        match self.inner.threads.find(reply).await? {
            Some(Found::Feed(feed)) => Ok(feed),
            Some(Found::Orphan(accepted)) => self.adopt_reply(&accepted).await,
            None => Err(ApiError::response_not_found(&reply.to_string())),
        }
    }

    /// Orders the task of a reply to end it, and waits until it has.
    async fn stop(&self, reply: ReplyId, order: Order, feed: &Arc<Feed>) -> Result<(), ApiError> {
        let late = || ApiError::busy("The reply could not be stopped yet; try again.", Duration::from_secs(1));
        // No task: it has just ended, and its feed says so.
        self.order(reply, order);
        match tokio::time::timeout(PATIENCE, feed.wait_end()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }
}
