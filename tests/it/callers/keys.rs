//! API keys: how they come to a server, and how they go.

use std::fs;

use super::{Keys, keyed, new_key, rejoinder, with_key};
use crate::support::{Value, server::Server, until};

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_changes_and_a_half_written_one_is_not() {
    let keys = Keys::new(&[("alice", "--tenant acme --user alice"), ("bob", "--tenant acme --user bob")]);
    let server = keyed(&keys).start().await;
    let file = server.data_dir().join("keys");
    let (alice, bob) = (keys.api(&server, "alice"), keys.api(&server, "bob"));
    alice.get("/v1/models").await.ok();
    let said = async |what: &str| until(what, async || server.output().contains(what).then_some(())).await;

    // Half of the file: the keys from before stay good, and somebody is told.
    let lines = keys.lines();
    fs::write(&file, &lines[..lines.len() - 40]).unwrap();
    said("the file of keys cannot be used").await;
    fs::write(&file, "").unwrap();
    said("is empty").await;
    fs::remove_file(&file).unwrap();
    said("No such file").await;
    bob.get("/v1/models").await.ok();

    // Another key in place of Bob's.
    let carol = new_key("--tenant acme --user carol");
    fs::write(&file, format!("# ours\n{}\n{}\n", keys.0["alice"].line, carol.line)).unwrap();
    let carols = with_key(&server, &carol.secret);
    until("the new key", async || (carols.get("/v1/models").await.status == 200).then_some(())).await;
    bob.get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
    alice.get("/v1/models").await.ok();

    let output = server.output();
    assert!(output.contains("keys changed") && output.contains(carol.line.split(' ').next().unwrap()), "{output}");
    for key in [&keys.0["alice"], &keys.0["bob"], &carol] {
        let (hash, secret) = (key.line.split(' ').nth(1).unwrap(), key.secret.rsplit('_').next().unwrap());
        assert!(!output.contains(secret) && !output.contains(hash), "no key is logged");
    }
}

#[tokio::test]
async fn keys_come_from_a_variable_too_and_end_when_they_say() {
    let (good, over) = (new_key("--tenant a"), new_key("--tenant a --expires 2020-01-01T00:00:00Z"));
    let keys = format!("{};{}", good.line, over.line);
    let server = Server::bare().env("AUTH", "keys").env("API_KEYS", &keys).start().await;
    with_key(&server, &good.secret).get("/v1/models").await.ok();
    with_key(&server, &over.secret).get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
    let id = over.line.split(' ').next().unwrap();
    until("the failure in the log", async || {
        server.output().lines().any(|line| line.contains("expired") && line.contains(id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_without_the_keys_that_it_wants_does_not_start() {
    for (name, value, told) in [
        ("API_KEYS_FILE", "missing", "missing"),
        ("API_KEYS", "half a line", "API_KEYS"),
        ("JWT_ISSUER", "https://id.example", "API_KEYS_FILE or API_KEYS"),
    ] {
        let config = Server::bare().env("AUTH", "keys").env(name, value);
        config.clone().try_start().await.expect_err("no start");
        until("the reason", async || config.output().contains(told).then_some(())).await;
    }
    let config = Server::bare().env("HOST", "0.0.0.0");
    config.clone().try_start().await.expect_err("no start");
    until("the reason", async || config.output().contains("AUTH beside it: keys").then_some(())).await;
}

#[test]
fn the_line_of_a_key_is_made_from_the_key_alone_and_keys_are_listed_without_their_digests() {
    let key = new_key("--tenant acme --user alice --scopes chat --tier gold");
    let again = rejoinder("keys hash --tenant acme --user alice --scopes chat --tier gold", &key.secret);
    assert_eq!(again.trim(), key.line);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, &key.line).unwrap();
    let listed = rejoinder(&format!("keys list --file {}", file.display()), "");
    let fields: Vec<_> = key.line.split(' ').collect();
    for (index, field) in fields.iter().enumerate() {
        assert_eq!(listed.contains(field), index != 1, "{field} in {listed}");
    }
}

#[tokio::test]
async fn a_flood_of_wrong_keys_is_counted_and_not_written_down_line_by_line() {
    let keys = Keys::new(&[("probe", "--tenant ops --scopes admin")]);
    let server = keyed(&keys).start().await;
    let wrong = with_key(&server, &new_key("--tenant acme").secret);
    for _ in 0..300 {
        assert_eq!(wrong.get("/v1/models").await.status, 401);
    }
    let metrics = keys.api(&server, "probe").get("/metrics").await;
    assert!(metrics.text().contains("rejoinder_auth_failures_total{reason=\"invalid\"} 300"), "{}", metrics.text());
    let lines = server.output().lines().filter(|line| line.contains("refused a request")).count();
    assert!((1..200).contains(&lines), "{lines} lines");
}
