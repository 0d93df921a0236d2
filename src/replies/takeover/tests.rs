//! Takeovers on a real log.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::record::Caller;
use crate::replies::testing::Instance;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Polls a future so many times at most, and drops it. Whether it was ready.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> bool {
    let (mut future, mut left) = (pin!(future), times);
    std::future::poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_reply_is_generated_also_when_whoever_had_it_taken_over_goes_away_at_any_point() {
    let instance = Instance::start().await;
    for times in 1.. {
        let accepted = instance.orphan("echo", "one two three").await;
        let was_ready = polled(times, instance.replies.takeover.adopt(&accepted)).await;
        let ended = async {
            let feed = instance.replies.follow(&Caller::anonymous(), accepted.reply, 0).await.unwrap();
            feed.wait_end().await.unwrap()
        };
        let ended = timeout(PATIENCE, ended).await;
        assert!(ended.is_ok(), "nobody generates a reply whose takeover was dropped at point {times}");
        if was_ready {
            return assert!(times > 3, "it had points to be dropped at");
        }
    }
}
