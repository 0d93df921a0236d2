//! From variables to the parts of the configuration, each with its checks.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::database;
use super::database::Tables;
use super::database::postgres::{Limits, PoolMode};
use super::nats::{Api, Servers};
use super::retention::{Retention, TenantRetention};
use super::{
    Auth, Config, ConfigError, ContinuationPolicy, CorsOrigins, Dialect, Drain, Generation, HearingServer, Http, Log,
    ModelServer, Nats, Server, SpeechServer, StaticWebhook, Sync, Thinks, Tiers, Upstream, environment::near_misses,
    file, variables as var,
};
use crate::config::values::{Expected, bytes, duration, duration_or_off, duration_text};
use crate::telemetry;

pub(super) type Environment = HashMap<String, String>;

pub(super) fn config(env: &Environment) -> Result<Config, ConfigError> {
    let data_dir = var::DATA_DIR.get(env, |text| Ok(PathBuf::from(text)))?;
    let log = log(env)?;
    let auth = super::auth::auth(env)?;
    let (upstream, FromFile { speech, hearing, tiers, webhooks, tenants, variables }) = upstream(env)?;
    Ok(Config {
        store: store(env)?.unwrap_or_else(|| database::Config::in_dir(&data_dir)),
        tables: var::MIGRATE.get(env, |text| match text {
            "on" => Ok(Tables::Migrate),
            "off" => Ok(Tables::Leave),
            _ => Err(expected("on or off")),
        })?,
        retention: Retention::new(var::STORE_RETENTION.get(env, duration_or_off)?, tenants),
        upstream,
        speech: super::speech::speech(env, speech)?,
        hearing: super::hearing::hearing(env, hearing)?,
        generation: generation(env, &log)?,
        http: http(env, &auth)?,
        auth,
        tiers,
        webhooks: super::webhooks::webhooks(env, webhooks)?,
        drain: Drain { timeout: var::DRAIN_TIMEOUT.get(env, duration)? },
        telemetry: telemetry(env)?,
        warnings: near_misses(env, &variables),
        data_dir,
        log,
    })
}

fn store(env: &Environment) -> Result<Option<database::Config>, ConfigError> {
    const MOST: u32 = 1000;
    let limits = Limits {
        connections: var::DATABASE_POOL.get(env, |text| {
            let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
            number.ok_or_else(|| Expected(format!("a whole number of connections from 1 to {MOST}")))
        })?,
        acquire: var::DATABASE_ACQUIRE_TIMEOUT.get(env, duration)?,
        connect: var::DATABASE_CONNECT_TIMEOUT.get(env, duration)?,
        statement: var::DATABASE_STATEMENT_TIMEOUT.get(env, duration)?,
    };
    let pool_mode = var::DATABASE_POOL_MODE.get(env, |text| match text {
        "auto" => Ok(PoolMode::Auto),
        "session" => Ok(PoolMode::Session),
        "transaction" => Ok(PoolMode::Transaction),
        _ => Err(expected(
            "auto, session or transaction, as the pooler at DATABASE_URL has it (auto: that is found out)",
        )),
    })?;
    let config = var::DATABASE_URL.read(env, |url| {
        database::Config::from_url(url, limits).map_err(|invalid| Expected(invalid.expected().to_owned()))
    })?;
    Ok(config.map(|config| match config {
        database::Config::Postgres(postgres) => database::Config::Postgres(postgres.with_pool_mode(pool_mode)),
        sqlite @ database::Config::Sqlite(_) => sqlite,
    }))
}

fn log(env: &Environment) -> Result<Log, ConfigError> {
    /// Both logs store records several times as long: what is accepted also has to be ended.
    const RECORD_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=128 << 20;
    let retention = var::LOG_RETENTION.get(env, duration)?;
    let replay_window = var::REPLAY_WINDOW.get(env, duration)?;
    if retention < replay_window {
        let expected = format!("at least REPLAY_WINDOW ({})", duration_text(replay_window));
        return Err(var::LOG_RETENTION.invalid(&duration_text(retention), expected));
    }
    let sync = var::LOG_SYNC.get(env, |text| match text {
        "os" => Ok(Sync::Os),
        "always" => Ok(Sync::Always),
        _ => Err(expected("os or always")),
    })?;
    let max_record_bytes = var::MAX_RECORD_BYTES.get(env, |text| {
        let size = usize::try_from(bytes(text)?).ok().filter(|size| RECORD_BYTES.contains(size));
        size.ok_or_else(|| expected("from 1KiB to 128MiB"))
    })?;
    let min_free_disk = var::MIN_FREE_DISK.get(env, bytes)?;
    Ok(Log { sync, retention, replay_window, nats: nats(env)?, max_record_bytes, min_free_disk })
}

