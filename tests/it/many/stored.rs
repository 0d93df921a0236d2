//! What several instances say comes into one Postgres, once, whoever carries it there; also from a log in shards.

use super::go_on;
use crate::support::{postgres::shared, upstream::Manner, *};

/// Replies that are whole, and those that are there.
const REPLIES: &str =
    "SELECT count(*) FILTER (WHERE status = 'completed' AND ended IS NOT NULL), count(*) FROM replies";

/// The sum of the positions of all shards, and how many there are.
const POSITIONS: &str = "SELECT sum(position), count(*) FROM positions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_shards_is_one_log_and_comes_into_the_store_once() {
    let postgres = shared();
    let database = postgres.database();
    let env = vec![("LOG_SHARDS", "3".to_owned()), ("DATABASE_URL", postgres.url(&database))];
    let mut cluster = Cluster::with_env(env).await;
    cluster.settled().await;
    cluster.upstream.on("shards", Manner::paced(15));
    let mut running = Vec::new();
    for number in 0..12 {
        let prompt = prompt(80, &format!("shards {number}"));
        let mut posted = cluster.api(number % 3).stream(streamed(&prompt)).await;
        let seen = posted.read_words(3).await;
        let apis = cluster.others(0);
        running.push((prompt, go_on(posted, seen, apis)));
    }
    cluster.instances[0].kill();
    let mut ids = Vec::new();
    for (prompt, events) in running {
        let reply = check_reply(&events.await.expect("no panic"));
        assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
        ids.push(reply.id);
    }
    let stored = |expected: &str| (postgres.sql(&database, REPLIES) == expected).then_some(());
    until("the store to have all replies", async || stored("12|12")).await;

    // Threads fall into shards by their ids, which are random: a few more, until each shard has one.
    let mut count = ids.len();
    while !postgres.sql(&database, POSITIONS).ends_with("|3") {
        count += 1;
        assert!(count < 100, "each shard has a position: {}", postgres.sql(&database, POSITIONS));
        cluster.api(1).post("/v1/responses", whole("another")).await.ok();
        until("the store to have it", async || stored(&format!("{count}|{count}"))).await;
    }

    // A new instance finds the positions that the others left, in the log that they left.
    let new = cluster.another().await;
    cluster.instances[0] = new;
    for id in &ids {
        let read = cluster.api(0).get(&format!("/v1/responses/{id}")).await.ok();
        assert_eq!(read, cluster.api(1).get(&format!("/v1/responses/{id}")).await.ok());
    }
    let said = cluster.api(0).post("/v1/responses", whole("one more")).await.ok();
    assert_eq!(said["status"], "completed");
    count += 1;
    until("the store to have the last one", async || stored(&format!("{count}|{count}"))).await;
    let output = cluster.instances[0].output();
    assert!(!output.contains("another log"), "nothing is carried twice: {output}");
}
