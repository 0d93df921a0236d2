//! Takeovers on a real log.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::caller::{Caller, Scopes};
use crate::domain::event::Outcome;
use crate::domain::ids::{InstanceId, ReplyId};
use crate::domain::record::{Begins, ReplyLogEntry};
use crate::replies::testing::Instance;

/// Longer than any of this takes.
const TIMEOUT: Duration = Duration::from_secs(10);

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
async fn a_takeover_whose_caller_goes_away_at_any_point_still_leaves_the_reply_generated() {
    let instance = Instance::start().await;
    for times in 1.. {
        let accepted = instance.orphan("echo", "one two three").await;
        let was_ready = polled(times, instance.replies.takeover.adopt(&accepted)).await;
        let ended = async {
            let feed = instance.replies.follow(&Caller::anonymous(Scopes::USE), accepted.reply, 0).await.unwrap();
            feed.wait_end().await.unwrap()
        };
        let ended = timeout(TIMEOUT, ended).await;
        assert!(ended.is_ok(), "nobody generates a reply whose takeover was dropped at point {times}");
        if was_ready {
            return assert!(times > 1, "it had a point to be dropped at");
        }
    }
}

/// A reply that was claimed this often, each time by an instance that then died: `begun` tells when the reply had got
/// its turn at the model before, and whether alone.
async fn often_claimed(instance: &Instance, begun: &[Option<Begins>]) -> Outcome {
    let accepted = instance.orphan("echo", "one two three").await;
    for (epoch, begins) in (2..).zip(begun) {
        instance.write(accepted.reply, epoch, ReplyLogEntry::Claim { instance: InstanceId::random() }).await;
        if begins.is_some() {
            // The two opening events are there.
            let entry = ReplyLogEntry::Events { first: 2, events: Vec::new(), begins: *begins };
            instance.write(accepted.reply, epoch, entry).await;
        }
    }
    ended(instance, accepted.reply).await
}

async fn ended(instance: &Instance, reply: ReplyId) -> Outcome {
    let ended = async {
        let feed = instance.replies.follow(&Caller::anonymous(Scopes::USE), reply, 0).await.unwrap();
        feed.wait_end().await.unwrap()
    };
    timeout(TIMEOUT, ended).await.unwrap().end().unwrap().outcome.clone()
}

const BESIDE_OTHERS: Option<Begins> = Some(Begins { alone: false });
const ALONE: Option<Begins> = Some(Begins { alone: true });

#[tokio::test]
async fn a_reply_whose_hosts_died_while_it_waited_for_its_turn_is_continued() {
    let instance = Instance::start().await;
    assert_eq!(often_claimed(&instance, &[None; 20]).await, Outcome::Completed);
}

#[tokio::test]
async fn a_reply_whose_hosts_died_while_it_was_worked_on_is_tried_alone_once_more() {
    let instance = Instance::start().await;
    assert_eq!(often_claimed(&instance, &[BESIDE_OTHERS; 7]).await, Outcome::Completed);
    let again = [BESIDE_OTHERS, BESIDE_OTHERS, BESIDE_OTHERS, BESIDE_OTHERS, BESIDE_OTHERS, ALONE];
    assert!(matches!(often_claimed(&instance, &again).await, Outcome::Failed(_)), "it kills its hosts");
}

#[tokio::test]
async fn suspects_are_worked_on_one_after_another() {
    let instance = Instance::start().await;
    let quarantine = instance.replies.acceptor.workers.quarantine.clone();
    let other = quarantine.acquire_owned().await.unwrap();
    let mut suspect = pin!(often_claimed(&instance, &[BESIDE_OTHERS; 5]));
    assert!(timeout(Duration::from_millis(300), &mut suspect).await.is_err(), "another suspect is worked on");
    assert_eq!(often_claimed(&instance, &[None; 5]).await, Outcome::Completed, "others do not wait");
    drop(other);
    assert_eq!(suspect.await, Outcome::Completed);
}
