//! A real `PgBouncer` before a Postgres, in transaction mode: what hosters put before their databases.

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Cluster, PASSWORD, USER, as_user, free_port, other_user, spawn};

/// Ends when it is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    process: Child,
    directory: TempDir,
}

impl PgBouncer {
    /// Starts one before a Postgres, with two connections to each database for all its clients, and `more` in its
    /// configuration.
    pub fn start(cluster: &Cluster, more: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("rejoinder-bouncer-").tempdir().expect("a temporary directory");
        let port = free_port();
        let users = directory.path().join("users");
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).expect("written");
        let mut settings = format!("[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\n", cluster.port());
        let _ = write!(
            settings,
            "listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=plain\nauth_file={}\n\
             pool_mode=transaction\ndefault_pool_size=2\n{more}\n",
            users.display()
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("written");
        if let Some(user) = other_user() {
            for path in [directory.path(), &users, &file] {
                chown(path, Some(user), Some(user)).expect("root may do that");
            }
        }
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from);
        let program = program.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("pgbouncer"));
        let mut command = as_user(&program);
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut bouncer = Self { port, process: spawn(command), directory };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = bouncer.process.try_wait().expect("our own child");
            assert!(
                ended.is_none() && begun.elapsed() < Duration::from_mins(1),
                "PgBouncer does not start; tests/run installs it: {}",
                bouncer.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
        bouncer
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
