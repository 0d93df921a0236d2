//! Writes down what came of deliveries, many at once. While the store is away it keeps them; nothing that they are about is
//! passed over before they are written.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::board::{Board, Step};
use super::queue::Queue;
use super::tracker::Ticket;
use crate::store::Store;
use crate::store::webhooks::Change;

/// The most that is written at once.
const BATCH: usize = 500;
/// For so long what is to be written gathers.
const GATHER: Duration = Duration::from_millis(20);
/// The longest that a write may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries while the store is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Takes what is to be written. What it takes is bounded by the tickets that there are, and by what couriers try at once.
#[derive(Debug, Clone)]
pub(super) struct Scribe(mpsc::UnboundedSender<Note>);

/// Something to be written, and who waits for that.
#[derive(Debug)]
pub(super) struct Note {
    change: Change,
    ticket: Option<Ticket>,
    /// The delivery that is not touched before.
    busy: Option<(Arc<Queue>, String)>,
}

impl Scribe {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Note>) {
        let (notes, receiver) = mpsc::unbounded_channel();
        (Self(notes), receiver)
    }

    pub(super) fn write(&self, change: Change, ticket: Option<Ticket>, busy: Option<(Arc<Queue>, String)>) {
        // Only at the end nobody takes them; then the next carrier makes these deliveries again.
        let _ = self.0.send(Note { change, ticket, busy });
    }
}

/// Writes until all who could have something written are gone.
pub(super) async fn run(store: Store, mut notes: mpsc::UnboundedReceiver<Note>, board: Board) {
    let mut batch = Vec::with_capacity(BATCH);
    while notes.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH {
            tokio::time::sleep(GATHER).await;
            let room = BATCH - batch.len();
            for _ in 0..room {
                let Ok(note) = notes.try_recv() else { break };
                batch.push(note);
            }
        }
        let changes: Vec<_> = batch.iter().map(|note| note.change.clone()).collect();
        loop {
            let written = tokio::time::timeout(TIMEOUT, store.note_webhook_deliveries(&changes)).await;
            let cause = match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => crate::telemetry::causes::chain(&error),
                Err(_) => "the store does not answer".to_owned(),
            };
            if board.waits(Step::Note, || cause.clone()) {
                tracing::warn!(cause, "cannot note what came of webhooks; they wait for the store");
            }
            tokio::time::sleep(PAUSE).await;
        }
        if board.goes_on(Step::Note).is_some() {
            tracing::info!("what came of webhooks is noted again");
        }
        for note in batch.drain(..) {
            if let Some(ticket) = note.ticket {
                ticket.done();
            }
            if let Some((queue, id)) = note.busy {
                queue.written(id);
            }
        }
    }
}
