//! One POST to an endpoint: no redirects, no proxy, times that end, and no more of the answer than its status.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use url::Url;

use super::address::{Forbidden, Guard};
use crate::services;

/// How long a connection may take, with its name and its encryption.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all may take, up to the status of the answer.
const TOTAL: Duration = Duration::from_secs(15);
/// So much of an answer is read, so that its connection can be used again; then that is closed.
const READ: usize = 16 << 10;
/// And for so long.
const READ_FOR: Duration = Duration::from_secs(1);
/// Connections to one endpoint that are kept open with nothing to do, and for how long.
const IDLE: (usize, Duration) = (16, Duration::from_secs(30));
/// The longest that an endpoint may ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The client of all endpoints. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    guard: Guard,
    ca_file: Option<PathBuf>,
    /// Made when it is needed first: that reads the system's certificates.
    http: Arc<OnceLock<Result<reqwest::Client, String>>>,
    /// What answers in place of a network, and to whom.
    #[cfg(feature = "simulation")]
    simulated: Option<(crate::simulation::Process, Arc<dyn crate::simulation::Hook>)>,
}

/// What came of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The endpoint took it.
    Taken(u16),
    /// It did not, and perhaps said when to come again.
    Refused(u16, Option<Duration>),
    /// It does not want anything any more (410).
    Gone,
    /// There was no answer; why not.
    Failed(String),
}

impl Client {
    /// A client that calls what the guard lets through, and trusts the certificates of this file beside the system's.
    pub(crate) fn new(guard: Guard, ca_file: Option<PathBuf>) -> Self {
        Self {
            guard,
            ca_file,
            http: Arc::default(),
            #[cfg(feature = "simulation")]
            simulated: None,
        }
    }

    /// The same, of a simulation.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(
        self,
        simulated: Option<(crate::simulation::Process, Arc<dyn crate::simulation::Hook>)>,
    ) -> Self {
        Self { simulated, ..self }
    }

    /// Which addresses are called.
    pub(crate) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, url: &Url, headers: &[(HeaderName, String)], body: Bytes) -> Answer {
        if let Err(forbidden) = self.guard.check(url) {
            return Answer::Failed(forbidden.to_string());
        }
        #[cfg(feature = "simulation")]
        if let Some((process, hook)) = &self.simulated {
            process.turn().await;
            let (after, status) =
                hook.called(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(), &body);
            tokio::time::sleep(after).await;
            process.turn().await;
            return match status.filter(|_| process.is_connected()) {
                Some(410) => Answer::Gone,
                Some(status @ 200..300) => Answer::Taken(status),
                Some(status) => Answer::Refused(status, None),
                None => Answer::Failed("simulated".to_owned()),
            };
        }
        let http = match self.http.get_or_init(|| self.build()) {
            Ok(http) => http,
            Err(why) => return Answer::Failed(why.clone()),
        };
        let mut request = http.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        match tokio::time::timeout(TOTAL, request.send()).await {
            Ok(Ok(response)) => answer(response).await,
            Ok(Err(error)) => Answer::Failed(why(&error)),
            Err(_) => Answer::Failed(format!("no answer within {} s", TOTAL.as_secs())),
        }
    }

    fn build(&self) -> Result<reqwest::Client, String> {
        // Fails only where the process has chosen a provider before: that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let roots = self.ca_file.as_deref().map(services::certificates).transpose();
        let roots = roots.map_err(|error| error.to_string())?.unwrap_or_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            // Each call has a connection for itself: one that hangs holds up no other.
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(IDLE.0)
            .pool_idle_timeout(IDLE.1)
            .dns_resolver(self.guard.clone())
            .tls_certs_merge(roots)
            .build();
        client.map_err(|error| crate::telemetry::causes::chain(&error))
    }
}

impl Answer {
    /// In a few words: a status, or why there was none.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Taken(status) | Self::Refused(status, _) => status.to_string(),
            Self::Gone => "410".to_owned(),
            Self::Failed(why) => why.clone(),
        }
    }
}

async fn answer(response: Response) -> Answer {
    let status = response.status();
    if status == StatusCode::GONE {
        return Answer::Gone;
    }
    if !status.is_success() {
        let wait = services::http::retry_after(response.headers(), SystemTime::now());
        return Answer::Refused(status.as_u16(), wait.map(|wait| wait.min(LONGEST_WAIT)));
    }
    read_a_little(response).await;
    Answer::Taken(status.as_u16())
}

/// Reads a short answer to its end. What comes of it does not matter: the status has been said.
async fn read_a_little(mut response: Response) {
    let all = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            if read > READ {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(READ_FOR, all).await;
}

/// What went wrong with the encryption. It stands in errors of the system, one in the other.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref::<rustls::Error>().or_else(|| tls_error(inner.downcast_ref::<io::Error>()?))
}

/// Why there was no answer. (What reqwest says itself names the URL, which may hold what its owner keeps to themselves.)
fn why(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let found = causes.find_map(|cause| {
        let of_system = || cause.downcast_ref::<io::Error>();
        let refused = || tls_error(of_system()?).map(|error| format!("TLS: {error}"));
        let forbidden = || cause.downcast_ref::<Forbidden>().map(ToString::to_string);
        let system = || of_system().filter(|error| error.raw_os_error().is_some()).map(ToString::to_string);
        forbidden().or_else(refused).or_else(system)
    });
    match found {
        Some(cause) => cause,
        None if error.is_connect() && error.is_timeout() => format!("no connection within {} s", CONNECT.as_secs()),
        None if error.is_connect() => "no connection".to_owned(),
        None => "the connection broke off before there was an answer".to_owned(),
    }
}
