//! NATS servers with JetStream, of the test's own: one, or three that are a cluster.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::ports::free_port;

/// Ends with the test.
#[derive(Debug)]
pub struct Nats {
    pub url: String,
    process: Child,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Nats {
    /// Starts a server on a free port, with its files in a directory of its own.
    pub async fn start() -> Self {
        Self::on(|_| ()).await
    }

    /// As [`Nats::start`], of a server that takes no longer messages than this.
    #[allow(dead_code, reason = "the contract of the log, and tests of long records")]
    pub async fn with_max_payload(bytes: usize) -> Self {
        Self::configured(&format!("max_payload: {bytes}\n")).await
    }

    /// As [`Nats::start`], with this in its configuration.
    pub async fn configured(text: &str) -> Self {
        let (directory, arguments) = configuration(text);
        Self::of(directory, [arguments, vec!["--jetstream".to_owned()]].concat()).await
    }

    /// A server without JetStream, with this in its configuration.
    #[allow(dead_code, reason = "the tests of what operators set")]
    pub async fn without_jetstream(text: &str) -> Self {
        let (directory, arguments) = configuration(text);
        Self::of(directory, arguments).await
    }

    /// Starts a server on a port that was known before.
    #[allow(dead_code, reason = "the tests of what operators set")]
    pub async fn at(port: u16) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let arguments = vec!["--jetstream".to_owned()];
        let (process, url) = start(directory.path(), port, &arguments).await;
        Self { url, process, directory, arguments }
    }

    /// Its address, with this before the host.
    #[allow(dead_code, reason = "the tests of what operators set")]
    pub fn url_of(&self, login: &str) -> String {
        self.url.replace("://", &format!("://{login}@"))
    }

    /// As [`Nats::start`], on files that `prepare` puts into its directory.
    pub async fn on(prepare: impl FnOnce(&Path)) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        prepare(directory.path());
        Self::of(directory, vec!["--jetstream".to_owned()]).await
    }

    async fn of(directory: TempDir, arguments: Vec<String>) -> Self {
        let (process, url) = start(directory.path(), free_port(), &arguments).await;
        Self { url, process, directory, arguments }
    }

    /// Its process.
    #[allow(dead_code, reason = "measurements look at it")]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its files are.
    #[allow(dead_code, reason = "the tests of erasure look into them")]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("our own child");
    }

    /// Starts it again after a kill, with the same files on another port, and with this in its configuration.
    #[allow(dead_code, reason = "the tests of what operators set")]
    pub async fn start_elsewhere(&mut self, port: u16, text: &str) {
        std::fs::write(self.directory.path().join("nats.conf"), text).expect("a file in a directory of our own");
        (self.process, self.url) = start(self.directory.path(), port, &self.arguments).await;
    }

    /// Starts it again after a kill, with the same files on the same port.
    pub async fn start_again(&mut self) {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let (process, url) = start(self.directory.path(), port, &self.arguments).await;
        assert_eq!(url, self.url);
        self.process = process;
    }
}

fn configuration(text: &str) -> (TempDir, Vec<String>) {
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("nats.conf");
    std::fs::write(&file, text).expect("a file in a directory of our own");
    let arguments = vec!["--config".to_owned(), file.display().to_string()];
    (directory, arguments)
}

