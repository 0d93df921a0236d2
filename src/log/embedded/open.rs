//! Opens the embedded log, and starts its threads.

use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::blobs::Blobs;
use super::heads::Sealing;
use super::op::Op;
use super::recover::{self, Recovered};
use super::segment::Family;
use super::shortcut::Shortcut;
use super::tail::Tail;
use super::writer::{self, Command, Writer};
use super::{Config, Embedded, OpenError, Progress, QUEUE, Shared, Space, Subscribers};

/// How often the writing of an index is tried again, while the disk does not take it.
const AGAIN: Duration = Duration::from_secs(1);

impl Embedded {
    /// Opens the log, or makes it. Blocks; to be called before anything else runs.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let (dir, lock) = recover::directory(&config.dir)?;
        let recovered = recover::recover(&dir, lock)?;
        let unwritable = |source| OpenError::Unwritable { dir: dir.clone(), source };
        let unindexed = recovered.unindexed.clone();
        let (last_at, shared) = (recovered.last_at, Arc::new(shared(config, recovered)));
        let tails = tails(&shared, last_at).map_err(unwritable)?;
        for name in unindexed {
            if let Some(open) = recover::read_sealed(&shared.segments, name).map_err(unwritable)? {
                shared.heads.write().sealing.push(open.sealed());
            }
        }
        shared.check_space();
        let (sealer, to_index) = mpsc::channel();
        for sealing in shared.heads.read().sealing.clone() {
            let _ = sealer.send(sealing);
        }
        thread("log-index", {
            let shared = Arc::clone(&shared);
            move || seal(&shared, &to_index)
        })
        .map_err(unwritable)?;
        let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&shared), tails, last_at, sealer)));
        let shortcut = Arc::new(Shortcut::new(Arc::clone(&writer), shared.config.sync_always));
        let (queue, commands) = tokio::sync::mpsc::channel(QUEUE);
        let progress = Arc::clone(&shared.progress);
        thread("log-writer", move || {
            // A writer that panics must not look like one that has nothing to do.
            let run = std::panic::AssertUnwindSafe(|| Writer::run(&writer, commands));
            if std::panic::catch_unwind(run).is_err() {
                progress.fatal("the thread that writes it has failed");
            }
        })
        .map_err(unwritable)?;
        let log = Self { shared, shortcut, queue };
        log.complete_erasures();
        Ok(log)
    }

    /// Completes erasures that a crash broke off.
    fn complete_erasures(&self) {
        let announced = self.shared.erasing.lock().clone();
        for (at, erasure) in announced {
            match self.shared.erase(&erasure) {
                Ok(()) => {
                    let _ = self.queue.try_send(Command { op: Op::Erased(at), done: None });
                }
                // It stays announced, and the next start tries again.
                Err(error) => tracing::error!(%error, "an erasure that a crash broke off cannot be completed now"),
            }
        }
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
}

fn shared(config: Config, recovered: Recovered) -> Shared {
    let Recovered { lock, segments, heads, identity, next_position, erasing, damage, .. } = recovered;
    let last_position = next_position - 1;
    Shared {
        blobs: Blobs::new(segments.dir(), config.sync_always),
        config,
        identity,
        segments,
        heads: RwLock::new(heads),
        erasing: Mutex::new(erasing),
        cleaning: Mutex::default(),
        last_position: AtomicU64::new(last_position),
        moved: watch::Sender::new(last_position),
        projected: AtomicU64::new(0),
        carried: super::expire::Carried::default(),
        scanned: Mutex::default(),
        subscribers: Subscribers::default(),
        space: Space::default(),
        damage,
        progress: Arc::new(Progress::default()),
        lock,
    }
}

/// The ends of the open segments.
fn tails(shared: &Shared, last_at: u64) -> io::Result<[Tail; 2]> {
    Ok([tail(shared, Family::Transcripts, last_at)?, tail(shared, Family::Chains, last_at)?])
}

/// The end of an open segment; where there is none, of a new one.
fn tail(shared: &Shared, family: Family, last_at: u64) -> io::Result<Tail> {
    let (name, length) = {
        let heads = shared.heads.read();
        let open = &heads.open[family.index()];
        (open.name, open.length)
    };
    if name.number > 0 {
        let file = OpenOptions::new().read(true).write(true).open(shared.segments.path(name))?;
        return Ok(Tail::new(name, Arc::new(file), length));
    }
    let (tail, open) = writer::new_segment(shared, family, shared.last_position() + 1, last_at)?;
    let mut heads = shared.heads.write();
    shared.segments.add(open.name);
    heads.open[family.index()] = open;
    Ok(tail)
}

/// Writes the indexes of segments that take no more records, until the writer is gone. Until then they are in memory.
fn seal(shared: &Shared, sealed: &mpsc::Receiver<Sealing>) {
    let mut waiting: Vec<Sealing> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            sealed.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            sealed.recv_timeout(AGAIN)
        };
        match next {
            Ok(sealing) => waiting.push(sealing),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|sealing| {
            // It may have expired meanwhile.
            if shared.segments.name(sealing.name.number).is_none() {
                return false;
            }
            let written = shared.write_index(sealing);
            match &written {
                Ok(()) => {
                    shared.segments.close_index(sealing.name);
                    shared.heads.write().sealing.retain(|other| other.name != sealing.name);
                }
                Err(error) => tracing::warn!(%error, "an index of the log is not written yet; it stays in memory"),
            }
            written.is_err()
        });
    }
}
