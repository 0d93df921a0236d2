//! The environment as a map: the process's variables, and those of a file `.env` that it does not set itself.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::ConfigError;
use super::variables::{VARIABLES, Variable};
use crate::config::values;

/// The variables of the process and of `.env` in the current directory, if there is one.
pub(crate) fn environment() -> Result<HashMap<String, String>, ConfigError> {
    let mut all = dot_env(Path::new(".env"))?;
    for (name, value) in std::env::vars_os() {
        // What is not UTF-8 is nobody's that we know, unless it has the name of one of ours.
        let Some(name) = name.to_str() else { continue };
        match value.into_string() {
            Ok(value) => _ = all.insert(name.to_owned(), value),
            Err(value) => {
                if let Some(variable) = VARIABLES.iter().find(|variable| variable.name == name) {
                    return Err(variable.invalid(&value.to_string_lossy(), "UTF-8"));
                }
            }
        }
    }
    Ok(all)
}

/// A variable of this process's environment that is no setting of the server, if it has one that is not empty: where the
/// user's files are, what a terminal can show, through which proxy calls go.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn dot_env(path: &Path) -> Result<HashMap<String, String>, ConfigError> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    // The error of a bad line quotes it, and a line may hold a secret: only its place is told.
    let broken = |line: usize| ConfigError {
        name: ".env",
        value: format!("(variable {line})"),
        expected: "lines of the form NAME=value that can be read".to_owned(),
    };
    let lines = dotenvy::from_path_iter(path).map_err(|_| broken(0))?;
    lines.enumerate().map(|(index, line)| line.map_err(|_| broken(index + 1))).collect()
}

/// What looks like a mistyped name of one of our variables.
/// Those that the configuration names are meant.
pub(super) fn near_misses(environment: &HashMap<String, String>, named: &[String]) -> Vec<String> {
    let mut warnings: Vec<String> = environment
        .keys()
        .filter(|name| VARIABLES.iter().all(|variable| variable.name != name.as_str()) && !named.contains(name))
        .filter_map(|name| match closest(name) {
            Some(known) => Some(format!("{name} is not a variable of rejoinder; is {known} meant?")),
            None if ["LLM_", "TTS_", "ASR_"].iter().any(|prefix| name.starts_with(prefix)) => {
                Some(format!("{name} is not a variable of rejoinder"))
            }
            None => None,
        })
        .collect();
    warnings.sort();
    warnings
}

/// The variable whose name differs in no more than two characters. Short names have too many neighbours
/// (`HOST` and `HOME`) to say anything.
fn closest(name: &str) -> Option<&'static str> {
    const SHORTEST: usize = 7;
    const FARTHEST: usize = 2;
    let upper = name.to_ascii_uppercase();
    let near = VARIABLES.iter().filter(|variable| variable.name.len() >= SHORTEST);
    let near = near.map(|variable| (distance(&upper, variable.name), variable.name));
    near.filter(|(distance, _)| *distance <= FARTHEST).min().map(|(_, name)| name)
}

/// How many characters have to be changed, added or left out (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

impl Variable {
    /// The error of a value that is not as `expected`.
    pub(super) fn invalid(&self, value: &str, expected: impl Into<String>) -> ConfigError {
        let value = if self.secret { "***".to_owned() } else { without_credentials(value) };
        ConfigError { name: self.name, value, expected: expected.into() }
    }

    /// The variable's text: as it is set, else the default. `None` when both are empty.
    pub(super) fn text<'a>(&self, environment: &'a HashMap<String, String>) -> Option<&'a str> {
        let set = environment.get(self.name).map(|value| value.trim()).filter(|value| !value.is_empty());
        set.or(Some(self.default)).filter(|value| !value.is_empty())
    }

    /// The variable's value, read by `read`.
    pub(super) fn read<T>(
        &self,
        environment: &HashMap<String, String>,
        read: impl FnOnce(&str) -> Result<T, values::Expected>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(environment) else { return Ok(None) };
        read(text).map(Some).map_err(|values::Expected(expected)| self.invalid(text, expected))
    }

    /// The value of a variable that has a default.
    pub(super) fn get<T>(
        &self,
        environment: &HashMap<String, String>,
        read: impl FnOnce(&str) -> Result<T, values::Expected>,
    ) -> Result<T, ConfigError> {
        Ok(self.read(environment, read)?.expect("a variable that is always needed has a default"))
    }
}

/// Hides what may be a secret in a URL, or in what was meant to be one: what stands before `@`, and the values of
/// parameters.
fn without_credentials(value: &str) -> String {
    let (value, parameters) = value.split_once('?').map_or((value, ""), |(value, _)| (value, "?…"));
    let start = value.find("://").map(|start| start + 3).or_else(|| Some(value.find(':')? + 1));
    match (start, value.rfind('@')) {
        (Some(start), Some(end)) if start <= end => {
            format!("{}***{}{parameters}", &value[..start], &value[end..])
        }
        _ => format!("{value}{parameters}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_noticed_and_others_are_left_alone() {
        let names =
            ["LLM_BASEURL", "LLM_KEY", "DATABSE_URL", "heartbeat", "HOME", "POST", "HOSTNAME", "LOG_LEVEL", "PORT"];
        let environment = names.into_iter().map(|name| (name.to_owned(), "x".to_owned())).collect();
        let warnings = near_misses(&environment, &[]);
        assert_eq!(
            warnings,
            [
                "DATABSE_URL is not a variable of rejoinder; is DATABASE_URL meant?",
                "LLM_BASEURL is not a variable of rejoinder; is LLM_BASE_URL meant?",
                "LLM_KEY is not a variable of rejoinder",
                "heartbeat is not a variable of rejoinder; is HEARTBEAT meant?",
            ]
        );
    }

    #[test]
    fn a_dot_env_file_is_read_and_a_broken_one_is_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        assert!(dot_env(&path).unwrap().is_empty());
        std::fs::write(&path, "# about\nLLM_MODEL='a b'\nexport PORT=1\n").unwrap();
        let read = dot_env(&path).unwrap();
        assert_eq!((read["LLM_MODEL"].as_str(), read["PORT"].as_str()), ("a b", "1"));
        std::fs::write(&path, "LLM_API_KEY=\"secret\n").unwrap();
        let error = dot_env(&path).unwrap_err().to_string();
        assert!(error.starts_with(".env") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn credentials_in_a_url_are_hidden() {
        assert_eq!(without_credentials("postgres://u:p@db/x"), "postgres://***@db/x");
        assert_eq!(without_credentials("postgres:u:p@db/x"), "postgres:***@db/x");
        assert_eq!(without_credentials("postgres://u@db/x?password=p"), "postgres://***@db/x?…");
        assert_eq!(without_credentials("me@x"), "me@x");
    }
}
