//! Presence: sends this instance's heartbeats, and finds out which other instances are dead.
//!
//! Heartbeats come from a thread and a connection of their own: an instance whose runtime is busy is not dead.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, RequestErrorKind};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connect::{self, Config};
use super::failure_detector::{Answer, FailureDetector, LISTENING, RECONNECTING};
use super::open_error::OpenError;
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::peers::{Command, Life, choose, owner_of};

/// Between two beats.
const BEAT: Duration = Duration::from_millis(250);

/// The interval between checks for missed heartbeats.
const LOOK: Duration = Duration::from_millis(100);

/// A check that comes this late shows that this process was frozen.
const GAP: Duration = Duration::from_secs(1);

/// How long one answer is waited for, and the pause between two questions if there is no responder.
const ASK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(200);

/// How long an instance may take to answer an order.
const ORDER: Duration = Duration::from_millis(200);

const BEATS: &str = "rejoinder.presence.beat";

/// A handle: cheap to clone. The last one that is dropped ends it, without a goodbye.
#[derive(Clone)]
pub struct Presence {
    inner: Arc<Inner>,
}

struct Inner {
    instance: InstanceId,
    detector: Mutex<FailureDetector>,
    /// Counts deaths and goodbyes.
    deaths: watch::Sender<u64>,
    /// Times that an instance was silent for too long.
    missed: AtomicU64,
    /// For orders.
    client: Client,
    goodbye: CancellationToken,
    gone: CancellationToken,
}

#[derive(Serialize, Deserialize)]
struct Beat {
    instance: InstanceId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaves: bool,
}

#[derive(Serialize, Deserialize)]
struct Commanded {
    reply: ReplyId,
    /// Called so by the versions before.
    #[serde(rename = "order")]
    command: Command,
}

impl Presence {
    /// How often another instance was silent for too long.
    pub(in crate::log) fn missed(&self) -> u64 {
        self.inner.missed.load(Ordering::Relaxed)
    }

    /// Begins to beat, and to listen.
    pub(super) async fn start(config: Config, instance: InstanceId, client: Client) -> Result<Self, OpenError> {
        let inner = Arc::new(Inner {
            instance,
            detector: Mutex::new(FailureDetector::new(Instant::now())),
            deaths: watch::Sender::new(0),
            missed: AtomicU64::new(0),
            client,
            goodbye: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        let (ready, started) = tokio::sync::oneshot::channel();
        let beating = Arc::downgrade(&inner);
        let thread = std::thread::Builder::new().name("presence".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime on one thread");
            runtime.block_on(run(config, instance, beating, ready));
        });
        thread.expect("a thread can be started");
        started.await.expect("it reports how it started")?;
        Ok(Self { inner })
    }

    pub(crate) fn life(&self, instance: InstanceId) -> Life {
        if instance == self.inner.instance {
            return Life::Alive;
        }
        self.inner.detector.lock().life(instance, Instant::now())
    }

    /// Since when an instance is dead, if that is known.
    pub(crate) fn dead_since(&self, instance: InstanceId) -> Option<Instant> {
        self.inner.detector.lock().dead_since(instance)
    }

    /// How long ago an instance was heard of last, if it is known.
    pub(crate) fn silence(&self, instance: InstanceId) -> Option<Duration> {
        self.inner.detector.lock().silence(instance, Instant::now())
    }

    pub(crate) fn is_ours(&self, reply: ReplyId) -> bool {
        let detector = self.inner.detector.lock();
        owner_of(reply, detector.judges(Instant::now()).chain([self.inner.instance])) == Some(self.inner.instance)
    }

    pub(crate) fn deaths(&self) -> watch::Receiver<u64> {
        self.inner.deaths.subscribe()
    }

    pub(crate) async fn command(&self, instance: InstanceId, reply: ReplyId, command: Command) -> bool {
        let payload = serde_json::to_vec(&Commanded { reply, command }).expect("plain data");
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(ORDER));
        let answer = self.inner.client.send_request(orders(instance), request).await;
        answer.is_ok_and(|answer| &answer.payload[..] == b"yes")
    }