async fn start(directory: &Path, port: u16, more: &[String]) -> (Child, String) {
    let program = std::env::var_os("NATS_SERVER").map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
    let mut server = Command::new(&program)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .arg("--store_dir")
        .arg(directory.join("store"))
        .arg("--ports_file_dir")
        .arg(directory)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not start: {error}; tests/run installs it", program.display()));
    let ports = directory.join(format!("nats-server_{}.ports", server.id()));
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let ports = std::fs::read(&ports).ok().and_then(|ports| serde_json::from_slice::<Value>(&ports).ok());
        if let Some(url) = ports.as_ref().and_then(|ports| ports["nats"][0].as_str()) {
            return (server, url.to_owned());
        }
        let runs = server.try_wait().is_ok_and(|ended| ended.is_none());
        if !runs || Instant::now() > deadline {
            let _ = server.kill();
            let _ = server.wait();
            panic!("the NATS server did not start");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Three servers that keep every stream together.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Node>,
    /// The addresses of all.
    pub url: String,
    client: async_nats::Client,
}

#[derive(Debug)]
struct Node {
    name: String,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    process: Option<Child>,
}

impl NatsCluster {
    /// Starts three servers, and waits until they agree on who leads.
    pub async fn start() -> Self {
        let routes: Vec<_> = (0..3).map(|_| format!("nats://127.0.0.1:{}", free_port())).collect();
        let arguments = |number: usize| {
            let name = format!("node-{number}");
            let pairs = [
                ("--server_name", name.as_str()),
                ("--cluster_name", "together"),
                ("--cluster", &routes[number]),
                ("--routes", &routes.join(",")),
            ];
            let pairs = pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]);
            pairs.chain(["--jetstream".to_owned()]).collect::<Vec<_>>()
        };
        let node = |number: usize| Node {
            name: format!("node-{number}"),
            port: free_port(),
            arguments: arguments(number),
            directory: TempDir::new().expect("a temporary directory"),
            process: None,
        };
        let mut nodes: Vec<_> = (0..3).map(node).collect();
        for node in &mut nodes {
            node.start().await;
        }
        let url = nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",");
        let addresses: Vec<_> = url.split(',').map(str::to_owned).collect();
        let options = async_nats::ConnectOptions::new()
            .request_timeout(Some(Duration::from_secs(1)))
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        let client = options.connect(addresses).await.expect("a connection");
        let cluster = Self { nodes, url, client };
        cluster
            .until("a leader of the cluster", async || cluster.ask("INFO").await?["limits"].as_object().map(drop))
            .await;
        cluster
    }

    /// Which node leads a stream.
    pub async fn leader(&self, stream: &str) -> usize {
        let leader = async || {
            let info = self.ask(&format!("STREAM.INFO.{stream}")).await?;
            self.number(info["cluster"]["leader"].as_str()?)
        };
        self.until("a leader of the stream", leader).await
    }

    /// Waits until all copies of a stream are there and up to date.
    pub async fn whole(&self, stream: &str) {
        let whole = async || {
            let info = self.ask(&format!("STREAM.INFO.{stream}")).await?;
            info["cluster"]["leader"].as_str()?;
            let copies = info["cluster"]["replicas"].as_array()?;
            (copies.len() == 2 && copies.iter().all(|copy| copy["current"] == true)).then_some(())
        };
        self.until("all copies of the stream", whole).await;
    }

    /// Has the leader of a stream leave that to another.
    pub async fn step_down(&self, stream: &str) {
        let before = self.leader(stream).await;
        self.ask(&format!("STREAM.LEADER.STEPDOWN.{stream}")).await.expect("an answer");
        self.until("another leader", async || (self.leader(stream).await != before).then_some(())).await;
    }

    /// Takes all streams away.
    #[allow(dead_code, reason = "the contract of the log needs it")]
    pub async fn clear(&self) {
        let names = self.ask("STREAM.NAMES").await.expect("an answer");
        for name in names["streams"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let gone = async || (self.ask(&format!("STREAM.DELETE.{name}")).await?["success"] == true).then_some(());
            self.until("a stream to be gone", gone).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node again, with the same files on the same ports.
    pub async fn start_again(&mut self, node: usize) {
        self.nodes[node].start().await;
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    async fn ask(&self, what: &str) -> Option<Value> {
        let answer = self.client.request(format!("$JS.API.{what}"), "".into()).await.ok()?;
        serde_json::from_slice(&answer.payload).ok()
    }

    async fn until<T>(&self, what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Node {
    async fn start(&mut self) {
        self.process = Some(start(self.directory.path(), self.port, &self.arguments).await.0);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
