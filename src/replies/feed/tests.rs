//! A protocol of a few lines follows a running reply, and shares what it encodes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;

use super::{BrokenOff, Encoder, Events, Feed, Follower, Listener, Protocol};
use crate::domain::event::{End, Event, Opening, Outcome, PartKind};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::domain::layout::OutputLayout;
use crate::domain::record::{Accepted, Ended};
use crate::domain::reply::{Content, Reply};

/// `<sequence>:<text>`, and `<sequence>!` at the end.
struct Toy {
    name: &'static str,
    encoded: Arc<AtomicUsize>,
}

struct Lines(Arc<AtomicUsize>);

impl Protocol for Toy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encoder(&self, _accepted: &Accepted) -> Box<dyn Encoder> {
        Box::new(Lines(Arc::clone(&self.encoded)))
    }
}

impl Encoder for Lines {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64) {
        assert_eq!(reply.next_sequence(), sequence + 1, "the fold is at the event");
        self.0.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Delta { text, .. } => out.extend_from_slice(format!("{sequence}:{text}\n").as_bytes()),
            Event::End(_) => out.extend_from_slice(format!("{sequence}!\n").as_bytes()),
            _ => {}
        }
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

fn accepted() -> Arc<Accepted> {
    Arc::new(Accepted {
        reply: ReplyId::random(ThreadId::random()),
        in_conversation: false,
        chat: false,
        previous: None,
        created_at: 7,
        owner: crate::domain::caller::Owner::anonymous(),
        instance: InstanceId::random(),
        nonce: 1,
        digest: None,
        trace: None,
        input: Vec::new(),
        provider_state: std::collections::BTreeMap::new(),
        params: Arc::default(),
    })
}

fn delta(text: &str) -> Event {
    Event::Delta { item: 0, text: text.to_owned(), logprobs: Vec::new() }
}

/// What a follower gets at once.
fn ready(follower: &mut Follower) -> String {
    let mut text = String::new();
    while let Some(Some(Ok(frame))) = follower.next().now_or_never() {
        text.push_str(std::str::from_utf8(&frame.bytes).expect("UTF-8"));
    }
    text
}

#[test]
fn a_new_protocol_follows_a_running_reply_and_each_event_is_encoded_once_per_format() {
    let feed = Arc::new(Feed::new(accepted(), Event::opening(false).to_vec()));
    let toy = |name| Toy { name, encoded: Arc::default() };
    let (one, other) = (toy("toy/one"), toy("toy/other"));
    let mut first = Follower::new(Arc::clone(&feed), &one, 0);
    assert_eq!(ready(&mut first), "");
    feed.push(vec![Event::ItemAdded(Opening::Message), Event::PartAdded { item: 0, kind: PartKind::Text }]);
    feed.push(vec![delta("He"), delta("llo")]);
    assert_eq!(ready(&mut first), "4:He\n5:llo\n");

    let mut rejoined = Follower::new(Arc::clone(&feed), &one, 5);
    assert_eq!(ready(&mut rejoined), "5:llo\n", "from where it left off");
    assert_eq!(one.encoded.load(Ordering::Relaxed), 6, "shared by both");
    let mut elsewhere = Follower::new(Arc::clone(&feed), &other, 0);
    assert_eq!(ready(&mut elsewhere), "4:He\n5:llo\n", "another format of the same events");

    let done =
        [Event::TextDone(0), Event::PartDone(0), Event::ItemDone { item: 0, incomplete: false, provider_state: None }];
    let end = Event::End(End { outcome: Outcome::Completed, usage: None });
    let content = Content { ended_at: Some(9), ..Content::default() };
    let ended = Ended { reply: feed.id(), content, layout: OutputLayout::default(), speaking: false };
    feed.finish(done.into_iter().chain([end]).collect(), Arc::new(ended));
    assert_eq!(ready(&mut first), "9!\n");
    assert!(matches!(first.next().now_or_never(), Some(None)), "nothing comes after the end");
    assert_eq!(feed.reply().content().ended_at, Some(9));
}

#[test]
fn a_feed_that_is_broken_off_ends_with_an_error_after_what_was_stored() {
    let feed = Arc::new(Feed::new(accepted(), Event::opening(false).to_vec()));
    feed.break_off();
    let mut follower = Follower::new(feed, &Toy { name: "toy", encoded: Arc::default() }, 1);
    assert!(matches!(follower.next().now_or_never(), Some(Some(Ok(_)))));
    assert!(matches!(follower.next().now_or_never(), Some(Some(Err(BrokenOff)))));
}

/// A reply of so many deltas of a kilobyte, and its end.
struct Long {
    feed: Arc<Feed>,
    toy: Toy,
    sent: String,
}

