//! Every variable and its default. A default is written as a person would write the value, and is read by the same
//! reader. `.env.example` says what each is for; a test holds the two together.

/// A variable of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What holds when it is not set; empty: nothing.
    pub(crate) default: &'static str,
    /// Whether its value must not be shown.
    pub(crate) secret: bool,
}

macro_rules! variables {
    ($($name:ident = $default:literal $($secret:ident)?),* $(,)?) => {
        $(pub(super) const $name: Variable =
            Variable { name: stringify!($name), default: $default, secret: variables!(@ $($secret)?) };)*

        /// All variables, in the order of `.env.example`.
        pub(crate) const VARIABLES: &[Variable] = &[$($name),*];
    };
    (@) => { false };
    (@ secret) => { true };
}

variables! {
    LLM_BASE_URL = "",
    LLM_MODEL = "",
    LLM_API_KEY = "" secret,
    LLM_CONTINUATION = "auto",
    LLM_DIALECT = "auto",
    LLM_THINKS = "in tags",
    LLM_CONNECT_TIMEOUT = "3s",
    LLM_FIRST_TIMEOUT = "300s",
    LLM_IDLE_TIMEOUT = "120s",
    LLM_TOTAL_TIMEOUT = "60m",
    LLM_MAX_IN_FLIGHT = "1000",
    LLM_MAX_QUEUED = "256",
    LLM_QUEUE_TIMEOUT = "10s",
    LLM_BATCH_WINDOW = "off",
    LLM_BATCH_MAX = "4",
    UPSTREAM_CA_FILE = "",
    REJOINDER_CONFIG = "",
    TTS_BASE_URL = "",
    TTS_MODEL = "",
    TTS_VOICE = "",
    TTS_API_KEY = "" secret,
    TTS_COMMAND = "espeak-ng --stdin --stdout",
    TTS_MAX_IN_FLIGHT = "2",
    TTS_CONNECT_TIMEOUT = "3s",
    TTS_FIRST_TIMEOUT = "10s",
    TTS_IDLE_TIMEOUT = "5s",
    ASR_BASE_URL = "",
    ASR_MODEL = "",
    ASR_API_KEY = "" secret,
    ASR_COMMAND = "pocketsphinx_continuous -infile /dev/stdin -logfn /dev/null",
    ASR_MAX_IN_FLIGHT = "4",
    ASR_CONNECT_TIMEOUT = "3s",
    ASR_TIMEOUT = "60s",
    HOST = "127.0.0.1",
    PORT = "8080",
    CORS_ORIGINS = "",
    ALLOWED_HOSTS = "",
    ADMIN_ADDR = "",
    AUTH = "",
    API_KEYS_FILE = "",
    API_KEYS = "" secret,
    JWT_ISSUER = "",
    JWT_AUDIENCE = "",
    JWT_JWKS_URL = "",
    JWT_TENANT_CLAIM = "",
    JWT_USER_CLAIM = "sub",
    JWT_SCOPES_CLAIM = "",
    JWT_TIER_CLAIM = "",
    SECRET_KEY = "" secret,
    SESSION_MAX_AGE = "12h",
    DATA_DIR = "./data",
    DATABASE_URL = "",
    DATABASE_POOL = "8",
    DATABASE_ACQUIRE_TIMEOUT = "5s",
    DATABASE_CONNECT_TIMEOUT = "3s",
    DATABASE_STATEMENT_TIMEOUT = "30s",
    DATABASE_POOL_MODE = "auto",
    MIGRATE = "on",
    STORE_RETENTION = "off",
    NATS_URL = "" secret,
    NATS_CREDENTIALS = "",
    NATS_CA_FILE = "",
    NATS_DOMAIN = "",
    NATS_API_PREFIX = "",
    LOG_REPLICAS = "1",
    LOG_SHARDS = "1",
    LOG_MAX_BYTES = "off",
    LOG_SYNC = "os",
    LOG_RETENTION = "7d",
    REPLAY_WINDOW = "2h",
    REPLY_DEADLINE = "90m",
    MIN_FREE_DISK = "64MiB",
    MAX_BODY_BYTES = "16MiB",
    MAX_BUFFERED_BYTES = "256MiB",
    BODY_TIMEOUT = "5m",
    BODY_MIN_RATE = "1KiB",
    HANDSHAKE_TIMEOUT = "10s",
    MAX_CONNECTIONS = "16384",
    MAX_CONNECTIONS_PER_ADDRESS = "off",
    MAX_STREAMS_PER_CONNECTION = "200",
    MAX_RECORD_BYTES = "64MiB",
    MAX_RUNNING_REPLIES = "10000",
    MAX_REPLY_BYTES = "16MiB",
    HEARTBEAT = "15s",
    STREAM_MAX_AGE = "off",
    WEBSOCKET_PING = "30s",
    WEBSOCKET_MAX_AGE = "60m",
    CLIENT_STALL_TIMEOUT = "2m",
    WEBHOOK_ALLOW_PRIVATE = "off",
    WEBHOOK_GIVE_UP_AFTER = "72h",
    DRAIN_TIMEOUT = "10s",
    LOG_FORMAT = "text",
    RUST_LOG = "info,async_nats=warn",
    OTEL_EXPORTER_OTLP_ENDPOINT = "",
    OTEL_SERVICE_NAME = "rejoinder",
    OTEL_TRACES_SAMPLER_ARG = "1",
    OTEL_METRICS_EXPORTER = "otlp",
    OTEL_LOGS_EXPORTER = "otlp",
    OTEL_METRIC_EXPORT_INTERVAL = "60s",
    OTEL_CAPTURE_CONTENT = "off",
}
