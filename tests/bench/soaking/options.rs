//! The command line, and the settings of the server that is started.

use std::path::PathBuf;
use std::time::Duration;

use rejoinder::values::{Expected, duration};

/// From SIGTERM to the end of the server: running replies are handed over at once, and go on after the start.
pub(crate) const DRAIN_TIMEOUT: &str = "1s";

/// Keeps a server under mixed use, restarts it in between, and says what was lost or grew.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "soak", after_help = "Exit codes: 0 everything held; 1 something did not; 2 it could not be run.")]
pub(crate) struct Options {
    /// The server's program
    #[arg(long, default_value = "target/release/rejoinder")]
    pub(crate) server: PathBuf,
    /// How long the load lasts
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) lasting: Duration,
    /// New replies a second
    #[arg(long, default_value_t = 1000)]
    pub(crate) rate: u32,
    /// Time between two restarts, in turns by SIGKILL and SIGTERM [default: one of each in the first 40 % of the time]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) restart_every: Option<Duration>,
    /// `REPLAY_WINDOW` of the server; expiry runs as often
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    pub(crate) replay_window: Duration,
    /// `LOG_RETENTION` of the server
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = time)]
    pub(crate) log_retention: Duration,
    /// `REPLY_DEADLINE` of the server: how long a reply may take, a restart in its middle included
    #[arg(long, value_name = "TIME", default_value = "2900ms", value_parser = time)]
    pub(crate) reply_deadline: Duration,
    /// Where the server's `DATA_DIR` is made [default: the system's temporary directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Where all samples go, as tab-separated values
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,
    /// Of the random choices
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Settings that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(&'static str);

impl Options {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.lasting < Duration::from_secs(45) {
            return Err(Invalid("--for: in less than 45s nothing can be called flat"));
        }
        if self.rate == 0 || self.rate > 100_000 {
            return Err(Invalid("--rate: from 1 to 100000"));
        }
        if self.restart_every.is_some_and(|every| every < Duration::from_secs(5)) {
            return Err(Invalid("--restart-every: at least 5s"));
        }
        Ok(())
    }

    /// After which the log holds nothing of a reply any more: what it keeps, and two rounds of cleaning.
    pub(crate) fn expired(&self) -> Duration {
        self.log_retention + 2 * self.replay_window + Duration::from_secs(1)
    }

    /// When the server is restarted, from the start of the load on.
    pub(crate) fn restarts(&self) -> Vec<Duration> {
        match self.restart_every {
            Some(every) => {
                // Not at the very end: replies that went on are to be read back from the log.
                let times = std::iter::successors(Some(every), |at| Some(*at + every));
                times.take_while(|at| *at + every / 2 <= self.lasting).collect()
            }
            None => vec![self.lasting.mul_f64(0.2), self.lasting.mul_f64(0.35)],
        }
    }
}

fn time(text: &str) -> Result<Duration, Expected> {
    duration(text)
}
