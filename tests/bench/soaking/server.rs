//! The server under test: its process, started again and again on one data directory and one port.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rejoinder::values::duration_text;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::options::{DRAIN_TIMEOUT, Options};
use crate::ports::free_port;

/// How long a start, or an end after SIGTERM, may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lines of the server's log that are kept of its beginning, and of its end.
const LINES: usize = 5;

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
    log: Arc<Mutex<Lines>>,
}

/// What the server logged, in short.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    pub(crate) warnings: u64,
    pub(crate) errors: u64,
    pub(crate) first: Vec<String>,
    pub(crate) last: Vec<String>,
}

/// Why the server does not do what it is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("its files: {0}")]
    Files(#[source] io::Error),
    #[error("{} cannot be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("it ended before it listened: {0}")]
    Ended(String),
    #[error("it did not listen within {PATIENCE:?}")]
    Silent,
    #[error("it did not end within {PATIENCE:?} of SIGTERM")]
    Lingers,
    #[error("it ended with {0}")]
    Status(ExitStatus),
    #[error("its process: {0}")]
    Process(#[source] io::Error),
}

impl Server {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("rejoinder-soak-").tempdir_in(parent).map_err(Error::Files)?;
        let program = options.server.canonicalize();
        let program = program.map_err(|source| Error::Start { program: options.server.clone(), source })?;
        let port = free_port();
        let environment = vec![
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("DATA_DIR", directory.path().join("data").display().to_string()),
            ("REPLAY_WINDOW", duration_text(options.replay_window)),
            ("LOG_RETENTION", duration_text(options.log_retention)),
            ("REPLY_DEADLINE", duration_text(options.reply_deadline)),
            ("DRAIN_TIMEOUT", DRAIN_TIMEOUT.to_owned()),
            ("RUST_LOG", "warn".to_owned()),
        ];
        Ok(Self { program, environment, directory, port, child: None, log: Arc::default() })
    }

    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or(0)
    }

    pub(crate) fn log(&self) -> Lines {
        self.log.lock().clone()
    }

    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start(&mut self) -> Result<(), Error> {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(["PATH", "HOME"].into_iter().filter_map(|kept| Some((kept, std::env::var_os(kept)?))));
        command.current_dir(self.directory.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|source| Error::Start { program: self.program.clone(), source })?;
        let child = self.child.insert(child);
        let (lines, mut greeting) = mpsc::channel(100);
        tokio::spawn(keep(child.stdout.take(), Arc::clone(&self.log), Some(lines)));
        tokio::spawn(keep(child.stderr.take(), Arc::clone(&self.log), None));
        let listening = async {
            while let Some(line) = greeting.recv().await {
                if line.contains("http://127.0.0.1:") {
                    return true;
                }
            }
            false
        };
        match timeout(PATIENCE, listening).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Ended(self.log.lock().last.join(" | "))),
            Err(_) => Err(Error::Silent),
        }
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.map_err(Error::Process)
    }

    /// SIGTERM, and waits for a good end.
    pub(crate) async fn terminate(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            kill_process(pid, Signal::TERM).map_err(|error| Error::Process(error.into()))?;
        }
        match timeout(PATIENCE, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Error::Status(status)),
            Ok(Err(error)) => Err(Error::Process(error)),
            Err(_) => Err(Error::Lingers),
        }
    }
}

/// Keeps some of what the server prints, and passes it on to whoever waits for its address.
async fn keep(output: Option<impl AsyncRead + Unpin>, log: Arc<Mutex<Lines>>, pass_on: Option<mpsc::Sender<String>>) {
    let Some(output) = output else { return };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match &pass_on {
            // Nobody waits any more once the address has come.
            Some(sender) => drop(sender.try_send(line)),
            None => log.lock().take(line),
        }
    }
}

impl Lines {
    fn take(&mut self, line: String) {
        let is_error = line.contains("ERROR") || line.contains("panicked");
        self.errors += u64::from(is_error);
        self.warnings += u64::from(line.contains("WARN"));
        // The first of each are told; an error is worth more than a warning.
        if self.first.len() < LINES || (is_error && self.errors <= LINES as u64) {
            self.first.push(line.clone());
        }
        if self.last.len() == LINES {
            self.last.remove(0);
        }
        self.last.push(line);
    }
}
