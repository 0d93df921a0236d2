//! What a person meets who sets variables.

use super::*;

fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(pairs: &[(&str, &str)]) -> Config {
    Config::from_env_map(&env(pairs)).unwrap()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    Config::from_env_map(&env(pairs)).unwrap_err().to_string()
}

#[test]
fn nothing_needs_to_be_set() {
    let config = read(&[]);
    assert_eq!((config.http.host.to_string().as_str(), config.http.port), ("127.0.0.1", 8080));
    assert_eq!(config.store.url(), "sqlite:./data/rejoinder.db");
    assert_eq!(config.log.retention, Duration::from_hours(7 * 24));
    assert_eq!(config.generation.reply_deadline, Duration::from_mins(90));
    assert_eq!(config.http.max_body_bytes, 16 << 20);
    assert_eq!(config.drain.generation(), Duration::from_secs(8));
    assert!(config.upstream.servers.is_empty());
    assert!(config.http.stream_max_age.is_none() && config.telemetry.otlp.is_none());
    assert_eq!(config.http.cors_origins, CorsOrigins::None);
    assert!(config.warnings.is_empty());
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    assert_eq!(read(&[("PORT", ""), ("LLM_MODEL", " ")]).http.port, 8080);
    assert_eq!(read(&[("LLM_MODEL", " ")]).upstream.model, None);
}

