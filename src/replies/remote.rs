//! Follows a reply that another instance generates, for the clients of this one: one subscription, however many they
//! are.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::builder::{EventBuilder, Options};
use super::feed::Feed;
use super::reply_log::{ReplyLog, ReplyLogEnd};
use super::threads::Threads;
use super::{Error, Missing, Result};
use crate::domain::event::{End, Event};
use crate::domain::ids::InstanceId;
use crate::domain::layout::{OutputLayout, expand};
use crate::domain::record::{Accepted, Ended, ReplyLogEntry, ReplyLogRecord};
use crate::domain::reply::Reply;
use crate::llm::call::Continuation;
use crate::log::{Life, Peers, Stored, Subject, Subscription, now_ms};

/// How often it is checked whether anyone still follows.
const LOOK: Duration = Duration::from_secs(10);

/// Follows replies of other instances. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Remote {
    threads: Threads,
    instance: InstanceId,
    peers: Peers,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What goes from the reply log to the feed.
struct Pump {
    accepted: Arc<Accepted>,
    feed: Weak<Feed>,
    /// The instance that generates the reply. `None`: it is free to be taken over.
    owner: Option<InstanceId>,
    /// What was shown.
    reply: Reply,
    /// How the text ended, while speech goes on.
    text_end: Option<End>,
    last: u64,
}

/// Nothing more comes, or nothing that can be shown.
struct Over;

/// The instance that generates a reply, by its reply log. `None`: it is free to be taken over.
pub(super) fn owner(reply_log: &ReplyLog, accepted: &Accepted) -> Option<InstanceId> {
    (!reply_log.handed_over).then(|| reply_log.claimant.unwrap_or(accepted.instance))
}

