//! A way to a server that can be shut: then connections still come about, and nothing passes, in neither direction, as
//! with a machine that is there and frozen, or behind a firewall that drops.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A way to a server, until it is dropped.
#[derive(Debug)]
pub struct Valve {
    address: SocketAddr,
    open: watch::Sender<bool>,
    answers: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Valve {
    /// An open one before the server at `target`, such as `127.0.0.1:8080`.
    pub async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (open, state) = watch::channel(true);
        let (answers, answered) = watch::channel(true);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let (target, state, answered) = (target.clone(), state.clone(), answered.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(pass(near_in, far_out, state), pass(far_in, near_out, answered));
                });
            }
        });
        Self { address, open, answers, task }
    }

    /// The address for `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn shut(&self) {
        self.open.send_replace(false);
        self.answers.send_replace(false);
    }

    /// What is asked reaches the server; its answers wait.
    pub fn shut_answers(&self) {
        self.answers.send_replace(false);
    }

    pub fn open(&self) {
        self.open.send_replace(true);
        self.answers.send_replace(true);
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