    pub(crate) async fn handle(&self, handle: impl Fn(ReplyId, Command) -> bool + Send) {
        let Ok(mut ordered) = self.inner.client.subscribe(orders(self.inner.instance)).await else { return };
        while let Some(message) = ordered.next().await {
            let Ok(Commanded { reply, command }) = serde_json::from_slice(&message.payload) else { continue };
            let answer: &'static [u8] = if handle(reply, command) { b"yes" } else { b"no" };
            if let Some(inbox) = message.reply {
                let _ = self.inner.client.publish(inbox, answer.into()).await;
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.inner.detector.lock().living().count() + 1
    }

    pub(crate) fn keeper(&self, key: &str) -> InstanceId {
        let own = self.inner.instance;
        choose(key, self.inner.detector.lock().living().chain([own])).unwrap_or(own)
    }

    pub(crate) async fn ask_about(
        &self,
        topic: &'static str,
        instance: InstanceId,
        message: Vec<u8>,
        timeout: Duration,
    ) -> Option<Bytes> {
        let request = async_nats::Request::new().payload(message.into()).timeout(Some(timeout));
        let answer = self.inner.client.send_request(about(topic, instance), request).await;
        answer.ok().map(|answer| answer.payload)
    }

    pub(crate) async fn tell(&self, topic: &'static str, instance: InstanceId, message: Vec<u8>) {
        let _ = self.inner.client.publish(about(topic, instance), message.into()).await;
    }

    /// What is answered at once is answered in turn; an answer that has to wait holds up no other.
    pub(crate) async fn answer<A>(&self, topic: &'static str, answer: impl Fn(Bytes) -> A + Send)
    where
        A: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let Ok(mut asked) = self.inner.client.subscribe(about(topic, self.inner.instance)).await else { return };
        let mut waiting = JoinSet::new();
        loop {
            let message = tokio::select! {
                message = asked.next() => message,
                Some(_) = waiting.join_next() => continue,
            };
            let Some(message) = message else { return };
            let (client, inbox) = (self.inner.client.clone(), message.reply);
            let answering = answer(message.payload);
            let mut answering = Box::pin(async move {
                if let (Some(answer), Some(inbox)) = (answering.await, inbox) {
                    let _ = client.publish(inbox, answer.into()).await;
                }
            });
            if (&mut answering).now_or_never().is_none() {
                waiting.spawn(answering);
            }
        }
    }

    /// Waits until the goodbye is on its way.
    pub(crate) async fn leave(&self) {
        self.inner.goodbye.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.gone.cancelled()).await;
    }
}

fn orders(instance: InstanceId) -> String {
    format!("rejoinder.order.{instance}")
}

fn about(topic: &str, instance: InstanceId) -> String {
    format!("rejoinder.{topic}.{instance}")
}

fn questions(instance: InstanceId) -> String {
    format!("rejoinder.presence.ask.{instance}")
}

type Started = tokio::sync::oneshot::Sender<Result<(), OpenError>>;

/// The presence thread: sends, listens, asks, until the handle is gone or has left.
async fn run(config: Config, instance: InstanceId, inner: std::sync::Weak<Inner>, started: Started) {
    let away = Arc::new(tokio::sync::Notify::new());
    let (client, subscribed) = match listen(&config, instance, Arc::clone(&away)).await {
        Ok(connected) => {
            let _ = started.send(Ok(()));
            connected
        }
        Err(error) => return drop(started.send(Err(error))),
    };
    let (mut beats, mut asked) = subscribed;
    let goodbye = match inner.upgrade() {
        Some(inner) => inner.goodbye.clone(),
        None => return,
    };
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut looked = Instant::now();
    let (mut asking, mut asks) = (HashSet::new(), JoinSet::<InstanceId>::new());
    loop {
        let Some(inner) = inner.upgrade() else { return };
        tokio::select! {
            () = goodbye.cancelled() => {
                send_beat(&client, &Beat { instance, leaves: true }).await;
                let _ = client.flush().await;
                return inner.gone.cancel();
            }
            _ = beat.tick() => send_beat(&client, &Beat { instance, leaves: false }).await,
            Some(Ok(silent)) = asks.join_next() => {
                asking.remove(&silent.number());
            }
            () = away.notified() => inner.detector.lock().was_away(Instant::now(), RECONNECTING),
            Some(message) = beats.next() => {
                if let Ok(beat) = serde_json::from_slice::<Beat>(&message.payload) {
                    inner.take(&beat);
                }
            }
            Some(message) = asked.next() => {
                if let Some(inbox) = message.reply {
                    let _ = client.publish(inbox, "here".into()).await;
                }
            }
            () = tokio::time::sleep_until((looked + LOOK).into()) => {
                let now = Instant::now();
                // Without a connection it cannot judge.
                if client.connection_state() != async_nats::connection::State::Connected {
                    inner.detector.lock().was_away(now, RECONNECTING);
                } else if now - looked > GAP {
                    inner.detector.lock().was_away(now, LISTENING);
                }
                looked = now;
                for silent in inner.detector.lock().silent(now) {
                    if asking.insert(silent.number()) {
                        inner.missed.fetch_add(1, Ordering::Relaxed);
                        asks.spawn(ask(client.clone(), silent, Arc::clone(&inner)));
                    }
                }
            }
        }
    }
}

type Subscribers = (async_nats::Subscriber, async_nats::Subscriber);

async fn listen(
    config: &Config,
    instance: InstanceId,
    away: Arc<tokio::sync::Notify>,
) -> Result<(Client, Subscribers), OpenError> {
    let client = connect::client(config, "rejoinder: presence", move |event| {
        if matches!(event, async_nats::Event::Connected | async_nats::Event::Disconnected) {
            away.notify_one();
        }
    });
    let client = client.await?;
    let failed =
        |error: async_nats::SubscribeError| OpenError::Connect { url: config.shown(), reason: error.to_string() };
    let beats = client.subscribe(BEATS).await.map_err(failed)?;
    let asked = client.subscribe(questions(instance)).await.map_err(failed)?;
    Ok((client, (beats, asked)))
}

async fn send_beat(client: &Client, beat: &Beat) {
    // One that is lost is followed by the next.
    let _ = client.publish(BEATS, serde_json::to_vec(beat).expect("plain data").into()).await;
}

impl Inner {
    fn take(&self, beat: &Beat) {
        if beat.instance == self.instance {
            return;
        }
        let now = Instant::now();
        if beat.leaves {
            self.detector.lock().left(beat.instance, now);
            tracing::info!(instance = %beat.instance, "instance left");
            self.deaths.send_modify(|deaths| *deaths += 1);
        } else {
            self.detector.lock().heard(beat.instance, now);
        }
    }
}

/// Asks an instance whether it lives, once more if there is no responder, and notes the answer. Returns which it was.
async fn ask(client: Client, silent: InstanceId, inner: Arc<Inner>) -> InstanceId {
    if ask_once(&client, silent, &inner).await == Answer::Nobody {
        tokio::time::sleep(AGAIN).await;
        ask_once(&client, silent, &inner).await;
    }
    silent
}

async fn ask_once(client: &Client, silent: InstanceId, inner: &Inner) -> Answer {
    let request = async_nats::Request::new().payload("?".into()).timeout(Some(ASK));
    let answer = match client.send_request(questions(silent), request).await {
        Ok(_) => Answer::Here,
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Answer::Nobody,
        Err(_) => Answer::None,
    };
    if inner.detector.lock().answered(silent, answer, Instant::now()) {
        tracing::warn!(instance = %silent, "instance failed");
        inner.deaths.send_modify(|deaths| *deaths += 1);
    }
    answer
}
