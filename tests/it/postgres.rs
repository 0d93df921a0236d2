//! The store in a Postgres, with the real server before it: there, slow, stopped, frozen, and away from the start.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::support::{
    postgres::{Cluster, PASSWORD, shared},
    server::Config,
    *,
};

/// How many replies it holds to their end.
const ENDED: &str = "SELECT count(*) FROM replies WHERE ended IS NOT NULL";

/// Starts a server on a database; what hangs there is given up soon.
async fn before(cluster: &Cluster, database: &str) -> Given {
    Given::with(|config| on(config, cluster, database)).await
}

fn on(config: Config, cluster: &Cluster, database: &str) -> Config {
    ["DATABASE_ACQUIRE_TIMEOUT", "DATABASE_CONNECT_TIMEOUT", "DATABASE_STATEMENT_TIMEOUT"]
        .into_iter()
        .fold(config, |config, name| config.env(name, "300ms"))
        .env("DATABASE_URL", cluster.url(database))
}

/// Waits until a statement gives this.
async fn until_it_has(cluster: &Cluster, database: &str, sql: &str, expected: &str) {
    // On a busy machine the server may start before it has reached the database, and makes the tables afterwards.
    let has = || cluster.try_sql(database, sql).is_some_and(|found| found == expected);
    until(&format!("{expected} from {sql}"), async || has().then_some(())).await;
}

/// Kills the server and starts it without its log: what it knows then is what the store has.
async fn without_its_log(given: Given) -> Given {
    let config = given.server.stop();
    std::fs::remove_dir_all(config.data_dir().join("data")).expect("its directory");
    let server = config.start().await;
    Given { api: server.api(), server, upstream: given.upstream }
}

/// Says so many turns in a conversation; each has all before it as its context.
async fn say(given: &Given, conversation: &str, turns: std::ops::Range<usize>) -> Vec<Reply> {
    let mut said = Vec::new();
    for turn in turns {
        let prompt = format!("turn number {turn}.");
        let reply = given.reply(with(streamed(&prompt), json!({"conversation": conversation}))).await;
        assert_eq!(reply.text, truth(&prompt));
        assert_eq!(given.upstream.heard_once(&prompt).messages().len(), 2 * turn + 1, "the context of {prompt}");
        said.push(reply);
    }
    said
}

/// That the store by itself has all of these replies, in this conversation.
async fn has_all(given: Given, conversation: &str, said: &[Reply]) -> Given {
    let given = without_its_log(given).await;
    assert_eq!(conversation_items(&given.api, conversation).await.len(), 2 * said.len());
    for reply in said {
        assert_eq!(given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok(), reply.response);
        assert_eq!(check_reply(&given.replay(&reply.id).await).text, reply.text);
    }
    given
}

/// Each record of the log is a row, or half of one, and there is no second.
const ORDINALS: &str = "SELECT string_agg(ordinal::text, ',' ORDER BY ordinal) FROM ( \
    SELECT ordinal FROM replies UNION ALL SELECT ended_ordinal FROM replies UNION ALL SELECT ordinal FROM changes) AS all_rows";

fn first(count: usize) -> String {
    (1..=count).map(|ordinal| ordinal.to_string()).collect::<Vec<_>>().join(",")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_is_stored_and_read_back_after_a_restart_without_the_log() {
    let cluster = shared();
    let database = cluster.database();
    let given = before(cluster, &database).await;
    let conversation = given.conversation().await;
    let mut said = say(&given, &conversation, 0..2).await;
    until_it_has(cluster, &database, ENDED, "2").await;
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["store"]["kind"], &health["store"]["up"]), (&json!("postgres"), &json!(true)), "{health}");
    let given = has_all(given, &conversation, &said).await;
    said.extend(say(&given, &conversation, 2..3).await);
    let after = given.reply(with(streamed("And then?"), json!({"previous_response_id": said[0].id}))).await;
    assert_eq!(given.upstream.heard_once("And then?").messages().len(), 3);

    until_it_has(cluster, &database, ENDED, "4").await;
    given.api.delete(&format!("/v1/responses/{}", after.id)).await.ok();
    until_it_has(cluster, &database, "SELECT count(*) FROM replies WHERE deleted AND accepted = ''", "1").await;
    let given = without_its_log(given).await;
    given.api.get(&format!("/v1/responses/{}", after.id)).await.unknown("response_id");
    assert!(!given.server.output().contains(PASSWORD), "{}", given.server.output());
}

