//! A WebSocket of a client of the load: a message is a request, and each message that comes is an event.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::target::Error;
use super::wire::Wire;

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<Wire>,
}

impl Socket {
    /// Opens it.
    ///
    /// # Errors
    /// When the server has no WebSocket here.
    pub(super) async fn open(request: Request, wire: Wire) -> Result<Self, Error> {
        let (stream, _) = client_async(request, wire).await.map_err(Box::new)?;
        Ok(Self { stream })
    }

    /// Sends a message of JSON.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<(), Error> {
        let text = Utf8Bytes::try_from(body).map_err(|error| Box::new(WebSocketError::Utf8(error.to_string())))?;
        Ok(self.stream.send(Message::Text(text)).await.map_err(Box::new)?)
    }

    /// The next message; `None` where the server closes the connection.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(message) = self.stream.next().await {
            match message.map_err(Box::new)? {
                Message::Text(text) => return Ok(Some(text.into())),
                Message::Close(_) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }
}