fn nats(env: &Environment) -> Result<Option<Nats>, ConfigError> {
    let servers = var::NATS_URL.read(env, str::parse::<Servers>)?;
    let credentials = var::NATS_CREDENTIALS.read(env, |text| Ok(PathBuf::from(text)))?;
    if let Some(file) = &credentials
        && servers.as_ref().is_some_and(|servers| servers.login().is_some())
    {
        let expected = "nothing, since NATS_URL says who one is (a user, or a token); or a NATS_URL without that";
        return Err(var::NATS_CREDENTIALS.invalid(&file.display().to_string(), expected.to_owned()));
    }
    let ca_file = var::NATS_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?;
    let (domain, under) = (var::NATS_DOMAIN.read(env, Api::domain)?, var::NATS_API_PREFIX.read(env, Api::under)?);
    if let (Some(_), Some(under)) = (&domain, &under) {
        let expected = "nothing beside NATS_DOMAIN, which stands for $JS.<domain>.API; or NATS_DOMAIN empty";
        return Err(var::NATS_API_PREFIX.invalid(&under.prefix(), expected.to_owned()));
    }
    let api = domain.or(under).unwrap_or_default();
    let replicas = var::LOG_REPLICAS.get(env, |text| match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err(expected("1, 3 or 5")),
    })?;
    let shards = var::LOG_SHARDS.get(env, |text| match text.parse::<NonZeroU32>() {
        Ok(shards) if shards.get() <= 64 => Ok(shards),
        _ => Err(expected("a number from 1 to 64")),
    })?;
    let max_bytes = var::LOG_MAX_BYTES.get(env, |text| if text == "off" { Ok(None) } else { bytes(text).map(Some) })?;
    Ok(servers.map(|servers| Nats { servers, credentials, ca_file, api, replicas, shards, max_bytes }))
}

/// What else a file of `REJOINDER_CONFIG` sets.
struct FromFile {
    speech: Vec<SpeechServer>,
    hearing: Vec<HearingServer>,
    tiers: Tiers,
    webhooks: Vec<StaticWebhook>,
    tenants: Vec<TenantRetention>,
    variables: Vec<String>,
}

fn upstream(env: &Environment) -> Result<(Upstream, FromFile), ConfigError> {
    let defaults = file_defaults(env)?;
    let (model, total) =
        (var::LLM_MODEL.read(env, |text| Ok(text.to_owned()))?, var::LLM_TOTAL_TIMEOUT.get(env, duration)?);
    let single = var::LLM_BASE_URL.read(env, base_url)?;
    let keys: Vec<_> = var::LLM_API_KEY.read(env, str::parse)?.into_iter().collect();
    let mut file = file::read(env, &defaults).map_err(|faults| faults.into_iter().next().expect("at least one"))?;
    let servers = match single {
        Some(base_url) if !file.llm.is_empty() => {
            return Err(
                var::LLM_BASE_URL.invalid(base_url.as_str(), "nothing beside [[llm]] in the file of REJOINDER_CONFIG")
            );
        }
        Some(base_url) => vec![ModelServer {
            server: Server { base_url, keys, ..defaults.server },
            model: model.clone(),
            models: Vec::new(),
            rename: BTreeMap::new(),
            continuation: defaults.continuation,
            first: defaults.first,
            first_with_fallback: None,
            idle: defaults.idle,
            dialect: defaults.dialect,
            thinks: defaults.thinks,
            batch_window: defaults.batch_window,
            batch_max: defaults.batch_max,
        }],
        None => std::mem::take(&mut file.llm),
    };
    let file::File { speech, hearing, tiers, webhooks, tenants, variables, .. } = file;
    let rest = FromFile { speech, hearing, tiers, webhooks, tenants, variables };
    Ok((Upstream { servers, model, total }, rest))
}

/// All that is wrong with the file of `REJOINDER_CONFIG`.
pub(super) fn faults_of_file(env: &Environment) -> Vec<ConfigError> {
    match file_defaults(env) {
        Ok(defaults) => file::read(env, &defaults).err().unwrap_or_default(),
        Err(fault) => vec![fault],
    }
}