/// Chats while the database is away by `go`, and back by `come`.
async fn chat_through_an_outage(go: fn(&mut Cluster), come: fn(&mut Cluster)) {
    let mut cluster = block_in_place(Cluster::new);
    let database = cluster.database();
    let given = before(&cluster, &database).await;
    let conversation = given.conversation().await;
    let mut said = say(&given, &conversation, 0..1).await;
    until_it_has(&cluster, &database, ENDED, "1").await;

    block_in_place(|| go(&mut cluster));
    said.extend(say(&given, &conversation, 1..3).await);
    let degraded = given.server.poll("/healthz", |health| health.json()["store"]["up"] == false).await.ok();
    assert_eq!((&degraded["status"], &degraded["ready"]), (&json!("degraded"), &json!(true)), "{degraded}");
    assert!(degraded["store"]["lag_records"].as_u64() > Some(0), "{degraded}");
    said.extend(say(&given, &conversation, 3..5).await);
    // Also across a restart the log has everything.
    let given = given.restarted().await;
    said.extend(say(&given, &conversation, 5..6).await);
    assert_eq!(given.api.get(&format!("/v1/responses/{}", said[0].id)).await.ok(), said[0].response);

    block_in_place(|| come(&mut cluster));
    until_it_has(&cluster, &database, ENDED, "6").await;
    assert_eq!(cluster.sql(&database, ORDINALS), first(1 + 2 * 6));
    given.server.poll("/healthz", |health| health.json()["status"] == "ok").await;
    has_all(given, &conversation, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chats_go_on_while_the_database_is_stopped_and_it_has_them_once_afterwards() {
    chat_through_an_outage(Cluster::stop, Cluster::start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chats_go_on_while_the_database_hangs_and_it_has_them_once_afterwards() {
    chat_through_an_outage(|cluster| cluster.freeze(), |cluster| cluster.thaw()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_is_taken_once_while_the_database_is_stopped() {
    let mut cluster = block_in_place(Cluster::new);
    let database = cluster.database();
    let given = before(&cluster, &database).await;
    block_in_place(|| cluster.stop());
    let api = given.api.clone().header("idempotency-key", "k-1");
    let first = api.post("/v1/responses", whole("hello")).await.ok();
    assert_eq!(api.post("/v1/responses", whole("hello")).await.ok(), first, "the key is remembered");
    assert_eq!(given.upstream.heard("hello").len(), 1);
    block_in_place(|| cluster.start());
    until_it_has(&cluster, &database, ENDED, "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_without_its_database_and_catches_up() {
    let mut cluster = block_in_place(Cluster::new);
    let database = cluster.database();
    block_in_place(|| cluster.stop());
    let given = before(&cluster, &database).await;
    until("the log to tell it", async || given.server.output().contains("store unavailable").then_some(())).await;
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["store"]["up"]), (&json!("degraded"), &json!(false)), "{health}");
    given.server.poll("/readyz", |answer| answer.status == 200).await;
    let conversation = given.conversation().await;
    let said = say(&given, &conversation, 0..3).await;

    block_in_place(|| cluster.start());
    until_it_has(&cluster, &database, ENDED, "3").await;
    given.server.poll("/healthz", |health| health.json()["status"] == "ok").await;
    assert!(!given.server.output().contains(PASSWORD), "{}", given.server.output());
    has_all(given, &conversation, &said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_does_not_hold_up_the_end_of_a_server() {
    let cluster = block_in_place(Cluster::new);
    let database = cluster.database();
    let url = cluster.url(&database);
    let patient = |config: Config| config.env("DATABASE_URL", url).env("DATABASE_STATEMENT_TIMEOUT", "1h");
    let mut given = Given::with(patient).await;
    given.reply(streamed("Hello.")).await;
    until_it_has(&cluster, &database, ENDED, "1").await;
    cluster.freeze();
    given.reply(streamed("Hello again.")).await;
    given.server.poll("/healthz", |health| health.json()["store"]["lag_s"].as_f64() > Some(0.2)).await;
    given.server.terminate();
    assert!(given.server.wait().await.success());
    assert!(given.server.output().contains("lacks some records"), "{}", given.server.output());
    cluster.thaw();
    let given = given.restarted().await;
    until_it_has(&cluster, &database, ENDED, "2").await;
    drop(given);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_store_knows_is_refused_soon_while_it_hangs_and_told_when_it_is_back() {
    let mut cluster = block_in_place(Cluster::new);
    let database = cluster.database();
    let given = before(&cluster, &database).await;
    let said = given.reply(streamed("Remember this.")).await;
    until_it_has(&cluster, &database, ENDED, "1").await;
    let given = without_its_log(given).await;
    let path = format!("/v1/responses/{}", said.id);

    cluster.freeze();
    // The first few wait a quarter of a second each; then nobody asks it any more.
    until("the breaker to open", async || {
        assert_eq!(given.api.get(&path).await.status, 503);
        let health = given.api.get("/healthz").await.ok();
        (health["store"]["breaker"] == "open").then_some(())
    })
    .await;
    let (begun, many) = (Instant::now(), 40);
    for _ in 0..many {
        let refused = given.api.get(&path).await;
        assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    }
    assert!(begun.elapsed() < many * Duration::from_millis(125), "{many} took {:?}", begun.elapsed());
    // A context that is not whole is no context; what needs none goes on.
    let next = with(streamed("And now?"), json!({"previous_response_id": said.id}));
    assert_eq!(given.api.post("/v1/responses", next.clone()).await.status, 503);
    assert_eq!(given.reply(streamed("Something else.")).await.text, truth("Something else."));

    cluster.thaw();
    given.server.poll(&path, |answer| answer.status == 200).await;
    given.reply(next).await;
    assert_eq!(given.upstream.heard_once("And now?").messages().len(), 3);
    given.server.poll("/healthz", |health| health.json()["store"]["breaker"] == "closed").await;
    block_in_place(|| cluster.stop());
}
