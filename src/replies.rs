//! The reply runtime: accepts replies, generates them, takes over orphaned ones, follows and stops them.
//!
//! It knows neither a status, nor a header, nor a wire format. [`Replies`] is the interface for the edge; each of its
//! methods takes the caller and checks who owns a thing, so that no handler can forget. [`Runtime`] is what the
//! application runs. What happens inside is done by types of their own: [`acceptor`], [`worker`], [`takeover`],
//! [`stopper`] and [`remote`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Retention;
use crate::domain::caller::{Caller, Owner};
use crate::domain::event::Outcome;
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::record::Change;
use crate::limits::Limits;
use crate::llm::Upstream;
use crate::log::{Log, Peers};
use crate::speech::Speech;
use crate::speech::hearing::Hearing;
use crate::store::Store;
use crate::telemetry::Metrics;

mod acceptor;
mod admission;
mod adoptions;
mod appender;
mod batcher;
mod builder;
mod reply_log;
mod chats;
pub(crate) mod command;
mod context;
mod conversations;
mod departures;
mod empty_sets;
mod eraser;
mod error;
pub(crate) mod feed;
pub(crate) mod hearing;
mod listen;
mod listing;
mod measured;
mod refusals;
mod remote;
mod retention;
mod retry;
mod running;
mod settling;
mod size;
mod speech;
mod splice;
mod spoken;
mod stages;
mod stopper;
mod takeover;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod threads;
mod timeline;
mod worker;

pub(crate) use appender::Timeouts;
pub(crate) use chats::chat_thread;
pub(crate) use error::{Busy, Error, Invalid, Missing, Result};
pub(crate) use listing::{Summary, Wanted};
pub(crate) use refusals::Refusal;
pub(crate) use threads::blobs::{Hash, referenced};
pub(crate) use timeline::{Happened, Start, Timeline};

use acceptor::Acceptor;
use command::{Joined, NewReply};
use departures::Departures;
use eraser::Eraser;
use feed::Feed;
use refusals::Refusals;
use remote::Remote;
use retention::Keeper;
use running::Running;
use stopper::Stopper;
use takeover::Takeover;
use threads::{Found, Threads};
use worker::Workers;

/// How the runtime is set up.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Replies that run at once at most; more are refused.
    pub(crate) max_running: usize,
    /// The longest that a reply may take, over all attempts and takeovers, from its acceptance.
    pub(crate) reply_deadline: Duration,
    /// Whether a reply that was broken off is continued.
    pub(crate) continues: bool,
    /// The most that is generated of one reply, in bytes.
    pub(crate) max_reply_bytes: usize,
    /// The longest record that a request may make, in bytes.
    pub(crate) max_record_bytes: usize,
    /// Whether traces show what models were sent and said.
    pub(crate) captures_content: bool,
    /// How long threads are kept in which nothing happens.
    pub(crate) retention: Retention,
    /// How long a reply waits for a log that cannot be written.
    pub(crate) log_timeouts: Timeouts,
}

/// What the runtime needs of others.
pub(crate) struct Parts {
    /// Where records are stored.
    pub(crate) log: Log,
    /// What is older than the log.
    pub(crate) store: Store,
    /// The model servers.
    pub(crate) upstream: Upstream,
    /// The voices.
    pub(crate) speech: Speech,
    /// What transcribes speech.
    pub(crate) hearing: Hearing,
    /// How much callers may use.
    pub(crate) limits: Limits,
    /// The instruments.
    pub(crate) metrics: Arc<Metrics>,
    /// This instance.
    pub(crate) instance: InstanceId,
    /// The others.
    pub(crate) peers: Peers,
    /// When it is cancelled, replies that run are handed over, and none is accepted.
    pub(crate) leave: CancellationToken,
}

/// All that clients ask for. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Replies {
    threads: Threads,
    acceptor: Arc<Acceptor>,
    takeover: Arc<Takeover>,
    stopper: Arc<Stopper>,
    refusals: Arc<Refusals>,
    departures: Departures,
    tasks: TaskTracker,
}

/// What the application runs and asks about.
#[derive(Clone)]
pub(crate) struct Runtime {
    threads: Threads,
    peers: Peers,
    running: Arc<Running>,
    takeover: Arc<Takeover>,
    remote: Remote,
    refusals: Arc<Refusals>,
    departures: Departures,
    keeper: Keeper,
    tasks: TaskTracker,
}

/// Completes deletions that a crash broke off. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Deletions(Threads);

impl Deletions {
    #[cfg(test)]
    pub(crate) fn new(log: Log, store: Store) -> Self {
        Self(Threads::new(log, store, Arc::default(), usize::MAX))
    }

    /// Has threads be read from log and store together, until a time in milliseconds of Unix time: the log may lack what the
    /// store has.
    pub(crate) fn ask_store_until(&self, until: u64) {
        self.0.ask_store_until(until);
    }

