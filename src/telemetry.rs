//! What the server tells of itself: log lines, traces, metrics.

use url::Url;

/// What is told, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// The form of log lines.
    pub format: Format,
    /// Which are written: directives as in `RUST_LOG`.
    pub filter: String,
    /// Where traces go. `None`: nowhere.
    pub otlp: Option<Otlp>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// A collector of traces.
#[derive(Debug, Clone)]
pub struct Otlp {
    /// Its address, without the path of a signal.
    pub endpoint: Url,
    /// The name under which the traces appear.
    pub service_name: String,
}
