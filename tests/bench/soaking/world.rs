//! What all parts of a run share: the server's address, what was counted, and whether the server is there.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Answer, Client, Error, Header, Stream};
use crate::later::Later;
use crate::options::Options;
use crate::report::Restart;
use crate::sampling::Sample;
use crate::server::{self, Server};
use crate::tally::{Check, Tally};
use crate::{load, restart, sampling};

/// How long after a start a client may still find that its connection is gone.
const GRACE: Duration = Duration::from_secs(1);

/// Between two tries while the server is away.
const RETRY: Duration = Duration::from_millis(50);

/// The longest time that is told apart: a minute.
const LONGEST_MICROS: u64 = 60_000_000;

/// The use is over: what was wrong was told, or the server went away before it had accepted anything.
#[derive(Debug)]
pub(crate) struct Over;

/// The next step of a use.
pub(crate) type Step<T> = Result<T, Over>;

/// What all parts share.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) client: Client,
    pub(crate) tally: Tally,
    pub(crate) later: Later,
    pub(crate) began: Instant,
    /// The server's process.
    pub(crate) pid: AtomicU32,
    /// When it was started, in milliseconds since the beginning; [`AWAY`] while it is not there.
    there_since: AtomicU64,
    numbers: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// Requests that the server's absence ended: nobody can tell whether they were accepted.
    pub(crate) unanswered: AtomicU64,
    pub(crate) uses: TaskTracker,
    /// Cancelled when nothing more makes sense.
    pub(crate) stop: CancellationToken,
    pub(crate) hopeless: Mutex<Option<String>>,
    pub(crate) samples: Mutex<Vec<Sample>>,
    /// Whole times of unpaced replies, in microseconds, of the second half.
    pub(crate) times: Mutex<Histogram<u64>>,
    is_loaded: AtomicBool,
}

const AWAY: u64 = u64::MAX;

/// A run.
pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) server: Server,
    pub(crate) restarts: Vec<Restart>,
    watchers: TaskTracker,
    /// When nothing new began any more, and how many replies had ended by then.
    pub(crate) loaded: (Duration, u64),
}

impl World {
    fn new(options: Options, base: String) -> Self {
        Self {
            client: Client::new(base),
            tally: Tally::new(),
            later: Later::new(&options),
            began: Instant::now(),
            pid: AtomicU32::new(0),
            there_since: AtomicU64::new(AWAY),
            numbers: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            uses: TaskTracker::new(),
            stop: CancellationToken::new(),
            hopeless: Mutex::default(),
            samples: Mutex::default(),
            times: Mutex::new(Histogram::new_with_max(LONGEST_MICROS, 3).expect("three digits are allowed")),
            is_loaded: AtomicBool::new(true),
            options,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(AWAY - 1)
    }

    /// Whether errors are to be expected: the server is not there, or has just come back.
    pub(crate) fn is_away(&self) -> bool {
        let since = self.there_since.load(Relaxed);
        since == AWAY || self.now() < since + u64::try_from(GRACE.as_millis()).unwrap_or(0)
    }

    /// Whether requests make sense.
    pub(crate) fn is_there(&self) -> bool {
        self.there_since.load(Relaxed) != AWAY
    }

    /// How long the server has run.
    pub(crate) fn server_age(&self) -> Option<Duration> {
        let since = self.there_since.load(Relaxed);
        (since != AWAY).then(|| Duration::from_millis(self.now().saturating_sub(since)))
    }

    pub(crate) fn goes_away(&self) {
        self.there_since.store(AWAY, Relaxed);
    }

    pub(crate) fn is_back(&self, pid: u32) {
        self.pid.store(pid, Relaxed);
        self.there_since.store(self.now(), Relaxed);
    }

    /// Whether load is (still) put on the server.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.load(Relaxed)
    }

