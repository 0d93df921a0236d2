//! The other instances on a simulated network: the failure detector is the real one, the messages are not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Cluster;
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::jetstream::failure_detector::{Answer, FailureDetector, LISTENING, RECONNECTING};
use crate::log::peers::{Command, Life, choose, owner_of};
use crate::simulation::{Fault, Process};

/// Between two beats, and two looks at who is silent.
const BEAT: Duration = Duration::from_millis(250);

/// A look that comes this late says that we were frozen ourselves.
const GAP: Duration = Duration::from_secs(1);

/// How long an answer is waited for, and the pause between two questions where nobody listens.
const ASK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(200);

/// How long an instance may take to answer a command.
const COMMAND: Duration = Duration::from_millis(200);

/// All that ever joined.
#[derive(Default)]
pub(super) struct Members(Mutex<BTreeMap<u64, Arc<Member>>>);

/// A handle: cheap to clone.
#[derive(Clone)]
pub struct Presence {
    cluster: Weak<super::Shared>,
    own: Arc<Member>,
}

struct Member {
    instance: InstanceId,
    process: Process,
    detector: Mutex<FailureDetector>,
    deaths: watch::Sender<u64>,
    has_left: watch::Sender<bool>,
    commands: Mutex<Option<mpsc::UnboundedSender<Commanded>>>,
    topics: Mutex<HashMap<&'static str, mpsc::UnboundedSender<Told>>>,
}

struct Commanded {
    reply: ReplyId,
    command: Command,
    answer: oneshot::Sender<bool>,
}

struct Told {
    message: Bytes,
    answer: Option<oneshot::Sender<Vec<u8>>>,
}

impl Members {
    /// Since when one runs, is connected and has not left.
    pub(super) fn well_since(&self, instance: InstanceId) -> Option<tokio::time::Instant> {
        let members = self.0.lock();
        let member = members.get(&instance.number()).filter(|member| !*member.has_left.borrow())?;
        member.process.well_since()
    }
}

impl Presence {
    /// Begins to beat, and to listen.
    pub(super) fn start(cluster: &Cluster, instance: InstanceId, process: Process) -> Self {
        let own = Arc::new(Member {
            instance,
            process,
            detector: Mutex::new(FailureDetector::new(now())),
            deaths: watch::Sender::new(0),
            has_left: watch::Sender::new(false),
            commands: Mutex::default(),
            topics: Mutex::default(),
        });
        cluster.0.members.0.lock().insert(instance.number(), Arc::clone(&own));
        let presence = Self { cluster: Arc::downgrade(&cluster.0), own };
        tokio::spawn(presence.clone().beat());
        presence
    }

    pub(in crate::log) fn life(&self, instance: InstanceId) -> Life {
        if instance == self.own.instance {
            return Life::Alive;
        }
        self.own.detector.lock().life(instance, now())
    }

    pub(in crate::log) fn dead_since(&self, instance: InstanceId) -> Option<Instant> {
        self.own.detector.lock().dead_since(instance)
    }

    pub(in crate::log) fn silence(&self, instance: InstanceId) -> Option<Duration> {
        self.own.detector.lock().silence(instance, now())
    }

    pub(in crate::log) fn is_ours(&self, reply: ReplyId) -> bool {
        let detector = self.own.detector.lock();
        owner_of(reply, detector.judges(now()).chain([self.own.instance])) == Some(self.own.instance)
    }

    pub(in crate::log) fn deaths(&self) -> watch::Receiver<u64> {
        self.own.deaths.subscribe()
    }

    pub(in crate::log) fn count(&self) -> usize {
        self.own.detector.lock().living().count() + 1
    }

    pub(in crate::log) fn keeper(&self, key: &str) -> InstanceId {
        let own = self.own.instance;
        choose(key, self.own.detector.lock().living().chain([own])).unwrap_or(own)
    }

