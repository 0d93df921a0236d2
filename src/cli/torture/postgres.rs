//! A Postgres of the run's own, where its programs are installed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use super::host::{Error, Host, free_port};
use crate::config::variable;

const USER: &str = "rejoinder";

/// How long it may take to end.
const STOP: Duration = Duration::from_secs(30);

/// A database cluster.
#[derive(Debug)]
pub(super) struct Postgres {
    machine: Host,
    port: u16,
}

/// The programs of Postgres on this machine, the newest of them.
pub(super) fn programs() -> Option<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let paths = variable("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&paths).collect::<Vec<_>>();
    let newest = installed.map(|version| version.path().join("bin")).filter(|path| path.join("initdb").is_file()).max();
    newest.or_else(|| in_path.into_iter().find(|path| path.join("initdb").is_file() && path.join("postgres").is_file()))
}

impl Postgres {
    /// Makes one in a new directory, and starts it.
    pub(super) async fn start(programs: &Path, directory: &Path) -> Result<Self, Error> {
        fs::create_dir(directory).map_err(Error::Files)?;
        if let Some(user) = other_user() {
            chown(directory, Some(user), Some(user)).map_err(Error::Files)?;
        }
        fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).map_err(Error::Files)?;
        let data = directory.join("data");
        make(programs, &data).map_err(|source| Error::Start { name: "initdb".to_owned(), source })?;
        let port = free_port()?;
        let (program, before) = as_user(&programs.join("postgres"));
        let sockets = directory.display().to_string();
        let machine = Host::new("Postgres", program, directory)
            .arguments(before)
            .arguments(["-D", &data.display().to_string(), "-k", &sockets, "-p", &port.to_string()])
            .arguments(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100"]);
        let mut postgres = Self { machine, port };
        postgres.start_again()?;
        let url = postgres.url();
        postgres.machine.answers(async || super::store::answers(&url).await).await?;
        Ok(postgres)
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    pub(super) fn start_again(&mut self) -> Result<(), Error> {
        self.machine.start()
    }

    /// Ends it as an operator would: connections are cut, new ones refused.
    pub(super) async fn stop(&mut self) {
        self.machine.signal(Signal::INT);
        self.machine.wait(STOP).await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but not so that its own children stay.
        self.machine.signal(Signal::QUIT);
        let begun = std::time::Instant::now();
        while self.machine.check().is_ok() && self.machine.pid().is_some() && begun.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn make(programs: &Path, data: &Path) -> io::Result<()> {
    let (program, before) = as_user(&programs.join("initdb"));
    let mut initdb = Command::new(program);
    initdb
        .args(before)
        .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "-U", USER, "-D"])
        .arg(data);
    let output = initdb.current_dir("/").output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    // Quick: what a run leaves is thrown away. (A killed Postgres loses nothing by it; only a power cut would.)
    fs::File::options().append(true).open(data.join("postgresql.conf"))?.write_all(b"fsync = off\n")
}

/// How to run a program as a user that Postgres accepts: not root. The program to start, and the arguments before its
/// own.
fn as_user(program: &Path) -> (PathBuf, Vec<String>) {
    match other_user() {
        None => (program.to_owned(), Vec::new()),
        Some(user) => {
            let arguments = [&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "--"];
            let program = program.display().to_string();
            ("setpriv".into(), arguments.into_iter().map(str::to_owned).chain([program]).collect())
        }
    }
}

/// For root, another one.
fn other_user() -> Option<u32> {
    const NOBODY: u32 = 65_534;
    if !geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |line: &str| line.strip_prefix("postgres:")?.split(':').nth(1)?.parse().ok();
    Some(users.lines().find_map(of).unwrap_or(NOBODY))
}