/// What holds for every model server that says nothing else.
fn file_defaults(env: &Environment) -> Result<file::Defaults, ConfigError> {
    let count = |text: &str, least: usize| {
        let number = text.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| Expected(format!("a whole number, at least {least}")))
    };
    let server = Server {
        name: "llm".to_owned(),
        // Every server says its own.
        base_url: Url::parse("http://localhost/v1").expect("an address"),
        keys: Vec::new(),
        connect: var::LLM_CONNECT_TIMEOUT.get(env, duration)?,
        limits: super::Limits {
            max_in_flight: var::LLM_MAX_IN_FLIGHT.get(env, |text| count(text, 1))?,
            max_queued: var::LLM_MAX_QUEUED.get(env, |text| count(text, 0))?,
            queue_timeout: var::LLM_QUEUE_TIMEOUT.get(env, duration)?,
        },
        ca_file: var::UPSTREAM_CA_FILE.read(env, |text| Ok(PathBuf::from(text)))?,
    };
    Ok(file::Defaults {
        server,
        speech: super::speech::server(env)?,
        hearing: super::hearing::server(env)?,
        continuation: var::LLM_CONTINUATION.get(env, ContinuationPolicy::read)?,
        first: var::LLM_FIRST_TIMEOUT.get(env, duration)?,
        idle: var::LLM_IDLE_TIMEOUT.get(env, duration)?,
        dialect: var::LLM_DIALECT.get(env, Dialect::read)?,
        thinks: var::LLM_THINKS.get(env, Thinks::read)?,
        batch_window: var::LLM_BATCH_WINDOW.get(env, duration_or_off)?,
        batch_max: var::LLM_BATCH_MAX.get(env, |text| count(text, 2))?,
    })
}

/// The address of an API: without what other clients want in it, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<Url, Expected> {
    let url = http_url(text)?;
    let path = url.path().trim_end_matches('/').to_owned();
    if path.ends_with("/chat/completions") || path.ends_with("/responses") {
        return Err(expected("the address of the API alone, such as http://localhost:11434/v1"));
    }
    Ok(url)
}