    pub(in crate::log) async fn command(&self, instance: InstanceId, reply: ReplyId, command: Command) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = async {
            self.own.process.turn().await;
            let commands = self.reach(instance)?.commands.lock().clone()?;
            commands.send(Commanded { reply, command, answer }).ok()?;
            let handled = answered.await.ok()?;
            self.heard(instance)?;
            Some(handled)
        };
        let handled = timeout(COMMAND, sent).await;
        self.own.process.turn().await;
        matches!(handled, Ok(Some(true)))
    }

    pub(in crate::log) async fn handle(&self, handle: impl Fn(ReplyId, Command) -> bool + Send) {
        let (sender, mut commands) = mpsc::unbounded_channel();
        *self.own.commands.lock() = Some(sender);
        while let Some(Commanded { reply, command, answer }) = commands.recv().await {
            self.own.process.turn().await;
            // Whoever asked may have gone.
            let _ = answer.send(handle(reply, command));
        }
    }

    pub(in crate::log) async fn ask_about(
        &self,
        topic: &'static str,
        instance: InstanceId,
        message: Vec<u8>,
        patience: Duration,
    ) -> Option<Bytes> {
        let (answer, answered) = oneshot::channel();
        let sent = async {
            self.own.process.turn().await;
            self.say(topic, instance, Told { message: message.into(), answer: Some(answer) })?;
            let answer = answered.await.ok()?;
            self.heard(instance)?;
            Some(Bytes::from(answer))
        };
        let answer = timeout(patience, sent).await.ok().flatten();
        self.own.process.turn().await;
        answer
    }

    pub(in crate::log) async fn tell(&self, topic: &'static str, instance: InstanceId, message: Vec<u8>) {
        self.own.process.turn().await;
        let _ = self.say(topic, instance, Told { message: message.into(), answer: None });
    }

    pub(in crate::log) async fn answer<A>(&self, topic: &'static str, answer: impl Fn(Bytes) -> A + Send)
    where
        A: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let (sender, mut told) = mpsc::unbounded_channel::<Told>();
        self.own.topics.lock().insert(topic, sender);
        while let Some(Told { message, answer: asked }) = told.recv().await {
            self.own.process.turn().await;
            let answering = answer(message);
            tokio::spawn(async move {
                if let (Some(answer), Some(asked)) = (answering.await, asked) {
                    let _ = asked.send(answer);
                }
            });
        }
    }

    pub(in crate::log) async fn leave(&self) {
        self.own.process.turn().await;
        self.own.has_left.send_replace(true);
        for other in self.others().into_iter().filter(|other| self.reach(other.instance).is_some()) {
            other.detector.lock().left(self.own.instance, now());
            other.deaths.send_modify(|deaths| *deaths += 1);
        }
    }

    /// Beats, hears, looks who is silent, and asks them. Until it leaves.
    async fn beat(self) {
        let own = &self.own;
        let mut looked = now();
        loop {
            tokio::time::sleep(BEAT).await;
            own.process.turn().await;
            if *own.has_left.borrow() {
                return;
            }
            for other in self.others() {
                if other.process.is_running() && self.reach(other.instance).is_some() {
                    other.detector.lock().heard(own.instance, now());
                }
            }
            if !own.process.is_connected() {
                own.detector.lock().was_away(now(), RECONNECTING);
            } else if now() - looked > GAP {
                own.detector.lock().was_away(now(), LISTENING);
            }
            looked = now();
            let silent = own.detector.lock().silent(now());
            for silent in silent {
                tokio::spawn(self.clone().ask(silent));
            }
        }
    }

    /// Asks an instance whether it lives, once more where nobody is there.
    async fn ask(self, silent: InstanceId) {
        if self.ask_once(silent).await == Answer::Nobody {
            tokio::time::sleep(AGAIN).await;
            self.ask_once(silent).await;
        }
    }

    async fn ask_once(&self, silent: InstanceId) -> Answer {
        let answer =
            match self.member(silent).filter(|member| !member.process.is_killed() && !*member.has_left.borrow()) {
                None => Answer::Nobody,
                Some(member) if member.process.is_running() && self.reach(silent).is_some() => Answer::Here,
                Some(_) => Answer::None,
            };
        if answer == Answer::None {
            tokio::time::sleep(ASK).await;
        }
        self.own.process.turn().await;
        if self.own.detector.lock().answered(silent, answer, now()) {
            self.own.deaths.send_modify(|deaths| *deaths += 1);
        }
        answer
    }

    fn say(&self, topic: &'static str, instance: InstanceId, told: Told) -> Option<()> {
        let topics = self.reach(instance)?;
        let sender = topics.topics.lock().get(topic).cloned()?;
        sender.send(told).ok()
    }

    fn others(&self) -> Vec<Arc<Member>> {
        let Some(cluster) = self.cluster.upgrade() else { return Vec::new() };
        let members = cluster.members.0.lock();
        members.values().filter(|member| member.instance != self.own.instance).cloned().collect()
    }

    fn member(&self, instance: InstanceId) -> Option<Arc<Member>> {
        self.cluster.upgrade()?.members.0.lock().get(&instance.number()).cloned()
    }

    /// An instance, if a message reaches it now.
    fn reach(&self, instance: InstanceId) -> Option<Arc<Member>> {
        let member = self.member(instance)?;
        let is_lost = || self.cluster.upgrade().is_none_or(|cluster| cluster.dice.strikes(Fault::MessageLost));
        let is_there = !member.process.is_killed() && member.process.is_connected() && self.own.process.is_connected();
        (is_there && !is_lost()).then_some(member)
    }

    /// Whether an answer of an instance arrives.
    fn heard(&self, instance: InstanceId) -> Option<()> {
        self.reach(instance).map(drop)
    }
}

/// The time of the runtime, which a simulation moves.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
