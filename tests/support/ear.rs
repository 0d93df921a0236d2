//! A server of our own that transcribes (`/v1/audio/transcriptions`), and is **not polite**. It takes note of what it is
//! sent, and says what it is told to say; what is on the wire is written by hand, so that any of it can be wrong.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What it can do to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It takes the request and never answers, nor anything else that is asked of it.
    Hang,
    /// Headers, then nothing.
    HeadersOnly,
    /// Half of the answer, then nothing.
    HangInTheMiddle,
    /// Half of the answer, then the end of the connection.
    CloseInTheMiddle,
    /// The connection is reset inside the answer.
    Reset,
    /// The connection ends before an answer.
    CloseAtOnce,
    Status(u16),
    /// This under 200, as this type.
    Body(&'static str, &'static str),
    /// This under 200, as events, and then nothing.
    StreamHangs(&'static str),
    /// An answer that never ends.
    Endless,
    /// It takes so long.
    Slow(Duration),
}

/// A request for a transcript.
#[derive(Debug, Clone)]
pub struct Heard {
    /// All of the form, as it was sent.
    pub body: Vec<u8>,
    pub authorization: Option<String>,
}

/// The server, running in the test's own runtime until dropped.
#[derive(Debug)]
pub struct Ear {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    fault: Mutex<Fault>,
    text: Mutex<String>,
    heard: Mutex<Vec<Heard>>,
}

impl Heard {
    /// A field of the form.
    pub fn field(&self, name: &str) -> Option<String> {
        let body = String::from_utf8_lossy(&self.body);
        let (_, rest) = body.split_once(&format!("name=\"{name}\"\r\n\r\n"))?;
        Some(rest.split_once("\r\n")?.0.to_owned())
    }

    /// The recording.
    pub fn file(&self) -> &[u8] {
        let find = |what: &[u8], from: usize| {
            self.body[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
        };
        let head = find(b"name=\"file\"", 0).expect("a file");
        let start = find(b"\r\n\r\n", head).expect("its beginning") + 4;
        let boundary = &self.body[..find(b"\r\n", 0).expect("a boundary")];
        let end = find(&[b"\r\n", boundary].concat(), start).expect("its end");
        &self.body[start..end]
    }
}

impl Ear {
    /// Starts it on a free port; it hears this text in everything.
    pub async fn start(text: &str, fault: Fault) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), text, fault)
    }

    /// Starts it where one was before.
    pub async fn start_again(address: SocketAddr, text: &str) -> Self {
        let listener = super::until("the port to be free", async || TcpListener::bind(address).await.ok()).await;
        Self::start_on(listener, text, Fault::None)
    }

    fn start_on(listener: TcpListener, text: &str, fault: Fault) -> Self {
        let address = listener.local_addr().expect("a bound address");
        let (fault, text) = (Mutex::new(fault), Mutex::new(text.to_owned()));
        let shared = Arc::new(Shared { fault, text, heard: Mutex::default() });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    /// The address for `ASR_BASE_URL`.
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

    /// Hears this from now on.
    pub fn hears(&self, text: &str) {
        text.clone_into(&mut self.shared.text.lock().expect("no panic"));
    }

    /// What it was sent.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().expect("no panic").clone()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Whoever is connected is let go with the server.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

/// Answers one request, and closes the connection.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some((head, body)) = read(&mut stream).await else { return };
    let fault = *shared.fault.lock().expect("no panic");
    let models = head.starts_with("GET ");
    if !models {
        let authorization = header(&head, "authorization").map(str::to_owned);
        shared.heard.lock().expect("no panic").push(Heard { body, authorization });
    }
    let text = shared.text.lock().expect("no panic").clone();
    if fault == Fault::Hang {
        return std::future::pending().await;
    }
    if models {
        return send(&mut stream, 200, "application/json", r#"{"object":"list","data":[]}"#).await;
    }
    let verbose = json!({"task": "transcribe", "language": "english", "duration": 2.5, "text": text, "segments":
        [{"id": 0, "start": 0.0, "end": 1.0, "text": text, "tokens": [7]}, {"id": 1, "start": 1.0, "end": 2.5, "text": ""}]});
    let answer = verbose.to_string();
    match fault {
        Fault::Status(status) => {
            let body = r#"{"error":{"message":"This audio is not for me.","type":"invalid_request_error"}}"#;
            send(&mut stream, status, "application/json", body).await;
        }
        Fault::Body(body, kind) => send(&mut stream, 200, kind, body).await,
        Fault::StreamHangs(events) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n";
            let _ = stream.write_all(format!("{head}{events}").as_bytes()).await;
            std::future::pending::<()>().await;
        }
        Fault::CloseAtOnce => {}
        Fault::HeadersOnly | Fault::HangInTheMiddle | Fault::CloseInTheMiddle | Fault::Reset => {
            let sent = if fault == Fault::HeadersOnly { "" } else { &answer[..answer.len() / 2] };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(format!("{head}{sent}").as_bytes()).await;
            match fault {
                Fault::CloseInTheMiddle => {}
                Fault::Reset => stream.set_zero_linger().expect("a socket option"),
                _ => std::future::pending().await,
            }
        }
        Fault::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n").await;
            while stream.write_all(&[b' '; 8192]).await.is_ok() {}
        }
        Fault::Slow(pace) => {
            // The time that it takes to hear, not a wait for something.
            tokio::time::sleep(pace).await;
            send(&mut stream, 200, "application/json", &answer).await;
        }
        Fault::None | Fault::Hang => send(&mut stream, 200, "application/json", &answer).await,
    }
}

async fn send(stream: &mut TcpStream, status: u16, kind: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nlocation: /\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

/// The head of a request, and its body.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let end = loop {
        if let Some(at) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut all).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let length = header(&head, "content-length").map_or(0, |value| value.parse().expect("a length"));
    let mut body = all.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, it)| it)
}

/// A WAV of so many samples of 16 kHz, loud enough to be heard.
pub fn recording(samples: usize) -> Vec<u8> {
    wav((0..samples).map(|at| if at / 30 % 2 == 0 { 9000 } else { -9000 }))
}

/// A WAV in which nothing is heard.
pub fn silence(samples: usize) -> Vec<u8> {
    wav((0..samples).map(|_| 3))
}

fn wav(samples: impl Iterator<Item = i16>) -> Vec<u8> {
    let samples: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(samples.len()).expect("a short recording");
    let mut bytes = Vec::new();
    for part in [&b"RIFF"[..], &(length + 36).to_le_bytes(), b"WAVEfmt ", &16u32.to_le_bytes(), &[1, 0, 1, 0]] {
        bytes.extend_from_slice(part);
    }
    for part in [&16_000u32.to_le_bytes()[..], &32_000u32.to_le_bytes(), &[2, 0, 16, 0], b"data", &length.to_le_bytes()]
    {
        bytes.extend_from_slice(part);
    }
    bytes.extend(samples);
    bytes
}