    /// Erases what a deletion's record names, where that is still there. Does nothing for other records.
    pub(crate) async fn finish(&self, thread: ThreadId, change: &Change) -> Result<()> {
        self.0.finish_deletion(thread, change).await
    }
}

/// The owner of a reply, and how it ended. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Ends(Threads);

/// What is told of a reply that ended.
pub(crate) struct End {
    /// Whose it is.
    pub(crate) owner: Owner,
    /// How it ended, if it did.
    pub(crate) outcome: Option<Outcome>,
    /// The trace of its request.
    pub(crate) trace: Option<String>,
}

impl Ends {
    /// The owner of a reply, and how it ended, if it did. `None`: it is not there, or was deleted.
    pub(crate) async fn of(&self, reply: ReplyId) -> Result<Option<End>> {
        let entry = self.0.entry(reply).await?.filter(|entry| !entry.deleted);
        Ok(entry.map(|entry| {
            let outcome = entry.ended.as_ref().and_then(|ended| ended.end().map(|end| end.outcome.clone()));
            End { owner: entry.accepted.owner.clone(), outcome, trace: entry.accepted.trace.clone() }
        }))
    }
}

/// The runtime of this instance, which the others know by its id.
pub(crate) fn build(config: Config, parts: Parts) -> (Replies, Runtime) {
    let Parts { log, store, upstream, speech, hearing, limits, metrics, instance, peers, leave } = parts;
    let threads = Threads::new(log, store.clone(), Arc::default(), config.max_record_bytes);
    let retention = config.retention.clone();
    let running = Arc::new(Running::new(Arc::clone(&metrics)));
    let tasks = TaskTracker::new();
    let remote = Remote::new(threads.clone(), instance, peers.clone());
    let workers = Arc::new(Workers {
        config,
        threads: threads.clone(),
        upstream,
        speech,
        hearing,
        limits,
        metrics,
        running: Arc::clone(&running),
        quarantine: Arc::new(Semaphore::new(1)),
        remote: remote.clone(),
        tasks: tasks.clone(),
        leave,
    });
    let takeover = Arc::new(Takeover::new(Arc::clone(&workers), instance, peers.clone()));
    let stopper = Arc::new(Stopper {
        threads: threads.clone(),
        peers: peers.clone(),
        instance,
        running: Arc::clone(&running),
        takeover: Arc::clone(&takeover),
    });
    let eraser = Eraser::new(threads.clone(), Arc::clone(&stopper));
    let departures = Departures::new(store.clone(), eraser.clone());
    let keeper = Keeper::new(retention, (store, eraser), (instance, peers.clone()));
    let acceptor =
        Arc::new(Acceptor { workers, instance, takeover: Arc::clone(&takeover), stopper: Arc::clone(&stopper) });
    let refusals = Arc::new(Refusals::default());
    let replies = Replies {
        threads: threads.clone(),
        acceptor,
        takeover: Arc::clone(&takeover),
        stopper,
        refusals: Arc::clone(&refusals),
        departures: departures.clone(),
        tasks: tasks.clone(),
    };
    (replies, Runtime { threads, peers, running, takeover, remote, refusals, departures, keeper, tasks })
}

impl Replies {
    /// Accepts a reply, or joins the one that was accepted under the same key. From the moment that this succeeds the
    /// reply is never lost, and does not need its client.
    pub(crate) async fn create(&self, caller: &Caller, mut new: NewReply) -> Result<Joined> {
        new.params.max_output_tokens = self.acceptor.max_output(caller, new.params.max_output_tokens)?;
        let created = self.acceptor.create(caller, new).await;
        self.refusals.note(&created);
        created
    }

    /// Checks what a reply would be generated from, and returns a reply that is over at once, without output: for
    /// others to follow while it is held. It is stored nowhere.
    pub(crate) async fn warm_up(&self, caller: &Caller, mut new: NewReply) -> Result<Arc<Feed>> {
        self.acceptor.hear(caller, &mut new.input).await?;
        self.acceptor.warm_up(caller, new).await
    }

    /// The model's context for a reply: what came before, and the request's own items. Refused for the same reasons as
    /// the reply.
    pub(crate) async fn context(&self, caller: &Caller, new: &NewReply) -> Result<Vec<Item>> {
        self.acceptor.context(caller, new).await
    }

    /// Where to follow a reply: one that runs here, one that runs elsewhere, or one that has ended. An orphaned reply
    /// is taken over. `from` is the first event that the client lacks; one that no event has yet is
    /// only right if it is the very next.
    pub(crate) async fn follow(&self, caller: &Caller, id: ReplyId, from: u64) -> Result<Arc<Feed>> {
        let feed = self.owned(caller, id).await?;
        if self.threads.reaches(&feed, from).await? {
            return Ok(feed);
        }
        let last = feed.next_sequence().saturating_sub(1);
        Err(Invalid::PastEnd { given: from.saturating_sub(1), last, over: feed.is_closed() }.into())
    }

