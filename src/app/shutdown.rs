//! How the server is asked to end: the first signal politely, a second one at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The stages of an end, each a token that the parts of the server listen to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// Not ready any more; streams of browsers end, to come back elsewhere.
    pub(crate) drain: CancellationToken,
    /// Generation hands over what runs and takes nothing new; no new connections.
    pub(crate) leave: CancellationToken,
    /// Whatever is still open is ended.
    pub(crate) abort: CancellationToken,
    /// Nothing is waited for any more.
    pub(crate) at_once: CancellationToken,
}

impl Shutdown {
    /// Begins the end at SIGTERM or SIGINT; the second one ends it at once. Listens for as long as the handle lives.
    pub(crate) fn listen(&self) -> std::io::Result<AbortOnDropHandle<()>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (drain, at_once) = (self.drain.clone(), self.at_once.clone());
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if drain.is_cancelled() {
                    return at_once.cancel();
                }
                tracing::info!("draining; a second signal ends the server at once");
                drain.cancel();
            }
        })))
    }
}
