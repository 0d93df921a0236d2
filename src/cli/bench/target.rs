//! The server under load: where it is, how to connect, how to ask.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, client::IntoClientRequest};
use url::Url;

use super::socket::Socket;
use super::wire::{Tls, TlsError, Wire};

/// A server's address and the API that it serves.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    url: Url,
    addr: SocketAddr,
    tls: Option<Tls>,
    headers: HeaderMap,
}

/// What can go wrong between a client and the server, before a reply begins.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("“{0}” is not the address of a server; try http://127.0.0.1:8080")]
    BadUrl(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the API key has characters that a header cannot hold")]
    BadKey,
    #[error("{0} has no address")]
    Unresolved(String, #[source] Option<std::io::Error>),
    #[error("cannot connect to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    #[error(transparent)]
    Files(#[from] super::process::TooManyFiles),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    #[error("the WebSocket broke")]
    Socket(#[from] Box<tungstenite::Error>),
    #[error("{path} answered {status}: {body}")]
    Refused { path: String, status: StatusCode, body: String },
    #[error("{path} answered something else than expected: {body}")]
    Unexpected { path: String, body: String },
}

impl Target {
    /// Reads a server's URL (with or without `/v1`) and resolves its name, once for all connections.
    ///
    /// # Errors
    /// When there is no such address.
    pub(crate) fn resolve(text: &str, api_key: Option<&str>) -> Result<Self, Error> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|_| Error::BadUrl(text.into()))?;
        match url.scheme() {
            "http" | "https" => {}
            _ => return Err(Error::BadUrl(text.into())),
        }
        let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&path);
        let unresolved = |source| Error::Unresolved(url.to_string(), source);
        let addr = url
            .socket_addrs(|| None)
            .map_err(|e| unresolved(Some(e)))?
            .first()
            .copied()
            .ok_or_else(|| unresolved(None))?;
        let headers = headers(&url, api_key)?;
        let tls = Tls::of(&url)?;
        Ok(Self { url, addr, tls, headers })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let (sender, driver) = http1::Builder::new().handshake(TokioIo::new(self.wire().await?)).await?;
        Ok(Connection { sender, driver, ended: false })
    }

    /// Opens a WebSocket on a path.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) async fn socket(&self, path: &str) -> Result<Socket, Error> {
        let mut url = self.url.clone();
        // Of the schemes that were let in, each has its counterpart.
        let _ = url.set_scheme(if self.tls.is_some() { "wss" } else { "ws" });
        url.set_path(self.uri(path).path());
        let mut request = url.as_str().into_client_request().map_err(Box::new)?;
        if let Some(key) = self.headers.get(AUTHORIZATION) {
            request.headers_mut().insert(AUTHORIZATION, key.clone());
        }
        Socket::open(request, self.wire().await?).await
    }

    async fn wire(&self) -> Result<Wire, Error> {
        let stream = TcpStream::connect(self.addr).await.map_err(|e| Error::Connect(self.addr, e))?;
        // Without it a request waits for the ack of the one before: the latency would be ours, not the server's.
        stream.set_nodelay(true).map_err(|e| Error::Connect(self.addr, e))?;
        Ok(match &self.tls {
            Some(tls) => tls.encrypt(stream).await?,
            None => Wire::Left(stream),
        })
    }

    /// The path of an endpoint on this server.
    pub(crate) fn uri(&self, path: &str) -> Uri {
        let base = self.url.path().trim_end_matches('/');
        format!("{base}{path}").parse().unwrap_or_else(|_| Uri::from_static("/"))
    }

    /// A `POST` of JSON.
    pub(crate) fn post(&self, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        self.request(Method::POST, uri, body)
    }

    /// A `GET` of a stream.
    pub(crate) fn get(&self, uri: Uri) -> Request<Full<Bytes>> {
        self.request(Method::GET, uri, Bytes::new())
    }

    fn request(&self, method: Method, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

/// One keep-alive connection. Dropping it closes it.
///
/// The task that waits for an answer also drives the connection. In a task of its own it would cost two switches for
/// every chunk of a stream, more than all else that the generator does.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Wire>, Full<Bytes>>,
    ended: bool,
}