impl Remote {
    pub(super) fn new(threads: Threads, instance: InstanceId, peers: Peers) -> Self {
        Self { threads, instance, peers, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Ends what follows, once nobody follows here.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How many it follows.
    #[cfg(feature = "simulation")]
    pub(super) fn following(&self) -> usize {
        self.tasks.len()
    }

    /// Shows the followers of a reply that was generated here how another instance continues it.
    pub(super) fn take_on(&self, accepted: Arc<Accepted>, feed: Arc<Feed>) {
        let remote = self.clone();
        self.tasks.spawn(async move { remote.go_on(&accepted, &feed).await });
    }

    /// The feed of a reply that is generated elsewhere, or here for others only.
    pub(super) async fn follow(&self, accepted: &Arc<Accepted>) -> Result<Arc<Feed>> {
        let threads = &self.threads;
        if let Some(feed) = threads.feeds().get(accepted.reply) {
            return Ok(feed);
        }
        // First the subscription, then what was before it.
        let subscription = threads.log().records().subscribe(Subject::ReplyLog(accepted.reply)).await?;
        let (reply_log, events) = self.read_so_far(accepted).await?;
        match &reply_log.end {
            Some(ReplyLogEnd::Done(ended)) => return threads.ended_feed(accepted, ended).await,
            Some(ReplyLogEnd::Deleted) => return Err(Missing::Reply(accepted.reply).into()),
            Some(ReplyLogEnd::Void) => return Err(Error::unavailable("the reply never began")),
            None => {}
        }
        let feed = Feed::new(Arc::clone(accepted), events).with_text_end(reply_log.text_end.clone());
        let (feed, is_new) = threads.feeds().share(feed);
        if is_new {
            self.pump(accepted, &feed, reply_log, subscription);
        }
        Ok(feed)
    }

    /// Shows the followers of a reply that was generated here how another instance continues it. Where there is no
    /// other, or its reply log cannot be read, they have to come back.
    async fn go_on(&self, accepted: &Arc<Accepted>, feed: &Arc<Feed>) {
        if !self.threads.log().is_shared() {
            return feed.break_off();
        }
        let subscription = self.threads.log().records().subscribe(Subject::ReplyLog(accepted.reply)).await;
        let (Ok(subscription), Ok((reply_log, events))) = (subscription, self.read_so_far(accepted).await) else {
            return feed.break_off();
        };
        match &reply_log.end {
            Some(ReplyLogEnd::Done(ended)) => {
                if let Ok(mut all) = expand(accepted.params.background, &ended.content, &ended.layout) {
                    reply_log.speech.restore(&mut all);
                    feed.complete(all, Arc::clone(ended));
                }
                feed.break_off();
            }
            Some(_) => feed.break_off(),
            None => {
                feed.catch_up(events, reply_log.text_end.clone());
                self.pump(accepted, feed, reply_log, subscription);
            }
        }
    }

    /// Goes on while a client follows, also while this instance leaves: not among the tasks that its end waits for.
    fn pump(&self, accepted: &Arc<Accepted>, feed: &Arc<Feed>, reply_log: ReplyLog, subscription: Subscription) {
        let (accepted, feed, owner) = (Arc::clone(accepted), Arc::downgrade(feed), owner(&reply_log, accepted));
        let text_end = reply_log.text_end.as_ref().and_then(|ended| ended.end().cloned());
        let pump = Pump { accepted, feed, owner, reply: reply_log.reply, text_end, last: reply_log.last };
        let (remote, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(async move { stop.run_until_cancelled(pump.run(&remote, subscription)).await });
    }

    async fn read_so_far(&self, accepted: &Arc<Accepted>) -> Result<(ReplyLog, Vec<Event>)> {
        let reply_log = ReplyLog::read(self.threads.log(), accepted).await?;
        let events = reply_log.events(accepted.params.background)?;
        Ok((reply_log, events))
    }
}

impl Pump {
    async fn run(mut self, remote: &Remote, mut subscription: Subscription) {
        loop {
            let next = tokio::time::timeout(LOOK, subscription.next()).await;
            let Some(feed) = self.feed.upgrade() else { return };
            match next {
                Err(_) => self.look_after(remote).await,
                Ok(Some(stored)) => {
                    if self.take(&stored, &feed).is_err() {
                        return feed.break_off();
                    }
                }
                Ok(None) => return feed.break_off(),
            }
        }
    }

    /// Nothing was stored for a while. An owner that died right after it accepted the reply may have left no lease, by which
    /// another instance would notice; with one of this instance, the next sweep takes over the reply.
    async fn look_after(&self, remote: &Remote) {
        let is_dead = |owner| owner != remote.instance && remote.peers.life(owner) == Life::Dead;
        if self.owner.is_none_or(is_dead) {
            // What fails is tried again after the next while.
            let _ = remote.threads.log().leases().acquire(remote.instance, self.accepted.reply).await;
        }
    }

    /// Shows a record.
    fn take(&mut self, stored: &Stored, feed: &Arc<Feed>) -> Result<(), Over> {
        if stored.sequence <= self.last || stored.payload.is_empty() {
            return Ok(());
        }
        self.last = stored.sequence;
        let record = ReplyLogRecord::decode(&stored.payload).map_err(|_| Over)?;
        match record.entry {
            ReplyLogEntry::Events { first, events, .. } => feed.push(self.go_on(first, events)?),
            ReplyLogEntry::TextEnded { first, events, ended } => {
                self.text_end = ended.end().cloned();
                let events = self.go_on(first, events)?;
                feed.end_text(events, ended);
            }
            // What was spoken is only in the records before.
            ReplyLogEntry::Done(done)
                if self.accepted.params.audio.is_some() && done.first > self.reply.next_sequence() =>
            {
                return Err(Over);
            }
            ReplyLogEntry::Done(done) => {
                let all = expand(self.accepted.params.background, &done.ended.content, &done.ended.layout);
                feed.complete(all.map_err(|_| Over)?, done.ended);
            }
            ReplyLogEntry::Deleted => {
                let mut events = Vec::new();
                if let Some(end) = self.text_end.take() {
                    events.push(Event::End(end));
                } else {
                    let options = Options::of(&self.accepted.params);
                    EventBuilder::new(options, &self.reply, Continuation::Fresh).cancel(&mut events);
                }
                for event in &events {
                    self.reply.apply(event).map_err(|_| Over)?;
                }
                self.reply.set_ended_at(now_ms() / 1000);
                let ended = Ended {
                    reply: self.accepted.reply,
                    content: self.reply.content().clone(),
                    layout: OutputLayout::default(),
                    speaking: false,
                };
                feed.finish(events, Arc::new(ended));
            }
            ReplyLogEntry::Void => return Err(Over),
            ReplyLogEntry::Claim { instance } => self.owner = Some(instance),
            ReplyLogEntry::HandedOver => self.owner = None,
        }
        Ok(())
    }

    /// Takes in events; returns those that are new.
    fn go_on(&mut self, first: u64, events: Vec<Event>) -> Result<Vec<Event>, Over> {
        let known = self.reply.next_sequence();
        if first > known {
            return Err(Over);
        }
        let skip = usize::try_from(known - first).unwrap_or(usize::MAX);
        let events: Vec<_> = events.into_iter().skip(skip).collect();
        for event in &events {
            self.reply.apply(event).map_err(|_| Over)?;
        }
        Ok(events)
    }
}
