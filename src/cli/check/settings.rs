//! What is set, and what of it cannot be used.

use std::collections::HashMap;
use std::path::Path;

use super::row::{Row, Status};
use crate::config::{Config, ConfigError, VARIABLES, Variable};

const WHAT: &str = "configuration";

/// One line for what is wrong with each variable; else one that says that nothing is. Then, names that look mistyped.
pub(super) fn rows(set: &HashMap<String, String>, config: &Config, faults: &[ConfigError]) -> Vec<Row> {
    let mut rows: Vec<Row> = faults.iter().map(fault).collect();
    if rows.is_empty() {
        rows.push(Row::new(Status::Ok, WHAT, source(), count(set)));
    }
    rows.extend(config.warnings.iter().map(|warning| {
        let name = warning.split(' ').next().unwrap_or_default();
        Row::new(Status::Warn, WHAT, name, warning.clone()).change("the name; .env.example has them all")
    }));
    rows
}

/// A value that cannot be used.
pub(super) fn fault(fault: &ConfigError) -> Row {
    let value = format!("{}={}", fault.name, fault.value);
    let row = Row::new(Status::Fail, WHAT, value, "cannot be used").why(format!("expected {}", fault.expected));
    if fault.name == "REJOINDER_CONFIG" {
        return row.change("the file, there; rejoinder.example.toml has everything in it");
    }
    match VARIABLES.iter().find(|variable| variable.name == fault.name).and_then(example) {
        Some(example) => row.change(format!("{}, for example {example}", fault.name)),
        None => row.change(fault.name),
    }
}

/// A value that would do. Defaults do, but for what has none.
fn example(variable: &Variable) -> Option<String> {
    let value = match (variable.name, variable.default) {
        ("LLM_BASE_URL", _) => "http://localhost:11434/v1",
        ("DATABASE_URL", _) => "sqlite:./data/rejoinder.db",
        ("AUTH", _) => "none",
        ("CORS_ORIGINS", _) => "https://chat.example.com",
        ("JWT_ISSUER", _) => "https://login.example.com",
        ("JWT_JWKS_URL", _) => "https://login.example.com/keys",
        ("ALLOWED_HOSTS", _) => "chat.example.com",
        ("ADMIN_ADDR", _) => "127.0.0.1:9090",
        ("OTEL_EXPORTER_OTLP_ENDPOINT", _) => "http://localhost:4318",
        (_, "") => return None,
        (_, default) => default,
    };
    Some(format!("{}={value}", variable.name))
}

fn source() -> &'static str {
    if Path::new(".env").exists() { "environment, .env" } else { "environment" }
}

fn count(set: &HashMap<String, String>) -> String {
    let set = VARIABLES.iter().filter(|variable| set.get(variable.name).is_some_and(|value| !value.trim().is_empty()));
    match set.count() {
        0 => "nothing is set: the defaults hold".to_owned(),
        1 => "1 variable is set".to_owned(),
        many => format!("{many} variables are set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_can_be_used() {
        for variable in VARIABLES {
            let Some(example) = example(variable) else { continue };
            let (name, value) = example.split_once('=').unwrap();
            let set = HashMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(Config::with_faults(&set).1, [], "{example}");
        }
    }

    #[test]
    fn a_fault_names_the_variable_and_a_value_that_would_do() {
        let set = HashMap::from([("PORT".to_owned(), "http".to_owned())]);
        let (config, faults) = Config::with_faults(&set);
        let rows = rows(&set, &config, &faults);
        assert_eq!((rows.len(), rows[0].status, rows[0].value.as_str()), (1, Status::Fail, "PORT=http"));
        assert_eq!(rows[0].change.as_deref(), Some("PORT, for example PORT=8080"));
    }
}
