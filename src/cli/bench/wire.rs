//! What lies below HTTP: a connection, plain or encrypted.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use url::Url;

/// A connection.
pub(crate) type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How connections to one server are encrypted.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("no certificate can be for “{0}”")]
    Name(String),
    #[error("the system's certificates cannot be read")]
    Trust(#[source] rustls::Error),
    #[error("the server and this client do not agree on how to encrypt")]
    Handshake(#[source] std::io::Error),
}

impl Tls {
    /// For the server of this URL, if it is to be reached by TLS.
    ///
    /// # Errors
    /// When the system's certificates cannot be read, or none can be for this server.
    pub(crate) fn of(url: &Url) -> Result<Option<Self>, TlsError> {
        if url.scheme() != "https" {
            return Ok(None);
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        // Fails only where the process has chosen a provider before: that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut config = ClientConfig::with_platform_verifier().map_err(TlsError::Trust)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), name }))
    }

    /// Encrypts a connection.
    ///
    /// # Errors
    /// When the server's certificate is not to be trusted, or it has no TLS.
    pub(crate) async fn encrypt(&self, stream: TcpStream) -> Result<Wire, TlsError> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(self.name.clone(), stream).await.map_err(TlsError::Handshake)?;
        Ok(Either::Right(Box::new(stream)))
    }
}
