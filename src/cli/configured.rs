//! The configuration, for commands that cannot do without: everything that is wrong with it is told, and not the first
//! thing only.

use std::io::Write;

use crate::config::{Config, environment};

/// Reads the configuration; `None` when the person at the terminal was told why not.
pub(super) fn configuration() -> Option<Config> {
    let (config, faults) = match environment() {
        Ok(environment) => Config::with_faults(&environment),
        Err(fault) => return tell(&[fault]),
    };
    if faults.is_empty() { Some(config) } else { tell(&faults) }
}

fn tell(faults: &[crate::config::ConfigError]) -> Option<Config> {
    for fault in faults {
        let _ = writeln!(std::io::stderr(), "rejoinder: the configuration is wrong: {fault}");
    }
    None
}
