//! What the server promises, tried on the real binary from outside. One binary, so that it is linked once.

#![expect(unreachable_pub, reason = "the support modules read better as the library that they are to the tests")]
#![expect(clippy::needless_pass_by_value, reason = "a test hands over what it has just written down")]
#![expect(clippy::print_stdout, reason = "a failing test shows its seed and the server's output")]

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod asking;
mod backup;
mod bad_input;
#[cfg(feature = "crash-points")]
mod broken_workers;
mod callers;
mod chat_completions;
mod client_requests;
mod chats_listed;
mod compaction;
mod conversations;
mod conversations_listed;
#[cfg(feature = "crash-points")]
mod crash_points;
mod data_dir;
mod dialects;
mod doors;
mod erasure;
mod fault_table;
mod fallback;
mod full_disk;
mod health;
mod hearing;
mod hostile;
mod idempotency;
mod kill;
mod limits;
mod long_records;
mod many;
mod older_build;
mod micro_batches;
mod operators;
mod postgres;
mod references;
mod rejoining;
mod reply_size;
mod responses_api;
mod retention;
mod slow_store;
mod speech;
mod stop;
mod telemetry;
mod tool_calls;
mod transport;
mod ui_messages;
mod upstream_figures;
mod upstream_bounds;
mod upstream_faults;
mod upstreams;
mod webhooks;
mod websocket;