    /// A reply as it is now: what any client saw completed has ended.
    pub(crate) async fn get(&self, caller: &Caller, id: ReplyId) -> Result<Arc<Feed>> {
        let feed = self.owned(caller, id).await?;
        self.threads.settle(&feed).await?;
        Ok(feed)
    }

    /// Stops a reply, wherever it runs, and keeps its output. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, caller: &Caller, id: ReplyId) -> Result<Arc<Feed>> {
        self.owned(caller, id).await?;
        let stopper = Arc::clone(&self.stopper);
        self.detached(async move { stopper.cancel(id).await }).await
    }

    /// Deletes a reply: stops it if it runs, and erases its text.
    pub(crate) async fn delete(&self, caller: &Caller, id: ReplyId) -> Result<()> {
        self.owned(caller, id).await?;
        let stopper = Arc::clone(&self.stopper);
        self.detached(async move { stopper.delete(id).await }).await
    }

    /// Deletes all that belongs to a user of the caller's tenant: replies, those that run, too, conversations, and what is
    /// stored of the user besides. A deletion that has begun is completed, even if this fails, or the server is killed meanwhile.
    pub(crate) async fn delete_user(&self, caller: &Caller, user: &str) -> Result<()> {
        if caller.owner().is_anonymous() {
            return Err(Missing::User(user.to_owned()).into());
        }
        let (departures, owner) = (self.departures.clone(), Owner::new(&caller.owner().tenant(), Some(user)));
        self.detached(async move { departures.delete(owner).await }).await
    }

    /// The input items of a reply.
    pub(crate) async fn input(&self, caller: &Caller, id: ReplyId) -> Result<Vec<Item>> {
        let entry = self.threads.entry(id).await?;
        let entry = entry.filter(|entry| !entry.deleted && caller.may_reach(&entry.accepted.owner));
        let mut items = entry.ok_or(Missing::Reply(id))?.accepted.input.clone();
        self.threads.attach(id.thread(), &mut items).await?;
        Ok(items)
    }

    /// The feed of a reply, if it is this caller's.
    async fn owned(&self, caller: &Caller, id: ReplyId) -> Result<Arc<Feed>> {
        let takeover = Arc::clone(&self.takeover);
        match self.threads.find_of(caller, id).await?.ok_or(Missing::Reply(id))? {
            Found::Feed(feed) => Ok(feed),
            Found::Orphan(accepted) => self.detached(async move { takeover.adopt(&accepted).await }).await,
        }
    }

    /// Runs to its end even if the client that asked for it goes away in the middle.
    async fn detached<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.tasks.spawn(work).await.unwrap_or(Err(Error::Internal))
    }
}

impl Runtime {
    /// How many replies run here.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// How often another instance was silent for too long.
    pub(crate) fn heartbeats_missed(&self) -> u64 {
        self.peers.heartbeats_missed()
    }

    /// Why replies are not accepted here, if one was refused lately.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusals.current()
    }

    /// Takes over orphaned replies, again and again, until `stop`.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        Arc::clone(&self.takeover).sweep(stop).await;
    }

    /// Handles the commands of other instances, until the log is closed.
    pub(crate) async fn handle_commands(self) {
        self.peers.handle(|reply, command| self.running.command(reply, command)).await;
    }

    /// Waits until nothing runs here any more; to be called once replies were ordered to leave.
    pub(crate) async fn wait(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends what follows replies on other instances, once no client follows here.
    pub(crate) async fn close(&self) {
        self.remote.close().await;
    }

    /// What is held in memory for replies, by its name.
    #[cfg(feature = "simulation")]
    pub(crate) fn holds(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("running", self.running.len()),
            ("tasks", self.tasks.len()),
            ("feeds", self.threads.feeds().len()),
            ("followed elsewhere", self.remote.following()),
            ("adoptions", self.takeover.adoptions.len()),
        ]
    }

    /// Completes deletions that a crash broke off.
    pub(crate) fn deletions(&self) -> Deletions {
        Deletions(self.threads.clone())
    }

    /// Completes deletions of users that were begun, until `stop`.
    pub(crate) async fn complete_departures(self, stop: CancellationToken) {
        self.departures.complete(stop).await;
    }

    /// Deletes what is older than its retention, until `stop`.
    pub(crate) async fn keep_retention(self, stop: CancellationToken) {
        self.keeper.run(stop).await;
    }

    /// The owners of replies, and how they ended.
    pub(crate) fn ends(&self) -> Ends {
        Ends(self.threads.clone())
    }

    /// Whether the store is asked for what the log does not hold: it answered lately, or its state is unknown.
    pub(crate) fn asks_store(&self) -> bool {
        self.threads.asks_store()
    }

    /// Watches a store that does not answer, so that it is asked again as soon as it does. Runs until `stop`.
    pub(crate) async fn watch_store(self, stop: CancellationToken) {
        self.threads.watch_store(stop).await;
    }
}
