//! Speech recognition: a server, and a program of this machine.

use std::path::PathBuf;

use url::Url;

use super::parts::{Environment, base_url, expected};
use super::speech::command;
use super::{ConfigError, Hearing, HearingServer, Limits, Server, variables as var};
use crate::config::values::duration;

/// Requests that wait for a server at most.
const MOST_QUEUED: usize = 64;

/// Speech recognition, with the servers that the file of `REJOINDER_CONFIG` lists.
pub(super) fn hearing(env: &Environment, listed: Vec<HearingServer>) -> Result<Hearing, ConfigError> {
    let single = var::ASR_BASE_URL.read(env, base_url)?;
    let keys: Vec<_> = var::ASR_API_KEY.read(env, str::parse)?.into_iter().collect();
    let model = var::ASR_MODEL.read(env, |text| Ok(text.to_owned()))?;
    let servers = match single {
        Some(base_url) if !listed.is_empty() => {
            let expected = "nothing beside [[hearing]] in the file of REJOINDER_CONFIG";
            return Err(var::ASR_BASE_URL.invalid(base_url.as_str(), expected));
        }
        Some(base_url) => vec![HearingServer { server: Server { base_url, keys, ..server(env)? }, model }],
        // What a server says of itself counts more.
        None => {
            listed.into_iter().map(|one| HearingServer { model: one.model.or_else(|| model.clone()), ..one }).collect()
        }
    };
    Ok(Hearing { servers, command: command(env, var::ASR_COMMAND)?, timeout: var::ASR_TIMEOUT.get(env, duration)? })
}

/// What holds for every server that says nothing else.
pub(super) fn server(env: &Environment) -> Result<Server, ConfigError> {
    let count = |text: &str| text.parse().ok().filter(|number| *number >= 1);
    let limits = Limits {
        max_in_flight: var::ASR_MAX_IN_FLIGHT
            .get(env, |text| count(text).ok_or_else(|| expected("a whole number of requests, at least 1")))?,
        max_queued: MOST_QUEUED,
        queue_timeout: var::ASR_TIMEOUT.get(env, duration)?,
    };
    Ok(Server {
        name: "hearing".to_owned(),
        // Every server says its own.
        base_url: Url::parse("http://localhost/v1").expect("an address"),
        keys: Vec::new(),
        connect: var::ASR_CONNECT_TIMEOUT.get(env, duration)?,
        limits,
        ca_file: var::UPSTREAM_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Hearing, ConfigError> {
        let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        hearing(&env, Vec::new())
    }

    #[test]
    fn a_server_and_a_program_are_set_by_variables() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pocketsphinx_continuous"), "").unwrap();
        let path = directory.path().to_str().unwrap();
        let set =
            [("PATH", path), ("ASR_BASE_URL", "http://asr:9000/v1"), ("ASR_MODEL", "small"), ("ASR_TIMEOUT", "5s")];
        let hearing = read(&set).unwrap();
        let [server] = hearing.servers.as_slice() else { panic!("one server") };
        assert_eq!((server.server.base_url.as_str(), server.model.as_deref()), ("http://asr:9000/v1", Some("small")));
        assert_eq!((hearing.command[0].as_str(), hearing.timeout.as_secs()), ("pocketsphinx_continuous", 5));
        assert!(read(&[]).unwrap().command.is_empty(), "not installed");
        assert_eq!(read(&[("ASR_BASE_URL", "asr")]).unwrap_err().name, "ASR_BASE_URL");
        assert_eq!(read(&[("ASR_COMMAND", "/no/such/program")]).unwrap_err().name, "ASR_COMMAND");
    }
}
