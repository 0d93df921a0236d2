//! Who asks, what is theirs, and what they may do.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{
    Api, json,
    server::{Config, Server},
};

mod browsers;
mod chats;
mod departures;
mod keys;
mod limits;
mod many;
mod shared_limits;
mod operators;
mod table;
mod tokens;

/// A key that `rejoinder keys new` made, and its line.
#[derive(Debug, Clone)]
struct Key {
    secret: String,
    line: String,
}

/// Makes a key, as an operator does.
fn new_key(args: &str) -> Key {
    let out = rejoinder(&format!("keys new {args}"), "");
    let (secret, line) = out.trim().split_once('\n').expect("a key, and its line");
    Key { secret: secret.to_owned(), line: line.to_owned() }
}

/// What a command prints that has to succeed.
fn rejoinder(args: &str, input: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoinder"));
    command.args(args.split_whitespace()).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("a command that reads");
    let out = child.wait_with_output().expect("our own child");
    assert!(out.status.success(), "{args}: {out:?}");
    String::from_utf8(out.stdout).expect("text")
}

/// Keys by the names that a test has for them.
struct Keys(BTreeMap<&'static str, Key>);

impl Keys {
    fn new(all: &[(&'static str, &str)]) -> Self {
        Self(all.iter().map(|(name, args)| (*name, new_key(args))).collect())
    }

    fn lines(&self) -> String {
        let lines: Vec<_> = self.0.values().map(|key| key.line.as_str()).collect();
        lines.join("\n") + "\n"
    }

    fn secret(&self, name: &str) -> &str {
        &self.0[name].secret
    }

    /// A client of the server with this key.
    fn api(&self, server: &Server, name: &str) -> Api {
        with_key(server, self.secret(name))
    }
}

fn with_key(server: &Server, key: &str) -> Api {
    server.api().header("authorization", &format!("Bearer {key}"))
}

/// A server with the built-in models that lets these keys in, from a file.
fn keyed(keys: &Keys) -> Config {
    let config = Server::bare();
    std::fs::write(config.data_dir().join("keys"), keys.lines()).expect("our own directory");
    config.env("AUTH", "keys").env("API_KEYS_FILE", "keys")
}

/// A reply of the built-in model that says its input back, to its end.
async fn reply(api: &Api, more: serde_json::Value) -> serde_json::Value {
    let body = crate::support::with(json!({"model": "echo", "input": "one two"}), more);
    api.post("/v1/responses", body).await.ok()
}
