//! How the server is asked to end: the first signal politely, a second one at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The stages of an end, each a token that the parts of the server listen to.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Not ready any more; streams of browsers end, to come back elsewhere.
    pub drain: CancellationToken,
    /// Generation hands over what runs and takes nothing new; no new connections.
    pub leave: CancellationToken,
    /// Whatever is still open is ended.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// Begins the end at SIGTERM or SIGINT; at the second one the process exits, with 130.
    pub fn listen(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let drain = self.drain.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if drain.is_cancelled() {
                    std::process::exit(130);
                }
                tracing::info!("draining; a second signal ends the server at once");
                drain.cancel();
            }
        });
        Ok(())
    }
}
