//! The real server: the binary itself, on a port of its own, with a data directory of its own, killed on drop.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    http::{Answer, Api},
    ports::free_port,
    upstream::Upstream,
    wait::{soon, until},
};

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Config {
    env: BTreeMap<String, String>,
    data: Arc<TempDir>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    config: Config,
    process: Process,
    /// `http://127.0.0.1:` and the port.
    pub base: String,
}

/// A child that does not outlive its handle, also while it starts.
#[derive(Debug)]
struct Process(Child);

/// A server that does nothing until this is dropped.
#[derive(Debug)]
pub struct Frozen<'a>(&'a Server);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.0.process.0), Signal::CONT).expect("our own child");
    }
}

/// A server that ended before it said where it listens.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
}

impl Config {
    /// Sets a variable of the server's environment.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Starts the server and waits until it says where it listens.
    pub async fn start(self) -> Server {
        let log = Arc::clone(&self.log);
        self.try_start().await.unwrap_or_else(|ended| panic!("{ended:?}\n{}", text(&log)))
    }

    /// As [`Config::start`], where the server may refuse or crash.
    pub async fn try_start(self) -> Result<Server, Ended> {
        let mut process = self.spawn();
        let mut addresses = self.watch(&mut process);
        match soon("the server's address", addresses.recv()).await {
            Some(base) => Ok(Server { config: self, process, base }),
            None => Err(Ended { status: process.0.wait().expect("our own child") }),
        }
    }

    /// Starts the server, and waits for nothing: what it needs may be away.
    pub fn begin(self) -> Server {
        let port = self.env.get("PORT").cloned().unwrap_or_else(|| free_port().to_string());
        let config = self.env("PORT", &port);
        let mut process = config.spawn();
        config.watch(&mut process);
        Server { config, process, base: format!("http://127.0.0.1:{port}") }
    }

    /// Runs another command of the binary with the same environment. Gives its exit code and all that it printed.
    pub fn run(&self, words: &str) -> (Option<i32>, String) {
        let output = self.command().args(words.split(' ')).output().expect("the binary");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    }

    fn command(&self) -> Command {
        // Measurements are of another build than the one that is tested.
        let binary = std::env::var_os("REJOINDER_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_rejoinder").into());
        let mut command = Command::new(binary);
        command.env_clear().envs(&self.env).env("DATA_DIR", self.data.path().join("data"));
        if !self.env.contains_key("PORT") {
            command.env("PORT", free_port().to_string());
        }
        command.current_dir(self.data.path());
        for kept in ["PATH", "HOME", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
    }

    fn spawn(&self) -> Process {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process(command.spawn().expect("the server's binary"))
    }

    fn watch(&self, process: &mut Process) -> mpsc::UnboundedReceiver<String> {
        let (lines, addresses) = mpsc::unbounded_channel();
        watch(process.0.stdout.take().expect("piped"), Arc::clone(&self.log), Some(lines));
        watch(process.0.stderr.take().expect("piped"), Arc::clone(&self.log), None);
        addresses
    }

    /// Everything that servers of this configuration printed so far.
    pub fn output(&self) -> String {
        text(&self.log)
    }

    pub fn data_dir(&self) -> &Path {
        self.data.path()
    }
}

impl Server {
    /// The configuration of a server with nothing set but where to listen.
    pub fn bare() -> Config {
        let data = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        Config { env: BTreeMap::new(), data, log: Arc::default() }.env("HOST", "127.0.0.1").env("RUST_BACKTRACE", 1)
    }

    /// The configuration of a server in front of `upstream`.
    pub fn before(upstream: &Upstream) -> Config {
        Self::bare().env("LLM_BASE_URL", upstream.base_url()).env("LLM_MODEL", "truth")
    }

    /// The configuration of a server in front of several upstreams, in this order: each a name, an address, and what
    /// else its table in the file has.
    pub fn before_several(upstreams: &[(&str, &str, &str)]) -> Config {
        let config = Self::bare();
        let tables = upstreams
            .iter()
            .map(|(name, base_url, more)| format!("[[llm]]\nname = \"{name}\"\nbase_url = \"{base_url}\"\n{more}\n"));
        let file = config.data.path().join("rejoinder.toml");
        std::fs::write(file, tables.collect::<String>()).expect("a file in our own directory");
        config.env("REJOINDER_CONFIG", "rejoinder.toml").env("LLM_MODEL", "truth")
    }

    /// A client of its API.
    pub fn api(&self) -> Api {
        Api::new(&self.base)
    }

    /// Its address without the scheme.
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("an HTTP address")
    }

    pub fn output(&self) -> String {
        self.config.output()
    }

    /// What the tests of its files look into: its `DATA_DIR` is `data` in there.
    pub fn data_dir(&self) -> &Path {
        self.config.data_dir()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.0.kill().expect("our own child");
        self.process.0.wait().expect("our own child");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.process.0);
        kill_process(pid, Signal::TERM).expect("our own child");
    }

    /// SIGSTOP, until what this gives is dropped: then SIGCONT.
    pub fn freeze(&self) -> Frozen<'_> {
        kill_process(Pid::from_child(&self.process.0), Signal::STOP).expect("our own child");
        Frozen(self)
    }

    /// How the server ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().expect("our own child")
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        until("the server to end", async || self.ended()).await
    }

    /// Kills it if it still runs, and starts it again with the same data on the same port.
    pub async fn restart(self) -> Self {
        self.restart_with(|config| config).await
    }

    /// As [`Server::restart`], with changes of its configuration.
    pub async fn restart_with(self, change: impl FnOnce(Config) -> Config) -> Self {
        change(self.stop()).start().await
    }

    /// Kills it if it still runs; the configuration starts another one on the same data and port.
    pub fn stop(mut self) -> Config {
        self.kill();
        let port = self.base.rsplit(':').next().expect("a port");
        self.config.clone().env("PORT", port)
    }

    /// Waits until a GET of `path` satisfies `enough`, and returns that answer.
    pub async fn poll(&self, path: &str, mut enough: impl FnMut(&Answer) -> bool) -> Answer {
        let api = self.api();
        until(&format!("GET {path}"), async || Some(api.get(path).await).filter(&mut enough)).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            println!("--- the server's last output ---\n{}\n---", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

fn text(log: &Mutex<Vec<String>>) -> String {
    log.lock().expect("no panic while writing").join("\n")
}

/// Keeps what a server prints; an address in it goes to `addresses`.
fn watch(
    output: impl Read + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
    mut addresses: Option<mpsc::UnboundedSender<String>>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let (Some(found), Some(sender)) = (address_in(&line), &addresses) {
                let _ = sender.send(found);
                addresses = None;
            }
            log.lock().expect("no panic while writing").push(line);
        }
    });
}

fn address_in(line: &str) -> Option<String> {
    let at = line.find("http://127.0.0.1:")?;
    let rest = &line[at + "http://127.0.0.1:".len()..];
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty()).then(|| format!("http://127.0.0.1:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_line() {
        assert_eq!(address_in("serving http://127.0.0.1:4711/ (eliza)").as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(address_in("LLM_BASE_URL=http://localhost:11434/v1"), None);
    }
}
