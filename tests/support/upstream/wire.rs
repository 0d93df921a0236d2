//! How the upstream's steps become bytes: in good order, or in one of the ways that servers in the wild have.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Either;
use hyper::{
    Response,
    body::{Body, Frame},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    FateGuard,
    behaviour::{Break, Step},
};

/// The transport's own oddities.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "oddities are found in any combination")]
pub struct Wire {
    pub eol: &'static str,
    /// What stands between `data` and the JSON.
    pub data: &'static str,
    /// So many bytes to a chunk of the body; else one event.
    pub piece: Option<usize>,
    /// A comment before each event.
    pub comments: bool,
    /// A blank `data:` before each event.
    pub blanks: bool,
    /// The usage so far on every chunk.
    pub usage_always: bool,
    /// A first chunk without choices.
    pub opens_empty: bool,
}

impl Wire {
    pub const POLITE: Self = Self {
        eol: "\n",
        data: "data: ",
        piece: None,
        comments: false,
        blanks: false,
        usage_always: false,
        opens_empty: false,
    };

    fn render(&self, step: &Step, said: &mut u64) -> String {
        let chunk = |mut body: Value, said: u64| {
            body["id"] = "chatcmpl-1".into();
            body["object"] = "chat.completion.chunk".into();
            body["created"] = 1_700_000_000.into();
            body["model"] = "truth".into();
            if self.usage_always {
                body["usage"] = json!({"prompt_tokens": 7, "completion_tokens": said, "total_tokens": 7 + said});
            }
            self.event(&body.to_string())
        };
        let choice =
            |delta: &Value, reason: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        match step {
            Step::Delta(delta) => {
                *said += 1;
                chunk(choice(delta, Value::Null), *said)
            }
            Step::Chunk(body) => chunk(body.clone(), *said),
            Step::Finish(reason) => chunk(choice(&json!({}), (*reason).into()), *said),
            Step::Raw(raw) => raw.clone(),
            Step::Done => self.event("[DONE]"),
            Step::Bytes(_) | Step::Repeat(..) | Step::Pause(_) | Step::Hang | Step::Break(_) => String::new(),
        }
    }

    fn event(&self, data: &str) -> String {
        let Self { eol, data: field, .. } = self;
        let mut event = String::new();
        if self.comments {
            event.extend([": keep-alive", eol, eol]);
        }
        if self.blanks {
            event.extend(["data:", eol, eol]);
        }
        event.extend([*field, data, eol, eol]);
        event
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::POLITE
    }
}

/// The connection broke, because a step said so.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

/// The body of an answer, fed by the task that performs the steps.
#[derive(Debug)]
pub struct ScriptBody {
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
    guard: Option<FateGuard>,
}

impl ScriptBody {
    pub(super) fn start(
        steps: Vec<Step>,
        wire: Wire,
        guard: FateGuard,
        socket: Arc<socket2::Socket>,
    ) -> Response<Either<http_body_util::Full<Bytes>, Self>> {
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(perform(steps, wire, sender, socket));
        let body = Either::Right(Self { pieces, guard: Some(guard) });
        Response::builder().header("content-type", "text/event-stream").body(body).expect("a valid response")
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let piece = std::task::ready!(self.pieces.poll_recv(context));
        if !matches!(piece, Some(Ok(_)))
            && let Some(guard) = self.guard.take()
        {
            guard.answered();
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Sends the steps until they end or nobody listens.
async fn perform(
    steps: Vec<Step>,
    wire: Wire,
    sender: mpsc::Sender<Result<Bytes, Broken>>,
    socket: Arc<socket2::Socket>,
) {
    let mut said = 0;
    if wire.opens_empty {
        let opening = Step::Chunk(json!({"choices": [], "prompt_filter_results": []}));
        if send(&wire, &wire.render(&opening, &mut said), &sender).await.is_err() {
            return;
        }
    }
    for step in steps {
        match &step {
            Step::Pause(time) => {
                // The pace of speech, not a wait for something.
                if *time > Duration::ZERO && tokio::time::timeout(*time, sender.closed()).await.is_ok() {
                    return;
                }
            }
            Step::Bytes(bytes) => {
                if sender.send(Ok(Bytes::from_static(bytes))).await.is_err() {
                    return;
                }
            }
            Step::Repeat(text, pause) => loop {
                if send(&wire, text, &sender).await.is_err() {
                    return;
                }
                // A pace, as of speech.
                if *pause > Duration::ZERO && tokio::time::timeout(*pause, sender.closed()).await.is_ok() {
                    return;
                }
            },
            Step::Hang | Step::Break(Break::Silent) => return sender.closed().await,
            Step::Break(Break::Clean) => return,
            Step::Break(how) => {
                if *how == Break::Reset {
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
                let _ = sender.send(Err(Broken)).await;
                return;
            }
            _ => {
                if send(&wire, &wire.render(&step, &mut said), &sender).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn send(wire: &Wire, text: &str, sender: &mpsc::Sender<Result<Bytes, Broken>>) -> Result<(), ()> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let size = wire.piece.unwrap_or(bytes.len()).max(1);
    for start in (0..bytes.len()).step_by(size) {
        let piece = bytes.slice(start..bytes.len().min(start + size));
        sender.send(Ok(piece)).await.map_err(|_| ())?;
        // Lets the connection write this piece before the next one is there to be joined with it.
        tokio::task::yield_now().await;
    }
    Ok(())
}