    /// A number that nobody else has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    pub(crate) fn hold(&self, check: Check) {
        self.tally.hold(check);
    }

    /// Tells what did not hold.
    pub(crate) fn fail(&self, check: Check, about: &str, what: &dyn Display) -> Over {
        let at = self.began.elapsed().as_secs_f64();
        self.tally.fail(check, &format_args!("{at:.1} s, {about}: {what}"));
        Over
    }

    /// The first reason why nothing more makes sense.
    pub(crate) fn give_up(&self, why: String) {
        self.hopeless.lock().get_or_insert(why);
        self.stop.cancel();
    }

    /// A request that may be sent again: its whole answer, whatever its status. Waits for a server that is away.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        header: Header<'_>,
    ) -> Step<Answer> {
        let body = body.into();
        loop {
            match self.client.call(method.clone(), path, body.clone(), header).await {
                Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => {
                    self.hold(Check::Refusals);
                    return Ok(answer);
                }
                Ok(answer) => self.wait_while_away(&format!("{method} {path}"), answer.ok().err()).await?,
                Err(error) => self.wait_while_away(&format!("{method} {path}"), Some(error)).await?,
            }
        }
    }

    /// As [`World::call`], where all has to be well.
    pub(crate) async fn call_ok(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
        header: Header<'_>,
    ) -> Step<Answer> {
        let answer = self.call(method.clone(), path, body, header).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(self.fail(Check::Refusals, &format!("{method} {path}"), &format_args!("{}: {body}", answer.status)))
    }

    /// A stream that may be asked for again. Waits for a server that is away.
    pub(crate) async fn open(&self, method: Method, path: &str, body: Bytes, header: Header<'_>) -> Step<Stream> {
        loop {
            let stream = match self.client.open(method.clone(), path, body.clone(), header).await {
                Ok(stream) => stream.ok().await,
                Err(error) => Err(error),
            };
            match stream {
                Ok(stream) => {
                    self.hold(Check::Refusals);
                    return Ok(stream);
                }
                Err(error) => self.wait_while_away(&format!("{method} {path}"), Some(error)).await?,
            }
        }
    }

    /// After an error: nothing to tell while the server is away. Other errors are faults, and end the use.
    async fn wait_while_away(&self, what: &str, error: Option<Error>) -> Step<()> {
        let Some(error) = error else { return Ok(()) };
        let may_pass = match &error {
            Error::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
            Error::Cut(_) | Error::Silent => true,
        };
        if !may_pass || !self.is_away() {
            return Err(self.fail(Check::Refusals, what, &error));
        }
        tokio::time::sleep(RETRY).await;
        Ok(())
    }
}

impl Run {
    /// Starts the server, and what watches it.
    pub(crate) async fn start(options: Options) -> Result<Self, server::Error> {
        let mut server = Server::new(&options)?;
        let world = Arc::new(World::new(options, server.base()));
        server.start().await?;
        world.is_back(server.pid());
        let watchers = TaskTracker::new();
        watchers.spawn(sampling::watch(Arc::clone(&world), server.data_dir()));
        watchers.spawn(sampling::ask_health(Arc::clone(&world)));
        Ok(Self { world, server, restarts: Vec::new(), watchers, loaded: (Duration::ZERO, 0) })
    }

    /// Puts load on it, with restarts in between.
    pub(crate) async fn load(&mut self) {
        let reading = tokio::spawn(Later::run(Arc::clone(&self.world)));
        tokio::join!(load::arrive(&self.world), restart::conduct(&self.world, &mut self.server, &mut self.restarts));
        self.loaded = (self.world.began.elapsed(), self.world.ended.load(Relaxed));
        self.world.is_loaded.store(false, Relaxed);
        self.world.uses.close();
        self.world.uses.wait().await;
        let _ = reading.await;
    }

    /// Without load: what was kept is looked at once more, also after a restart.
    pub(crate) async fn settle(&mut self) {
        self.world.later.look_at_sample(&self.world).await;
        if !self.world.stop.is_cancelled() {
            self.restarts.extend(restart::once(&self.world, &mut self.server, restart::How::Terminate).await);
            self.world.later.look_at_sample(&self.world).await;
        }
    }

    /// Ends the server.
    pub(crate) async fn finish(&mut self) {
        self.world.goes_away();
        self.world.stop.cancel();
        self.watchers.close();
        self.watchers.wait().await;
        if let Err(error) = self.server.terminate().await {
            self.world.hopeless.lock().get_or_insert(format!("at the end: {error}"));
        }
    }
}