#[test]
fn what_is_set_is_taken() {
    let config = read(&[
        ("LLM_BASE_URL", "http://localhost:11434/v1/"),
        ("LLM_API_KEY", "sk-secret"),
        ("LLM_CONTINUATION", "instruct"),
        ("LLM_IDLE_TIMEOUT", "500ms"),
        ("HOST", "::"),
        ("AUTH", "none"),
        ("PORT", "0"),
        ("DATA_DIR", "/tmp/x"),
        ("LOG_SYNC", "always"),
        ("STREAM_MAX_AGE", "240s"),
        ("CORS_ORIGINS", "https://a.example, http://localhost:3000/"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
    ]);
    let [server] = &config.upstream.servers[..] else { panic!("{config:?}") };
    assert_eq!(server.server.base_url.as_str(), "http://localhost:11434/v1");
    assert_eq!(server.continuation, ContinuationPolicy::Instruct);
    assert_eq!((server.idle, server.first), (Duration::from_millis(500), Duration::from_mins(5)));
    assert_eq!(config.http.host.to_string(), "::");
    assert_eq!(config.store.url(), "sqlite:/tmp/x/rejoinder.db");
    assert_eq!(config.log.sync, Sync::Always);
    let origins = ["https://a.example".to_owned(), "http://localhost:3000".to_owned()];
    assert_eq!(config.http.cors_origins, CorsOrigins::List(origins.to_vec()));
    assert_eq!(config.telemetry.otlp.as_ref().map(|otlp| otlp.service_name.as_str()), Some("rejoinder"));
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn a_postgres_is_taken_with_its_limits() {
    let config = read(&[("DATABASE_URL", "postgres://me:secret@db/x")]);
    assert_eq!((config.store.url().as_str(), config.tables), ("postgres://me@db:5432/x", database::Tables::Migrate));
    assert!(!format!("{config:?}").contains("secret"));
    let limits = |pairs: &[(&str, &str)]| match read(&[&[("DATABASE_URL", "postgres://db/x")], pairs].concat()).store {
        database::Config::Postgres(config) => config.limits,
        other @ database::Config::Sqlite(_) => panic!("{other:?}"),
    };
    assert_eq!(limits(&[]), database::postgres::Limits::default());
    let set = limits(&[
        ("DATABASE_POOL", "2"),
        ("DATABASE_ACQUIRE_TIMEOUT", "1s"),
        ("DATABASE_CONNECT_TIMEOUT", "2s"),
        ("DATABASE_STATEMENT_TIMEOUT", "3s"),
    ]);
    let seconds = Duration::from_secs;
    let expected = (2, seconds(1), seconds(2), seconds(3));
    assert_eq!((set.connections, set.acquire, set.connect, set.statement), expected);
    assert_eq!(read(&[("MIGRATE", "off")]).tables, database::Tables::Leave);
}

#[test]
fn a_wrong_value_is_named_with_what_was_expected() {
    for (name, value, expected) in [
        ("PORT", "http", "a port"),
        ("PORT", "70000", "a port"),
        ("HOST", "example.com", "an IP address"),
        ("HEARTBEAT", "15", "a duration"),
        ("HEARTBEAT", "off", "a duration"),
        ("STREAM_MAX_AGE", "never", "or off"),
        ("MAX_BODY_BYTES", "16MB", "a number of bytes"),
        ("MAX_BODY_BYTES", "0", "more than 0"),
        ("MAX_RUNNING_REPLIES", "0", "at least 1"),
        ("LOG_SYNC", "sometimes", "os or always"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("LLM_CONTINUATION", "on", "auto, prefill, instruct or off"),
        ("LLM_BASE_URL", "localhost:11434", "an address such as"),
        ("LLM_BASE_URL", "http://x/v1/chat/completions", "the API alone"),
        ("DATABASE_URL", "mysql://x", "sqlite:"),
        ("DATABASE_POOL", "0", "from 1 to"),
        ("MIGRATE", "no", "on or off"),
        ("AUTH", "basic", "none"),
        ("CORS_ORIGINS", "a.example", "origins such as"),
        ("RUST_LOG", "rejoinder=loud", "a level"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "an address"),
    ] {
        let error = refusal(&[(name, value)]);
        assert!(error.starts_with(&format!("{name}={value}: expected ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let set = env(&[("PORT", "http"), ("LOG_SYNC", "sometimes"), ("LLM_MODEL", "a"), ("REPLAY_WINDOW", "1h")]);
    let (config, faults) = Config::with_faults(&set);
    let names: Vec<_> = faults.iter().map(|fault| fault.name).collect();
    // The replay window is right by itself, and too short for the default beside it.
    assert_eq!(names, ["LOG_SYNC", "REPLY_DEADLINE", "PORT"]);
    assert_eq!(config.http.port, 8080);
    let (config, faults) = Config::with_faults(&env(&[("PORT", "1"), ("LLM_MODEL", "a")]));
    assert_eq!((config.http.port, config.upstream.model.as_deref(), faults.len()), (1, Some("a"), 0));
}

#[test]
fn a_secret_does_not_show_in_an_error() {
    for (name, value) in [
        ("LLM_API_KEY", "sk-secret with a space"),
        ("LLM_BASE_URL", "http://me:secret@host/v1"),
        ("DATABASE_URL", "postgres://me:secret@db"),
        ("DATABASE_URL", "postgres:me:secret@db/x"),
        ("DATABASE_URL", "postgres://me@db/x?pasword=secret"),
        ("DATABASE_URL", "postgress://me:secret@db/x"),
    ] {
        let error = refusal(&[(name, value)]);
        assert!(error.starts_with(name) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_server_without_authentication_stays_on_this_machine_unless_more_is_meant() {
    assert!(refusal(&[("HOST", "0.0.0.0")]).contains("AUTH=none"));
    assert_eq!(read(&[("HOST", "0.0.0.0"), ("AUTH", "none")]).http.host.to_string(), "0.0.0.0");
    assert!(read(&[("HOST", "::1")]).http.host.is_loopback());
    assert!(read(&[("HOST", "localhost")]).http.host.is_loopback());
}

#[test]
fn windows_contain_each_other() {
    assert!(refusal(&[("REPLY_DEADLINE", "2h")]).ends_with("less than REPLAY_WINDOW (2h)"));
    assert!(refusal(&[("LOG_RETENTION", "1h")]).ends_with("at least REPLAY_WINDOW (2h)"));
    read(&[("REPLAY_WINDOW", "10m"), ("REPLY_DEADLINE", "9m"), ("LOG_RETENTION", "10m")]);
}

#[test]
fn the_example_lists_every_variable_with_its_default() {
    let example = include_str!("../../.env.example");
    let mut previous = "";
    let mut listed = Vec::new();
    for line in example.lines() {
        let setting = line.strip_prefix('#').and_then(|line| line.split_once('='));
        if let Some((name, default)) =
            setting.filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        {
            assert!(previous.starts_with("# ") && previous.len() > 20, "{name} has a line that says what it is for");
            listed.push((name, default));
        }
        previous = line;
    }
    let known: Vec<_> = VARIABLES.iter().map(|variable| (variable.name, variable.default)).collect();
    assert_eq!(listed, known);
    Config::from_env_map(&listed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        .unwrap();
}
