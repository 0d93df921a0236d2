//! A real Postgres: a cluster of its own in a temporary directory, started by the test binary and gone with it, also when
//! the tests fail or are killed.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::ports::free_port;

#[path = "pgbouncer.rs"]
pub mod pgbouncer;

/// The only user, and its password, which must not show anywhere.
pub const USER: &str = "rejoinder";
pub const PASSWORD: &str = "pw-of-tests";

const DEADLINE: Duration = Duration::from_mins(1);

/// A running Postgres, or one that was stopped.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    process: Option<Child>,
    made: AtomicU32,
    /// Removes the directory on drop, unless something else does.
    remover: Option<TempDir>,
}

/// The one that the tests of this binary share: each has a database of its own in it.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut cluster = Cluster::new();
        // What is static is not dropped: a shell waits for the end of this process.
        let directory = cluster.remover.take().expect("a new cluster").keep();
        let pid = cluster.process.as_ref().expect("a new cluster runs").id();
        let script = "trap '' INT TERM; cat; while kill -0 $0; do sleep 0.1; done; rm -rf \"$1\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, &pid.to_string()]).arg(directory);
        let mut shell =
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell");
        std::mem::forget(shell.stdin.take());
        thread::spawn(move || shell.wait());
        cluster
    })
}

impl Cluster {
    /// Makes a cluster and starts it.
    pub fn new() -> Self {
        let kept = tempfile::Builder::new().prefix("rejoinder-pg-").tempdir().expect("a temporary directory");
        let directory = kept.path().to_owned();
        if let Some(user) = other_user() {
            chown(&directory, Some(user), Some(user)).expect("root may do that");
        }
        let password = directory.join("password");
        fs::write(&password, PASSWORD).expect("written");
        fs::set_permissions(&password, PermissionsExt::from_mode(0o644)).expect("our own file");
        let mut initdb = as_user(&binary("initdb"));
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust"]);
        // A language of its own: the order of letters is not that of bytes.
        initdb.args(["--locale-provider=icu", "--icu-locale=en", "--auth-host=scram-sha-256"]);
        initdb.arg("-U").arg(USER).arg("--pwfile").arg(&password).arg("-D").arg(directory.join("data"));
        succeed(&mut initdb);
        let mut settings = fs::File::options().append(true).open(directory.join("data/postgresql.conf")).expect("made");
        settings.write_all(b"fsync = off\nfull_page_writes = off\n").expect("written");
        let mut cluster = Self { directory, port: 0, process: None, made: AtomicU32::new(0), remover: Some(kept) };
        cluster.start();
        cluster
    }

