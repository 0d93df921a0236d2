//! The voice: a speech server, and a program of this machine.

use std::path::{Path, PathBuf};

use url::Url;

use super::parts::{Environment, base_url, expected};
use super::{ConfigError, Limits, Server, Speech, SpeechServer, Variable, variables as var};
use crate::config::values::{Expected, duration};

/// Requests that wait for a speech server at most: those who do would rather be spoken by another voice.
const MOST_QUEUED: usize = 64;

/// The voice, with the servers that the file of `REJOINDER_CONFIG` lists.
pub(super) fn speech(env: &Environment, listed: Vec<SpeechServer>) -> Result<Speech, ConfigError> {
    let single = var::TTS_BASE_URL.read(env, base_url)?;
    let keys: Vec<_> = var::TTS_API_KEY.read(env, str::parse)?.into_iter().collect();
    let text = |text: &str| Ok(text.to_owned());
    let (model, voice) = (var::TTS_MODEL.read(env, text)?, var::TTS_VOICE.read(env, text)?);
    let servers = match single {
        Some(base_url) if !listed.is_empty() => {
            let expected = "nothing beside [[speech]] in the file of REJOINDER_CONFIG";
            return Err(var::TTS_BASE_URL.invalid(base_url.as_str(), expected));
        }
        Some(base_url) => vec![SpeechServer { server: Server { base_url, keys, ..server(env)? }, model, voice }],
        // What is said of one server is meant.
        None => listed
            .into_iter()
            .map(|one| SpeechServer {
                model: one.model.or_else(|| model.clone()),
                voice: one.voice.or_else(|| voice.clone()),
                ..one
            })
            .collect(),
    };
    Ok(Speech {
        servers,
        command: command(env, var::TTS_COMMAND)?,
        first: var::TTS_FIRST_TIMEOUT.get(env, duration)?,
        idle: var::TTS_IDLE_TIMEOUT.get(env, duration)?,
    })
}

/// What holds for every speech server that says nothing else.
pub(super) fn server(env: &Environment) -> Result<Server, ConfigError> {
    let count = |text: &str| text.parse().ok().filter(|number| *number >= 1);
    let limits = Limits {
        max_in_flight: var::TTS_MAX_IN_FLIGHT
            .get(env, |text| count(text).ok_or_else(|| expected("a whole number of requests, at least 1")))?,
        max_queued: MOST_QUEUED,
        queue_timeout: var::TTS_FIRST_TIMEOUT.get(env, duration)?,
    };
    Ok(Server {
        name: "speech".to_owned(),
        // Every server says its own.
        base_url: Url::parse("http://localhost/v1").expect("an address"),
        keys: Vec::new(),
        connect: var::TTS_CONNECT_TIMEOUT.get(env, duration)?,
        limits,
        ca_file: var::UPSTREAM_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?,
    })
}

/// The program, if it is there. Here an empty value is one: it says that there is to be none.
pub(super) fn command(env: &Environment, variable: Variable) -> Result<Vec<String>, ConfigError> {
    let set = env.get(variable.name).map(|value| value.trim());
    if matches!(set, Some("" | "off")) {
        return Ok(Vec::new());
    }
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let words = variable.get(env, words)?;
    match words.first() {
        Some(program) if is_there(program, path) => Ok(words),
        // Nobody has asked for it.
        _ if set.is_none_or(|set| set == variable.default) => Ok(Vec::new()),
        _ => Err(variable.invalid(set.unwrap_or_default(), "a program that is there, and what it is called with")),
    }
}

/// Words with spaces between; what is in quotes is one.
fn words(text: &str) -> Result<Vec<String>, Expected> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(expected("a command whose quotes are closed")) } else { Ok(words) }
}

fn is_there(program: &str, path: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    !program.is_empty() && std::env::split_paths(path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Speech, ConfigError> {
        let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        speech(&env, Vec::new())
    }

    #[test]
    fn the_local_voice_is_used_if_it_is_there_and_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let command = |pairs: &[(&str, &str)]| read(pairs).map(|speech| speech.command).map_err(drop);
        assert_eq!(command(&[("PATH", path)]), Ok(Vec::new()), "not installed");
        std::fs::write(directory.path().join("espeak-ng"), "").unwrap();
        assert_eq!(command(&[("PATH", path)]).unwrap(), ["espeak-ng", "--stdin", "--stdout"]);
        assert_eq!(command(&[("PATH", path), ("TTS_COMMAND", "")]), Ok(Vec::new()));
        assert_eq!(command(&[("PATH", path), ("TTS_COMMAND", "off")]), Ok(Vec::new()));
        let own = command(&[("PATH", path), ("TTS_COMMAND", "espeak-ng -v 'en us' \"\" --stdout")]).unwrap();
        assert_eq!(own, ["espeak-ng", "-v", "en us", "", "--stdout"]);
        for wrong in ["piper --x", "espeak-ng 'a", "/no/such/program"] {
            assert!(command(&[("PATH", path), ("TTS_COMMAND", wrong)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_malformed_address_is_an_error_that_names_it() {
        let error = read(&[("TTS_BASE_URL", "localhost:8000")]).unwrap_err();
        assert_eq!(error.name, "TTS_BASE_URL");
    }
}
