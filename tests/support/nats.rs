//! A NATS server with JetStream, of the test's own.

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
}

impl Nats {
    /// Starts a server on a free port, with its files in a directory of its own.
    pub async fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let (process, url) = start(directory.path(), free_port()).await;
        Self { url, process, directory }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("our own child");
        self.process.wait().expect("our own child");
    }

    /// Starts it again after a kill, with the same files on the same port.
    pub async fn start_again(&mut self) {
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let (process, url) = start(self.directory.path(), port).await;
        assert_eq!(url, self.url);
        self.process = process;
    }
}

async fn start(directory: &Path, port: u16) -> (Child, String) {
    let program = std::env::var_os("NATS_SERVER").map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
    let mut server = Command::new(&program)
        .args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()])
        .arg("--store_dir")
        .arg(directory.join("store"))
        .arg("--ports_file_dir")
        .arg(directory)
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
