//! The contracts that every log and every store keeps, held against each implementation.

#[expect(clippy::print_stdout, reason = "measurements are for a person")]
mod embedded_measure;
#[expect(clippy::print_stdout, reason = "measurements are for a person")]
mod jetstream_measure;
mod layers;
#[path = "../support/ports.rs"]
#[expect(unreachable_pub, reason = "the integration tests use it too")]
mod ports;
#[path = "../support/nats.rs"]
#[expect(unreachable_pub, dead_code, reason = "the integration tests use more of it")]
mod nats;
#[macro_use]
mod log_contract;
#[expect(clippy::print_stdout, reason = "measurements are for a person")]
mod peers;
mod postgres;
#[cfg(feature = "simulation")]
mod simulated;
mod sqlite;
mod store_contract;

#[path = "../support/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server's tests use more of it, and read better so")]
mod postgres_server;

/// Asks again and again until `probe` finds nothing wrong; the first time always.
async fn until<T>(what: &str, within: std::time::Duration, mut probe: impl AsyncFnMut() -> Result<(), T>)
where
    T: std::fmt::Debug,
{
    let begun = std::time::Instant::now();
    while let Err(state) = probe().await {
        assert!(begun.elapsed() < within, "waited in vain: {what}: {state:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

mod embedded {
    use std::time::Duration;

    use bytes::Bytes;
    use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
    use rejoinder::log::embedded::{Config, OpenError, SEGMENT_BYTES};
    use rejoinder::log::{Embedded, Log, Subject};
    use tempfile::TempDir;

    use crate::log_contract::wait_for_the_next_millisecond;

    fn open(directory: &TempDir) -> Result<Log, OpenError> {
        let dir = directory.path().to_owned();
        Embedded::open(Config { dir, sync_always: false, min_free_disk: 0, segment_bytes: SEGMENT_BYTES })
            .map(Log::Embedded)
    }

    /// A new log, and what has to be kept for it to stay.
    #[expect(clippy::unused_async, reason = "other logs are opened over a network")]
    async fn fresh() -> (Log, TempDir) {
        let directory = TempDir::new().expect("a temporary directory");
        (open(&directory).expect("a log"), directory)
    }

    log_contract_tests!(fresh);
    log_contract_tests! { fresh:
        what_the_store_does_not_have_does_not_expire
        old_records_expire_and_the_order_goes_on
        a_chain_expires_unless_a_ticket_holds_it
    }

    #[tokio::test]
    async fn a_log_opens_again_with_everything_in_it_and_keeps_its_fences() {
        let (log, directory) = fresh().await;
        let thread = ThreadId::random();
        let (transcript, chain) = (Subject::Transcript(thread), Subject::ReplyLog(ReplyId::random(thread)));
        for subject in [transcript, chain] {
            log.records().append(subject, 0, "a".into()).await.unwrap();
            log.records().append(subject, 1, "b".into()).await.unwrap();
        }
        let (identity, position) = (log.records().identity(0), log.records().last_position(0));
        drop(log);
        let log = reopened(&directory).await;
        assert_eq!((log.records().identity(0), log.records().last_position(0)), (identity, position));
        for subject in [transcript, chain] {
            assert!(log.records().append(subject, 1, "late".into()).await.is_err());
            log.records().append(subject, 2, "c".into()).await.unwrap();
            assert_eq!(log.records().read(subject, 0).await.unwrap().len(), 3);
        }
        assert_eq!(log.records().last_position(0), position + 1);
    }

    /// What runs is written again when a segment expires: a deletion finds the copies before, too.
    #[tokio::test]
    async fn a_reply_that_outlived_segments_is_erased_as_a_whole() {
        let (log, directory) = fresh().await;
        let (reply, day) = (ReplyId::random(ThreadId::random()), Duration::from_hours(24));
        let (chain, window) = (Subject::ReplyLog(reply), Duration::from_secs(1));
        log.leases().acquire(InstanceId::random(), reply).await.unwrap();
        let mut last = 0;
        // Segments are closed at a quarter of the window: the second is not old yet when the first one goes.
        let begun = std::time::Instant::now();
        for at in [0, 300, 600, 1150] {
            while begun.elapsed() < Duration::from_millis(at) {
                wait_for_the_next_millisecond().await;
            }
            log.expire(day, window).await.unwrap();
            last = log.records().append(chain, last, Bytes::from(format!("a secret {at}"))).await.unwrap();
            log.snapshots().put(reply, 0, Bytes::from(format!("a secret so far {at}"))).await.unwrap();
        }
        assert_eq!(log.records().read(chain, 0).await.unwrap().len(), 4);
        last = log.records().append(chain, last, "deleted".into()).await.unwrap();
        log.records().erase_before(chain, last).await.unwrap();
        log.snapshots().seal(reply).await.unwrap();
        assert_eq!(log.records().read(chain, 0).await.unwrap().len(), 1);
        assert_eq!(files_with(&directory, b"a secret"), Vec::<std::path::PathBuf>::new());
    }

    /// Files of the log that hold these bytes.
    fn files_with(directory: &TempDir, text: &[u8]) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(directory.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let has = |path: &std::path::PathBuf| {
            path.is_file() && std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text)
        };
        files.filter(has).collect()
    }

    #[tokio::test]
    async fn a_second_process_is_refused_in_words() {
        let (_log, directory) = fresh().await;
        let error = open(&directory).err().expect("it is in use");
        assert!(error.to_string().contains("in use by another process"), "{error}");
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_is_named() {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let config = Config { dir: file.clone(), sync_always: false, min_free_disk: 0, segment_bytes: SEGMENT_BYTES };
        let error = Embedded::open(config).err().expect("a file is no directory");
        let message = error.to_string();
        assert!(message.contains("DATA_DIR") && message.contains(&file.display().to_string()), "{message}");
    }

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_admits_nothing_new() {
        let directory = TempDir::new().expect("a temporary directory");
        let dir = directory.path().to_owned();
        let log = Log::Embedded(
            Embedded::open(Config { dir, sync_always: false, min_free_disk: u64::MAX, segment_bytes: SEGMENT_BYTES })
                .unwrap(),
        );
        assert!(log.admits().is_err());
        // What runs may come to its end.
        log.records().append(Subject::Transcript(ThreadId::random()), 0, "end".into()).await.unwrap();
    }

    /// Opens the log once its writer has let go of it.
    async fn reopened(directory: &TempDir) -> Log {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match open(directory) {
                Ok(log) => return log,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
}

mod jetstream {
    use std::num::NonZeroU32;

    use rejoinder::domain::ids::{ReplyId, ThreadId};
    use rejoinder::log::jetstream::{Config, OpenError};
    use rejoinder::log::{AppendError, JetStream, Log, Subject};

    use crate::nats::{Nats, NatsCluster};

    pub(super) fn config(nats: &Nats) -> Config {
        config_of(&nats.url)
    }

    fn config_of(url: &str) -> Config {
        let day = std::time::Duration::from_hours(24);
        Config {
            servers: url.parse().expect("addresses"),
            credentials: None,
            ca_file: None,
            api: rejoinder::log::jetstream::Api::Own,
            replicas: 1,
            shards: NonZeroU32::MIN,
            retention: day,
            replay_window: day,
            max_bytes: None,
        }
    }

    /// The contract on three copies: one log after another on one cluster.
    #[tokio::test]
    async fn a_log_on_a_cluster_keeps_the_whole_contract() {
        let cluster = NatsCluster::start().await;
        let config = Config { replicas: 3, ..config_of(&cluster.url) };
        macro_rules! in_turn {
            ($($name:ident)*) => {$(
                println!("{}", stringify!($name));
                let log = JetStream::open(&config).await.expect("a log");
                crate::log_contract::$name(Log::JetStream(log)).await;
                cluster.clear().await;
            )*};
        }
        log_contract! { in_turn! }
    }

    /// Expiry and erasure of a subject's last record move the fence to “empty”: whoever goes on from a snapshot has to ask where
    /// it is. One server, and three together, refuse any other expectation, also of a sequence that the stream has passed.
    async fn an_emptied_subject_expects_an_empty_one(log: Log) {
        let subject = Subject::ReplyLog(ReplyId::random(ThreadId::random()));
        let first = log.records().append(subject, 0, "a".into()).await.unwrap();
        let last = log.records().append(subject, first, "b".into()).await.unwrap();
        log.records().append(Subject::ReplyLog(ReplyId::random(ThreadId::random())), 0, "other".into()).await.unwrap();
        log.records().erase(subject, vec![first, last]).await.unwrap();
        for stale in [last, first, last + 1, last + 2] {
            let refused = log.records().append(subject, stale, "late".into()).await.unwrap_err();
            assert!(matches!(refused, AppendError::Conflict { last: 0, .. }), "{stale}: {refused:?}");
        }
        let next = log.records().append(subject, 0, "c".into()).await.unwrap();
        assert_eq!(log.records().read(subject, 0).await.unwrap()[0].sequence, next);
    }

    #[tokio::test]
    async fn on_one_server_an_emptied_subject_expects_an_empty_one() {
        let (log, _nats) = fresh().await;
        an_emptied_subject_expects_an_empty_one(log).await;
    }

    #[tokio::test]
    async fn on_three_servers_an_emptied_subject_expects_an_empty_one() {
        let cluster = NatsCluster::start().await;
        let config = Config { replicas: 3, ..config_of(&cluster.url) };
        an_emptied_subject_expects_an_empty_one(Log::JetStream(JetStream::open(&config).await.expect("a log"))).await;
    }

    /// A new log on a server of its own.
    async fn fresh() -> (Log, Nats) {
        let nats = Nats::start().await;
        let log = JetStream::open(&config(&nats)).await.expect("a log");
        (Log::JetStream(log), nats)
    }

    log_contract_tests!(fresh);
    log_contract_tests! { fresh:
        a_snapshot_that_is_sealed_is_not_written_again_by_who_was_late
    }

    #[tokio::test]
    async fn a_log_opens_again_with_everything_in_it() {
        let (log, nats) = fresh().await;
        crate::log_contract::records_read_back_in_order(log.clone()).await;
        let again = Log::JetStream(JetStream::open(&config(&nats)).await.expect("a log"));
        assert_eq!(log.records().identity(0), again.records().identity(0));
        assert_eq!(again.records().scan(0, 0, 10).await.unwrap().len(), 2);
        assert_eq!(again.records().last_position(0), log.records().last_position(0), "known from the start on");
    }

    #[tokio::test]
    async fn the_number_of_shards_is_fixed_when_the_log_is_made() {
        let nats = Nats::start().await;
        let with = |shards| Config { shards: NonZeroU32::new(shards).unwrap(), ..config(&nats) };
        let log = Log::JetStream(JetStream::open(&with(2)).await.expect("a log"));
        assert_eq!(log.records().shards(), 2);
        for other in [1, 3] {
            let error = JetStream::open(&with(other)).await.err().expect("another number");
            assert!(matches!(error, OpenError::Shards { .. }) && error.to_string().contains("LOG_SHARDS=2"), "{error}");
        }
        JetStream::open(&with(2)).await.expect("the same number");
    }
}

/// The contract where messages are short, so that long records are frequent.
mod jetstream_of_short_messages {
    use rejoinder::log::{JetStream, Log};

    use crate::nats::Nats;

    async fn fresh() -> (Log, Nats) {
        let nats = Nats::with_max_payload(64 << 10).await;
        let log = JetStream::open(&super::jetstream::config(&nats)).await.expect("a log");
        (Log::JetStream(log), nats)
    }

    log_contract_tests!(fresh);

    /// Nothing of them is left, neither in a message nor beside it.
    #[tokio::test]
    async fn long_records_are_erased_with_all_their_pieces() {
        let (log, nats) = fresh().await;
        crate::log_contract::a_record_of_any_length_is_a_record_like_any_other(log.clone()).await;
        crate::log_contract::a_snapshot_of_any_length_replaces_the_one_before(log).await;
        let client = async_nats::connect(&nats.url).await.unwrap();
        let mut stream = async_nats::jetstream::new(client).get_stream("REJOINDER_PIECES_0").await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, 0);
    }

    #[tokio::test]
    async fn a_server_of_too_short_messages_is_refused_in_words() {
        let nats = Nats::with_max_payload(4096).await;
        let error = JetStream::open(&super::jetstream::config(&nats)).await.err().expect("too short");
        assert!(error.to_string().contains("max_payload"), "{error}");
    }
}

mod jetstream_in_shards {
    use rejoinder::log::{JetStream, Log};

    use crate::nats::Nats;

    async fn fresh() -> (Log, Nats) {
        let nats = Nats::start().await;
        let shards = std::num::NonZeroU32::new(3).unwrap();
        let config = rejoinder::log::jetstream::Config { shards, ..super::jetstream::config(&nats) };
        let log = JetStream::open(&config).await.expect("a log");
        (Log::JetStream(log), nats)
    }

    log_contract_tests!(fresh);
}
