//! The hosts of a run: processes, each with its files in the run's directory, that can be killed, frozen and started
//! again on the same port.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::config::variable;
use rustix::process::{Pid, Signal, kill_process};

/// The first port that the system assigns when a program asks for any; no connection of a client has one below.
const ANY: u16 = 32_768;
const FIRST: u16 = 10_000;

/// How long anything may take to start.
pub(super) const START: Duration = Duration::from_mins(1);

/// A program that is started, and started again.
#[derive(Debug)]
pub(super) struct Host {
    /// For people.
    pub(super) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// What can go wrong with the hosts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no program {} for {name}; {hint}", program.display())]
    Missing { name: String, program: PathBuf, hint: &'static str },
    #[error("{name} does not start")]
    Start { name: String, source: io::Error },
    #[error("{name} ended ({status}); see {}", log.display())]
    Ended { name: String, status: ExitStatus, log: PathBuf },
    #[error("{name} does not answer; see {}", log.display())]
    Silent { name: String, log: PathBuf },
    #[error("the run's directory cannot be used")]
    Files(#[source] io::Error),
}

impl Host {
    /// A program that runs in `directory` and writes its log there. Its environment is that of a login, and what is added.
    pub(super) fn new(name: &str, program: impl Into<PathBuf>, directory: &Path) -> Self {
        let environment = ["PATH", "HOME", "LLVM_PROFILE_FILE"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), variable(name)?.into_string().ok()?)));
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: environment.collect(),
            directory: directory.to_owned(),
            log: directory.join(format!("{}.log", name.replace(' ', "-"))),
            child: None,
        }
    }

    pub(super) fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(super) fn set(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// Starts it, and does not wait for anything.
    pub(super) fn start(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Start { name: self.name.clone(), source };
        let log = File::options().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits until it has ended by itself; after `timeout` it is killed. Returns whether it was in time.
    pub(super) async fn wait(&mut self, timeout: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            match &mut self.child {
                None => return true,
                Some(child) => {
                    if !matches!(child.try_wait(), Ok(None)) {
                        self.child = None;
                        return true;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        false
    }

    /// An error if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => {
                self.child = None;
                Err(Error::Ended { name: self.name.clone(), status, log: self.log.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Waits until `answers` returns true.
    pub(super) async fn answers(&mut self, mut answers: impl AsyncFnMut() -> bool) -> Result<(), Error> {
        let begun = Instant::now();
        while !answers().await {
            self.check()?;
            if begun.elapsed() > START {
                return Err(Error::Silent { name: self.name.clone(), log: self.log.clone() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free port that stays free over restarts.
pub(super) fn free_port() -> Result<u16, Error> {
    let mut random = fastrand::Rng::new();
    for _ in 0..1000 {
        let port = random.u16(FIRST..ANY);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::Files(io::Error::from(io::ErrorKind::AddrInUse)))
}

/// Whether a server accepts connections there.
pub(super) async fn is_open(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}
