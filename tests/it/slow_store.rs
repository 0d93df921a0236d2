//! A store that takes 800 ms for each write holds up nobody: no call of it stands between a token and a client.
//!
//! A `SQLite` file is slowed down by the server, as a test asks it; a Postgres by a trigger in it.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::support::{postgres::shared, upstream::Manner, *};

const PACE: u64 = 20;
/// The users, and the turns of each; the later turns run while the earlier ones are being written.
const USERS: usize = 4;
const TURNS: usize = 3;

/// The waits of all users for each piece of text: the first one from the request on, the others from the one before.
async fn waits(given: &Given) -> Vec<Duration> {
    let mut users = JoinSet::new();
    for user in 0..USERS {
        let (api, conversation) = (given.api.clone(), given.conversation().await);
        users.spawn(async move {
            let mut waits = Vec::new();
            for turn in 0..TURNS {
                let prompt = prompt(30, &format!("latency {user} {turn}"));
                let request = with(streamed(&prompt), json!({"conversation": conversation}));
                let mut last = Instant::now().into_std();
                let events = api.stream(request).await.collect().await.into_events();
                for event in events.iter().filter(|event| event.delta().is_some()) {
                    waits.push(event.at.duration_since(last));
                    last = event.at;
                }
                assert_eq!(check_reply(&events).text, truth(&prompt));
            }
            waits
        });
    }
    let mut all: Vec<_> = users.join_all().await.concat();
    all.sort_unstable();
    all
}

/// A server with a file that is slow.
#[cfg(feature = "crash-points")]
async fn slow_file() -> Given {
    Given::with(|config| config.env("REJOINDER_TEST_STORE_DELAY_MS", 800)).await
}

/// A server with a Postgres in which no position moves faster.
async fn slow_postgres() -> Given {
    let database = shared().database();
    let url = shared().url(&database);
    let given = Given::with(|config| config.env("DATABASE_URL", url)).await;
    let slow_down = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END'; \
         CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON positions FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    shared().sql(&database, slow_down);
    given
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_users_beside_a_slow_file_wait_no_longer_for_a_token() {
    wait_no_longer(Given::new().await, slow_file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_users_beside_a_slow_postgres_wait_no_longer_for_a_token() {
    wait_no_longer(Given::new().await, slow_postgres().await).await;
}

async fn wait_no_longer(fast: Given, slow: Given) {
    for given in [&fast, &slow] {
        given.upstream.on("latency", Manner::paced(PACE));
    }
    // Other tests run on this machine at the same time: a noisy moment may be repeated, a slow store repeats itself.
    let mut tried = Vec::new();
    for _ in 0..3 {
        let (fast, slow) = tokio::join!(waits(&fast), waits(&slow));
        let (longest, usual) = (slow[slow.len() - 1], slow[slow.len() * 95 / 100]);
        let usual_without = fast[fast.len() * 95 / 100];
        if longest < Duration::from_millis(400) && usual < usual_without + Duration::from_millis(15) {
            return;
        }
        tried.push((longest, usual, usual_without));
    }
    panic!("longest wait, 95th percentile, the same without: {tried:?}");
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn what_a_slow_file_has_not_got_yet_is_read_all_the_same() {
    is_read_all_the_same(slow_file().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_postgres_has_not_got_yet_is_read_all_the_same() {
    is_read_all_the_same(slow_postgres().await).await;
}

async fn is_read_all_the_same(given: Given) {
    let conversation = given.conversation().await;
    for turn in 0..3 {
        let reply = given.reply(with(streamed(&format!("turn {turn}.")), json!({"conversation": conversation}))).await;
        assert_eq!(given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok(), reply.response);
        assert_eq!(conversation_items(&given.api, &conversation).await.len(), 2 * (turn + 1));
    }
    assert_eq!(given.upstream.heard_once("turn 2.").messages().len(), 5);
    let id = given.reply(streamed("hello")).await.id;
    given.api.delete(&format!("/v1/responses/{id}")).await.ok();
    given.api.get(&format!("/v1/responses/{id}")).await.unknown("response_id");
}