impl Long {
    fn new() -> Self {
        let feed = Arc::new(Feed::new(accepted(), Event::opening(false).to_vec()));
        feed.push(vec![Event::ItemAdded(Opening::Message), Event::PartAdded { item: 0, kind: PartKind::Text }]);
        Self { feed, toy: Toy { name: "toy", encoded: Arc::default() }, sent: String::new() }
    }

    fn follow(&self, from: u64) -> Follower {
        Follower::new(Arc::clone(&self.feed), &self.toy, from)
    }

    fn push(&mut self, kilobytes: usize) {
        for _ in 0..kilobytes {
            let text = "x".repeat(1024);
            let _ = writeln!(self.sent, "{}:{text}", self.feed.next_sequence());
            self.feed.push(vec![delta(&text)]);
        }
    }

    fn encoded(&self) -> usize {
        self.toy.encoded.load(Ordering::Relaxed)
    }

    /// The bytes of all encoded events that are buffered.
    fn buffered(&self) -> usize {
        self.feed.renditions.lock().iter().filter_map(std::sync::Weak::upgrade).map(|one| one.bytes()).sum()
    }
}

#[test]
fn of_a_long_reply_only_what_is_not_read_yet_stays_encoded() {
    let mut long = Long::new();
    let (mut one, mut other) = (long.follow(0), long.follow(0));
    let (mut heard, mut also) = (String::new(), String::new());
    for _ in 0..100 {
        long.push(100);
        heard.push_str(&ready(&mut one));
        also.push_str(&ready(&mut other));
        assert!(long.buffered() < 2 << 20, "{}", long.buffered());
    }
    assert!(heard == long.sent && also == long.sent);
    assert_eq!(long.encoded(), 10_004, "once for both");
}

#[test]
fn a_late_or_slow_follower_gets_everything_and_then_rejoins_the_others() {
    let mut long = Long::new();
    let (mut quick, mut slow) = (long.follow(0), long.follow(0));
    let mut received_slowly = String::new();
    for step in 0..120 {
        long.push(100);
        ready(&mut quick);
        // It reads a little, and falls further behind than the others wait for it.
        for _ in 0..step % 7 {
            let Some(Some(Ok(frame))) = slow.next().now_or_never() else { panic!("there is more") };
            received_slowly.push_str(std::str::from_utf8(&frame.bytes).expect("UTF-8"));
        }
    }
    received_slowly.push_str(&ready(&mut slow));
    assert!(received_slowly == long.sent, "the slow one missed nothing");
    assert!(long.encoded() <= 2 * 12_004, "it was encoded again for it");
    let (mut late, mut as_late) = (long.follow(0), long.follow(0));
    let encoded = long.encoded();
    assert!(ready(&mut late) == long.sent && ready(&mut as_late) == long.sent);
    assert_eq!(long.encoded() - encoded, 12_004, "once for both late followers");
    let encoded = long.encoded();
    long.push(10);
    for follower in [&mut quick, &mut slow, &mut late, &mut as_late] {
        assert_eq!(ready(follower).lines().count(), 10);
    }
    assert_eq!(long.encoded() - encoded, 10, "they all read the same again");
    assert!(long.buffered() < 2 << 20, "{}", long.buffered());
}

#[test]
fn a_late_follower_goes_on_alone_when_the_others_have_left() {
    let mut long = Long::new();
    let mut quick = long.follow(0);
    (0..30).for_each(|_| {
        long.push(100);
        ready(&mut quick);
    });
    let mut late = long.follow(0);
    drop(quick);
    let mut heard = ready(&mut late);
    for _ in 0..30 {
        long.push(100);
        heard.push_str(&ready(&mut late));
    }
    assert!(heard == long.sent);
    assert!(long.buffered() < 2 << 20, "{}", long.buffered());
    assert_eq!(ready(&mut long.follow(5_900)).lines().count(), 104);
}

#[tokio::test]
async fn followers_that_left_a_stalled_reply_leave_nothing_behind() {
    let feed = Arc::new(Feed::new(accepted(), Event::opening(false).to_vec()));
    for _ in 0..100 {
        assert!(feed.wait_end().now_or_never().is_none());
        let mut events = Events::new(Arc::clone(&feed));
        while events.next().now_or_never().is_some() {}
        let mut listener = Listener::new(Arc::clone(&feed));
        assert!(listener.next().now_or_never().is_none());
    }
    assert!(feed.state.lock().wakers.len() <= 3);
    let (mut first, mut second) = (Events::new(Arc::clone(&feed)), Events::new(Arc::clone(&feed)));
    first.next().await;
    second.next().await;
    let left = Events::new(Arc::clone(&feed));
    let waits = tokio::spawn(async move { first.next().await.is_some() && second.next().await.is_some() });
    tokio::task::yield_now().await;
    drop(left);
    feed.break_off();
    assert!(waits.await.unwrap(), "those that stay are woken");
}