    /// Starts it, again on the same port if it ran before.
    pub fn start(&mut self) {
        let started = Instant::now();
        loop {
            let port = if self.port == 0 { free_port() } else { self.port };
            if let Some(process) = self.try_start(port) {
                (self.port, self.process) = (port, Some(process));
                return;
            }
            // Somebody took the port.
            assert!(started.elapsed() < DEADLINE, "Postgres does not start: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn try_start(&self, port: u16) -> Option<Child> {
        let mut command = as_user(&binary("postgres"));
        command.arg("-D").arg(self.directory.join("data")).arg("-k").arg(&self.directory);
        for setting in [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "wal_level=minimal".to_owned(),
            "max_wal_senders=0".to_owned(),
            "max_wal_size=2GB".to_owned(),
        ] {
            command.arg("-c").arg(setting);
        }
        let log = fs::File::options().create(true).append(true).open(self.directory.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut process = spawn(command);
        let started = Instant::now();
        while !self.is_ready(port) {
            if process.try_wait().expect("our own child").is_some() {
                return None;
            }
            assert!(started.elapsed() < DEADLINE, "Postgres does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(process)
    }

    fn is_ready(&self, port: u16) -> bool {
        let mut ask = Command::new(binary("pg_isready"));
        ask.arg("-q").arg("-h").arg(&self.directory).args(["-p", &port.to_string()]);
        ask.status().is_ok_and(|status| status.success())
    }

    /// Makes it as safe, and as slow, as it is for others.
    pub fn set_safe(&self) {
        for setting in ["fsync", "full_page_writes"] {
            self.sql("postgres", &format!("ALTER SYSTEM SET {setting} = on"));
        }
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Has it speak TLS as `localhost`. Gives its certificate, which nobody else has signed.
    pub fn set_tls(&self) -> PathBuf {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let of = |name: &str| self.directory.join("data").join(name);
        for (name, text, mode) in
            [("server.crt", made.cert.pem(), 0o644), ("server.key", made.signing_key.serialize_pem(), 0o600)]
        {
            fs::write(of(name), text).expect("written");
            fs::set_permissions(of(name), PermissionsExt::from_mode(mode)).expect("our own file");
            if let Some(user) = other_user() {
                chown(of(name), Some(user), Some(user)).expect("root may do that");
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.sql("postgres", "SELECT pg_reload_conf()");
        let begun = Instant::now();
        while self.sql("postgres", "SHOW ssl") != "on" {
            assert!(begun.elapsed() < DEADLINE, "no TLS: {}", self.log());
        }
        let certificate = self.directory.join("root.crt");
        fs::write(&certificate, made.cert.pem()).expect("written");
        certificate
    }

    /// A new database's name.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// The URL of a database, with the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of a database at the socket of this machine.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres:///{database}?user={USER}&port={}&host={}", self.port, self.directory.display())
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What a statement gives, a line a row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        shown(&succeed(&mut self.psql(database, sql)))
    }

    /// As [`Cluster::sql`], where the statement may be one for tables that are not there yet.
    pub fn try_sql(&self, database: &str, sql: &str) -> Option<String> {
        let output = self.psql(database, sql).output().expect("psql");
        output.status.success().then(|| shown(&output))
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new(binary("psql"));
        psql.arg("-h").arg(&self.directory).args(["-p", &self.port.to_string(), "-U", USER, "-d", database]);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        psql
    }

    /// Ends it as an operator would: connections are cut, new ones refused.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        kill_process(Pid::from_child(&process), Signal::INT).expect("our own child");
        process.wait().expect("our own child");
    }

    /// All its processes stand still: connections stay, and nobody answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// They go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        let main = Pid::from_child(process);
        // First the one that makes the others.
        let _ = kill_process(main, signal);
        for child in children(main.as_raw_pid()) {
            let _ = kill_process(child, signal);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let children = children(Pid::from_child(&process).as_raw_pid());
            let _ = process.kill();
            let _ = process.wait();
            // They would see that it is gone and end, but not if they are frozen.
            for child in children {
                let _ = kill_process(child, Signal::KILL);
            }
        }
    }
}

/// A child that does not outlive this process. That is bound to the thread that makes it, so it has one for itself, which
/// stays.
fn spawn(mut command: Command) -> Child {
    let (send, made) = mpsc::channel();
    thread::spawn(move || {
        send.send(command.spawn().expect("setpriv and postgres are there")).expect("it is waited for");
        loop {
            thread::park();
        }
    });
    made.recv().expect("a child")
}

/// A program of Postgres as a user whom it lets: not root.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = other_user() {
        command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups");
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir("/");
    command
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

/// The newest that is installed.
fn binary(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let found = installed.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file());
    found.max().unwrap_or_else(|| PathBuf::from(name))
}

fn children(parent: i32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |pid: &i32| {
        let mut text = String::new();
        let read = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read_to_string(&mut text));
        // After the name, which may hold anything, come the state and the parent.
        let parent_of = text.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        read.is_ok() && parent_of == Some(parent)
    };
    pids.filter(is_child).filter_map(Pid::from_raw).collect()
}

fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if !output.status.success() {
        let _ = std::io::stdout().write_all(&output.stderr);
        panic!("{command:?}: {}", output.status);
    }
    output
}
