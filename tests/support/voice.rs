//! A speech server of our own that speaks `/v1/audio/speech`, and is **not polite**. Its audio is known beforehand: every
//! text has a sound of its own, so that a gap, a repeat or a foreign voice is found.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{Method, Request, Response, body::Frame, body::Incoming, service::service_fn};
use hyper_util::{rt::TokioExecutor, rt::TokioIo, server::conn::auto};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::sse::Event;

/// Samples for each character of a text: 20 ms.
const PER_CHARACTER: usize = 480;

/// What a speech server can do to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It takes the request and never answers, nor anything else that is asked of it.
    Hang,
    /// It stops after a third of the audio.
    HangInTheMiddle,
    Status(u16),
    Empty,
    Silence,
    WrongType,
    /// The body ends well, after a third of what its header promises.
    Truncated,
    /// So many times as long as the audio lasts.
    Slow(u32),
    /// It speaks at another rate.
    Rate(u32),
}

/// A request that it heard.
#[derive(Debug, Clone)]
pub struct Heard {
    pub text: String,
    pub body: Value,
    pub at: Instant,
}

/// The server, running in the test's own runtime until dropped.
#[derive(Debug)]
pub struct Voice {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    fault: Mutex<Fault>,
    /// How long one piece of 20 ms takes.
    pace: Mutex<Duration>,
    heard: Mutex<Vec<Heard>>,
}

impl Voice {
    /// Starts it on a free port.
    pub async fn start(fault: Fault) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), fault)
    }

    /// Starts it where one was before.
    pub async fn start_again(address: SocketAddr, fault: Fault) -> Self {
        let listener = super::until("the port to be free", async || TcpListener::bind(address).await.ok()).await;
        Self::start_on(listener, fault)
    }

    fn start_on(listener: TcpListener, fault: Fault) -> Self {
        let address = listener.local_addr().expect("a bound address");
        let shared =
            Arc::new(Shared { fault: Mutex::new(fault), pace: Mutex::new(Duration::ZERO), heard: Mutex::default() });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// The address for `TTS_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves so from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no panic") = fault;
    }

    /// Takes so long for each 20 ms of audio.
    pub fn pace(&self, pace: Duration) {
        *self.shared.pace.lock().expect("no panic") = pace;
    }

    /// What it was asked to say.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().expect("no panic").clone()
    }

    pub fn texts(&self) -> Vec<String> {
        self.heard().into_iter().map(|heard| heard.text).collect()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A listener whose backlog is full: nobody gets a connection.
pub fn black_hole() -> (SocketAddr, Vec<socket2::Socket>) {
    let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address").as_socket().expect("an IP address");
    let mut held = vec![listener];
    for _ in 0..4 {
        let client = socket();
        client.set_nonblocking(true).expect("a socket option");
        let _ = client.connect(&address.into());
        held.push(client);
    }
    (address, held)
}

/// The sound of a text, at 24 kHz.
pub fn sound(text: &str) -> Vec<i16> {
    sound_at(text, 24_000)
}

fn sound_at(text: &str, rate: u32) -> Vec<i16> {
    let hash = text.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let (period, scale) = (40 + hash % 60, 24_000 / rate as usize);
    let samples = text.chars().count() * PER_CHARACTER / scale.max(1);
    let loud = |at: usize| if (at * scale.max(1) / period).is_multiple_of(2) { 8000 } else { -8000 };
    (0..samples).map(loud).collect()
}

/// The bytes of all audio among these events.
pub fn audio_of(events: &[Event]) -> Vec<u8> {
    let deltas = events.iter().filter(|event| event.kind == "response.audio.delta");
    deltas
        .flat_map(|event| {
            let delta = event.body["delta"].as_str().expect("base64");
            assert!(delta.len() <= 64 * 1024, "an event of {} bytes", delta.len());
            BASE64.decode(delta.as_bytes()).expect("base64")
        })
        .collect()
}

/// The transcript among these events.
pub fn transcript_of(events: &[Event]) -> String {
    let deltas = events.iter().filter(|event| event.kind == "response.audio.transcript.delta");
    deltas.map(|event| event.body["delta"].as_str().expect("text")).collect()
}

/// The samples of a WAV that was streamed: one header, 24 kHz, 16 bit, mono.
pub fn samples_of(wav: &[u8]) -> Vec<i16> {
    assert_eq!((&wav[..4], &wav[8..16], &wav[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]));
    assert_eq!((wav[20], wav[22], &wav[24..28], wav[34]), (1, 1, &24_000u32.to_le_bytes()[..], 16));
    let samples = wav[44..].chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]]));
    samples.collect()
}