impl Connection {
    /// Sends a request and waits for the answer's head.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let mut response = pin!(self.sender.send_request(request));
        let (driver, ended) = (&mut self.driver, &mut self.ended);
        Ok(poll_fn(|cx| {
            drive(driver, ended, cx);
            response.as_mut().poll(cx)
        })
        .await?)
    }

    /// The next piece of an answer's body, as it came; `None` at its end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub(crate) async fn chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                drive(&mut self.driver, &mut self.ended, cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => return Ok(Some(data)),
                Some(Err(_trailers)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The rest of a short body.
    ///
    /// # Errors
    /// When the body breaks off.
    pub(crate) async fn rest(&mut self, body: &mut Incoming) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(body).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_SHORT_BODY {
                break;
            }
        }
        Ok(bytes)
    }

    /// Lets a good answer pass, and turns any other into an error with the server's message.
    ///
    /// # Errors
    /// When the status is not 2xx.
    pub(crate) async fn accepted(&mut self, path: &str, response: Response<Incoming>) -> Result<Incoming, Error> {
        let status = response.status();
        let mut body = response.into_body();
        if status.is_success() {
            return Ok(body);
        }
        let rest = self.rest(&mut body).await.unwrap_or_default();
        Err(Error::Refused { path: path.into(), status, body: reason(&rest) })
    }

    /// Whether a request can be sent: looks after the connection, in case the server has closed it meanwhile.
    pub(crate) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            drive(&mut self.driver, &mut self.ended, cx);
            Poll::Ready(())
        })
        .await;
        !self.ended && self.sender.is_ready()
    }
}

/// A body that is read for a message or an id ends here.
const MAX_SHORT_BODY: usize = 1 << 20;

/// Reads and writes what can be. The connection's error also reaches the request that is under way: here it is dropped.
fn drive(driver: &mut http1::Connection<TokioIo<Wire>, Full<Bytes>>, ended: &mut bool, cx: &mut Context<'_>) {
    if !*ended {
        *ended = Pin::new(driver).poll(cx).is_ready();
    }
}

/// Why a server refused: its message, or else the beginning of its answer.
fn reason(body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    answer["error"]["message"].as_str().map_or_else(|| excerpt(body), |message| excerpt(message.as_bytes()))
}

/// The beginning of an answer, on one line, for a message.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn headers(url: &Url, api_key: Option<&str>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(|_| Error::BadUrl(url.to_string()))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(key) = api_key {
        let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| Error::BadKey)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_people_write_it() {
        for text in [
            "http://127.0.0.1:9",
            "http://127.0.0.1:9/",
            "http://127.0.0.1:9/v1",
            "http://127.0.0.1:9/v1/",
            "127.0.0.1:9",
        ] {
            let target = Target::resolve(text, None).unwrap();
            assert_eq!(target.uri("/v1/responses"), "/v1/responses", "{text}");
            assert_eq!(target.to_string(), "http://127.0.0.1:9");
        }
        assert_eq!(
            Target::resolve("http://127.0.0.1:9/llm/v1", None).unwrap().uri("/v1/responses"),
            "/llm/v1/responses"
        );
    }

    #[test]
    fn what_is_no_server_is_refused() {
        assert!(matches!(Target::resolve("ftp://127.0.0.1", None), Err(Error::BadUrl(_))));
        assert!(matches!(Target::resolve("http://", None), Err(Error::BadUrl(_))));
        assert!(matches!(Target::resolve("http://127.0.0.1", Some("a\nb")), Err(Error::BadKey)));
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt(b"a\n  b"), "a b");
        assert_eq!(excerpt("ä".repeat(300).as_bytes()).chars().count(), 201);
    }
}
