//! A runtime of a test's own: the embedded log, a file as the store, and the built-in models.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Config, Parts, Replies, Runtime, Timeouts, build};
use crate::config::Tiers;
use crate::domain::caller::Owner;
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::domain::params::Params;
use crate::domain::record::{Accepted, Change, ReplyLogEntry, ReplyLogRecord, TranscriptRecord, VERSION};
use crate::limits::Limits;
use crate::llm::{self, Upstream};
use crate::log::{Embedded, Log, Peers, Subject, embedded, now_ms};
use crate::speech::hearing::{self, Hearing};
use crate::speech::{self, Speech};
use crate::store::{self, Store, Tables};
use crate::telemetry::Metrics;

/// An instance that is alone on its log.
pub(super) struct Instance {
    pub(super) replies: Replies,
    /// Runs only what a test has it run.
    pub(super) _runtime: Runtime,
    pub(super) log: Log,
    pub(super) store: Store,
    _directory: TempDir,
}

impl Instance {
    pub(super) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let config = embedded::Config {
            dir: directory.path().join("log"),
            sync_always: false,
            min_free_disk: 0,
            segment_bytes: embedded::SEGMENT_BYTES,
        };
        let log = Log::Embedded(Embedded::open(config).unwrap());
        let store = Store::open(&store::Config::in_dir(directory.path()), Tables::Migrate).await.unwrap();
        let (metrics, tasks, instance) = (Metrics::new(), TaskTracker::new(), InstanceId::random());
        let upstream = llm::Config { servers: Vec::new(), model: Some("echo".to_owned()), tasks: tasks.clone() };
        let hearing = hearing::Config { command: Vec::new(), processes: 1, timeout: Duration::from_secs(1) };
        let speech = speech::Config {
            command: Vec::new(),
            processes: 1,
            connections: 1,
            timeouts: speech::Timeouts { first: Duration::from_secs(1), between: Duration::from_secs(1) },
        };
        let peers = (instance, Peers::Alone(instance));
        let limits = Limits::new(Tiers::default(), peers, (log.clone(), store.clone()), Arc::clone(&metrics));
        let parts = Parts {
            log: log.clone(),
            store: store.clone(),
            upstream: Upstream::build(upstream).unwrap(),
            speech: Speech::new(speech, Vec::new(), Arc::clone(&metrics), tasks),
            hearing: Hearing::new(hearing, Vec::new(), Arc::clone(&metrics)),
            limits,
            metrics,
            instance,
            peers: Peers::Alone(instance),
            leave: CancellationToken::new(),
        };
        let timeouts = Timeouts { away: Duration::from_secs(5), full: Duration::from_secs(5) };
        let deadline = Duration::from_mins(1);
        let config = Config {
            max_running: 100,
            reply_deadline: deadline,
            continues: true,
            max_reply_bytes: 1 << 20,
            max_record_bytes: 1 << 20,
            captures_content: false,
            retention: crate::config::Retention::default(),
            log_timeouts: timeouts,
        };
        let (replies, runtime) = build(config, parts);
        Self { replies, _runtime: runtime, log, store, _directory: directory }
    }

    /// A reply that another instance accepted, which is dead now.
    pub(super) async fn orphan(&self, model: &str, text: &str) -> Arc<Accepted> {
        let accepted = Arc::new(accepted(model, text));
        let change = Change::Accepted(Arc::clone(&accepted));
        let record = TranscriptRecord { v: VERSION, ordinal: 1, at: now_ms(), change };
        let subject = Subject::Transcript(accepted.reply.thread());
        self.log.records().append(subject, 0, record.encode().into()).await.unwrap();
        accepted
    }

    /// Puts a record at the end of a reply's log.
    pub(super) async fn write(&self, reply: ReplyId, epoch: u32, entry: ReplyLogEntry) {
        let subject = Subject::ReplyLog(reply);
        let last = self.log.records().last(subject).await.unwrap().map_or(0, |last| last.sequence);
        let record = ReplyLogRecord { v: VERSION, epoch, nonce: 1, entry };
        self.log.records().append(subject, last, record.encode().into()).await.unwrap();
    }
}

fn accepted(model: &str, text: &str) -> Accepted {
    let reply = ReplyId::random(ThreadId::random());
    let message = serde_json::json!({"type": "message", "id": "msg_1", "status": "completed", "role": "user",
        "content": [{"type": "input_text", "text": text}]});
    Accepted {
        reply,
        in_conversation: false,
        chat: false,
        previous: None,
        created_at: now_ms() / 1000,
        owner: Owner::anonymous(),
        instance: InstanceId::random(),
        nonce: 1,
        digest: None,
        trace: None,
        input: vec![serde_json::from_value(message).unwrap()],
        provider_state: std::collections::BTreeMap::new(),
        params: Arc::new(Params { model: model.to_owned(), store: true, ..Params::default() }),
    }
}