/// The same, where one is as loud as the other, but for rounding.
pub fn is_like(one: &[i16], other: &[i16]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| (a - b).abs() <= 2)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Whoever is connected is let go with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Body = Either<Full<Bytes>, StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let fault = *shared.fault.lock().expect("no panic");
    let plain = |status: u16, kind: &str, body: String| {
        let response = Response::builder().status(status).header("content-type", kind);
        Ok(response.body(Either::Left(Full::new(body.into()))).expect("a response"))
    };
    if fault == Fault::Hang {
        if request.method() == Method::POST {
            let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            note(&shared, &body);
        }
        return std::future::pending().await;
    }
    if request.method() == Method::GET {
        return plain(200, "application/json", r#"{"object":"list","data":[]}"#.to_owned());
    }
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = note(&shared, &body);
    let (rate, loud) = match fault {
        Fault::Status(status) => {
            let body = r#"{"error":{"message":"No such voice.","type":"invalid_request_error"}}"#;
            return plain(status, "application/json", body.to_owned());
        }
        Fault::Empty => return plain(200, "audio/wav", String::new()),
        Fault::WrongType => return plain(200, "text/html", "<html>Welcome</html>".to_owned()),
        Fault::Rate(rate) => (rate, true),
        Fault::Silence => (24_000, false),
        _ => (24_000, true),
    };
    let mut samples = sound_at(&text, rate);
    if !loud {
        samples.fill(3);
    }
    let (sender, pieces) = mpsc::channel(1);
    let pace = match fault {
        Fault::Slow(times) => Duration::from_millis(20) * times,
        _ => *shared.pace.lock().expect("no panic"),
    };
    tokio::spawn(speak(wav(rate, &samples), fault, pace, sender));
    let body = Either::Right(StreamBody::new(ReceiverStream::new(pieces)));
    Ok(Response::builder().header("content-type", "audio/wav").body(body).expect("a response"))
}

fn note(shared: &Shared, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).expect("the server sends JSON");
    let text = body["input"].as_str().expect("a text").to_owned();
    shared.heard.lock().expect("no panic").push(Heard { text: text.clone(), body, at: Instant::now() });
    text
}

fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let length = u32::try_from(samples.len() * 2).expect("a short text");
    let mut bytes = Vec::new();
    for part in [&b"RIFF"[..], &(length + 36).to_le_bytes(), b"WAVEfmt ", &16u32.to_le_bytes(), &[1, 0, 1, 0]] {
        bytes.extend_from_slice(part);
    }
    for part in [&rate.to_le_bytes()[..], &(rate * 2).to_le_bytes(), &[2, 0, 16, 0], b"data", &length.to_le_bytes()] {
        bytes.extend_from_slice(part);
    }
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

async fn speak(wav: Vec<u8>, fault: Fault, pace: Duration, sender: mpsc::Sender<Result<Frame<Bytes>, Infallible>>) {
    let cut = match fault {
        Fault::HangInTheMiddle | Fault::Truncated => wav.len() / 3,
        _ => wav.len(),
    };
    for piece in wav[..cut].chunks(960) {
        // The pace of speech, not a wait for something.
        if !pace.is_zero() && tokio::time::timeout(pace, sender.closed()).await.is_ok() {
            return;
        }
        if sender.send(Ok(Frame::data(Bytes::copy_from_slice(piece)))).await.is_err() {
            return;
        }
    }
    if fault == Fault::HangInTheMiddle {
        sender.closed().await;
    }
}