fn http_url(text: &str) -> Result<Url, Expected> {
    let form = || expected("an address such as http://localhost:11434/v1");
    let mut url = Url::parse(text).map_err(|_| form())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(form());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(expected("an address without a password in it (keys go into LLM_API_KEY)"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn generation(env: &Environment, log: &Log) -> Result<Generation, ConfigError> {
    let reply_deadline = var::REPLY_DEADLINE.get(env, duration)?;
    // A reply that outlives its reply log could be started twice: see the fence in `log`.
    if reply_deadline >= log.replay_window {
        let expected = format!("less than REPLAY_WINDOW ({})", duration_text(log.replay_window));
        return Err(var::REPLY_DEADLINE.invalid(&duration_text(reply_deadline), expected));
    }
    let max_running_replies = var::MAX_RUNNING_REPLIES
        .get(env, |text| text.parse::<NonZeroUsize>().map_err(|_| expected("a whole number of replies, at least 1")))?;
    let max_reply_bytes = var::MAX_REPLY_BYTES.get(env, |text| {
        let size = usize::try_from(bytes(text)?).ok().and_then(NonZeroUsize::new);
        size.ok_or_else(|| expected("more than 0 bytes, and less than the address space"))
    })?;
    Ok(Generation { reply_deadline, max_running_replies, max_reply_bytes })
}

fn http(env: &Environment, auth: &Auth) -> Result<Http, ConfigError> {
    let host = host(env)?;
    let max_body_bytes = var::MAX_BODY_BYTES.get(env, memory)?;
    let max_buffered_bytes = var::MAX_BUFFERED_BYTES.get(env, memory)?;
    // Long bodies get three quarters of it, and one of them has to fit.
    if max_buffered_bytes / 4 * 3 < max_body_bytes {
        let expected = format!("at least 4/3 of MAX_BODY_BYTES ({max_body_bytes} bytes)");
        return Err(var::MAX_BUFFERED_BYTES.invalid(&max_buffered_bytes.to_string(), expected));
    }
    let count = |text: &str| {
        let count = text.parse::<NonZeroUsize>().map_err(|_| expected("a whole number of connections, at least 1"))?;
        Ok(count.get())
    };
    Ok(Http {
        host,
        port: var::PORT.get(env, |text| text.parse().map_err(|_| expected("a port from 0 (any) to 65535")))?,
        max_body_bytes,
        max_buffered_bytes,
        body_timeout: var::BODY_TIMEOUT.get(env, duration)?,
        body_min_rate: var::BODY_MIN_RATE.get(env, |text| if text == "off" { Ok(0) } else { bytes(text) })?,
        handshake_timeout: var::HANDSHAKE_TIMEOUT.get(env, duration)?,
        max_connections: var::MAX_CONNECTIONS.get(env, count)?,
        max_connections_per_address: var::MAX_CONNECTIONS_PER_ADDRESS
            .get(env, |text| if text == "off" { Ok(usize::MAX) } else { count(text) })?,
        max_http2_streams: var::MAX_STREAMS_PER_CONNECTION.get(env, |text| {
            let streams = text.parse::<std::num::NonZeroU32>();
            Ok(streams.map_err(|_| expected("a whole number of requests, at least 1"))?.get())
        })?,
        heartbeat: var::HEARTBEAT.get(env, duration)?,
        stream_max_age: var::STREAM_MAX_AGE.get(env, duration_or_off)?,
        websocket_ping: var::WEBSOCKET_PING.get(env, duration)?,
        websocket_max_age: var::WEBSOCKET_MAX_AGE.get(env, duration)?,
        client_stall_timeout: var::CLIENT_STALL_TIMEOUT.get(env, duration)?,
        cors_origins: var::CORS_ORIGINS.read(env, origins)?.unwrap_or(CorsOrigins::None),
        allowed_hosts: super::auth::allowed_hosts(env, host.is_loopback() && auth.anonymous)?,
        admin: super::auth::admin_addr(env)?,
    })
}

/// A number of bytes that memory can hold.
fn memory(text: &str) -> Result<usize, Expected> {
    let size = usize::try_from(bytes(text)?).map_err(|_| expected("less than the address space"))?;
    if size == 0 { Err(expected("more than 0 bytes")) } else { Ok(size) }
}

/// Whoever can reach the server can use it: beyond this machine only if that is said to be meant.
fn host(env: &Environment) -> Result<IpAddr, ConfigError> {
    let host: IpAddr = var::HOST.get(env, |text| match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => {
            text.trim_matches(['[', ']']).parse().map_err(|_| expected("an IP address such as 127.0.0.1 or 0.0.0.0"))
        }
    })?;
    if !super::auth::is_said(env)? && !host.is_loopback() {
        let expected = "127.0.0.1, or AUTH beside it: keys or jwt (or AUTH=none, if whoever can reach this address may use the server)";
        return Err(var::HOST.invalid(&host.to_string(), expected));
    }
    Ok(host)
}

fn origins(text: &str) -> Result<CorsOrigins, Expected> {
    if text == "*" {
        return Ok(CorsOrigins::Any);
    }
    let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(|origin| {
        let url = Url::parse(origin).ok().filter(|url| matches!(url.path(), "" | "/") && url.origin().is_tuple());
        let url = url.ok_or_else(|| expected("*, or origins such as https://chat.example.com, with commas between"))?;
        Ok(url.origin().ascii_serialization())
    });
    Ok(CorsOrigins::List(origins.collect::<Result<_, _>>()?))
}

fn telemetry(env: &Environment) -> Result<telemetry::Config, ConfigError> {
    let format = var::LOG_FORMAT.get(env, |text| match text {
        "text" => Ok(telemetry::Format::Text),
        "json" => Ok(telemetry::Format::Json),
        _ => Err(expected("text or json")),
    })?;
    let filter = var::RUST_LOG.get(env, |text| match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(expected("a level (error, warn, info, debug, trace) or directives such as info,rejoinder=debug")),
    })?;
    let service_name = var::OTEL_SERVICE_NAME.get(env, |text| Ok(text.to_owned()))?;
    let endpoint = var::OTEL_EXPORTER_OTLP_ENDPOINT.read(env, http_url)?;
    let sampled = var::OTEL_TRACES_SAMPLER_ARG.get(env, |text| {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| expected("a share of all traces, from 0 to 1"))
    })?;
    let exports = |text: &str| match text {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(expected("otlp or none")),
    };
    let (metrics, logs) = (var::OTEL_METRICS_EXPORTER.get(env, exports)?, var::OTEL_LOGS_EXPORTER.get(env, exports)?);
    // In milliseconds, as the specification has it, or with a unit.
    let interval = var::OTEL_METRIC_EXPORT_INTERVAL.get(env, |text| match text.parse::<u64>() {
        Ok(millis) if millis > 0 => Ok(std::time::Duration::from_millis(millis)),
        _ => duration(text),
    })?;
    let captures_content = var::OTEL_CAPTURE_CONTENT.get(env, |text| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(expected("on or off")),
    })?;
    let otlp = |endpoint| telemetry::Otlp {
        endpoint,
        service_name,
        sampled,
        metrics: metrics.then_some(interval),
        logs,
        captures_content,
    };
    Ok(telemetry::Config { format, filter, otlp: endpoint.map(otlp) })
}

pub(super) fn expected(what: &str) -> Expected {
    Expected(what.to_owned())
}
