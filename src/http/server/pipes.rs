//! Connections that are pipes within the process, for a simulation: the server without its sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::super::connections::Connections;
use super::{Answers, Door, IDLE_TIMEOUT, READ_BUFFER, Side, Stop, Upgrades, run};

/// Serves until it is drained, and all connections have ended.
pub(crate) async fn serve(mut pipes: mpsc::UnboundedReceiver<DuplexStream>, door: Door, stop: Stop) {
    let (tasks, connections) = (TaskTracker::new(), Connections::new(door.limits()));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    while let Some(Some(pipe)) = stop.drain.run_until_cancelled(pipes.recv()).await {
        // Where there are too many, the pipe is dropped: the client sees that it was not taken.
        let Ok(connection) = connections.open(peer) else { continue };
        let upgrades = Upgrades { connection: Arc::new(connection), stop: stop.clone(), tasks: tasks.clone() };
        let answers = Answers { door: door.clone(), side: Side::Public, peer: peer.ip(), upgrades };
        tasks.spawn(serve_pipe(pipe, answers, stop.clone()));
    }
    drop(pipes);
    tasks.close();
    tasks.wait().await;
}

async fn serve_pipe(pipe: DuplexStream, answers: Answers, stop: Stop) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_buf_size(READ_BUFFER);
    let progress = Arc::clone(answers.upgrades.progress());
    run(builder.serve_connection(TokioIo::new(pipe), answers).with_upgrades(), &progress, stop).await;
}
