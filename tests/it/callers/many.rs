//! Whose a thing is, on every instance, and who waits for whom.

use hyper::Method;

use super::{Keys, with_key};
use crate::support::{
    Api, Behaviour, Cluster, Given, Value, check_reply,
    follower::{Place, follow_anywhere},
    json,
    ports::free_port,
    prompt, streamed, truth, until,
    upstream::{Heard, Manner},
    whole,
};

fn pair() -> Keys {
    Keys::new(&[("alice", "--tenant acme --user alice"), ("bob", "--tenant acme --user bob")])
}

#[tokio::test]
async fn what_is_somebodys_is_theirs_on_every_instance_also_when_another_goes_on_with_it() {
    let keys = pair();
    let lines = keys.lines().replace('\n', ";");
    let env = vec![("AUTH", "keys".to_owned()), ("API_KEYS", lines), ("SECRET_KEY", "s".repeat(32))];
    let mut cluster = Cluster::with_env(env).await;
    let api = |cluster: &Cluster, instance: usize, who: &str| with_key(&cluster.instances[instance], keys.secret(who));
    cluster.upstream.on_each("owned", [Manner::paced(15).into(), Manner::paced(3).into()]);
    let prompt = prompt(300, "owned");
    let mut posted = api(&cluster, 0, "alice").stream(streamed(&prompt)).await;
    let id = posted.response_id();
    posted.read_words(5).await;
    let path = format!("/v1/responses/{id}");
    let strangers = async |cluster: &Cluster| {
        for instance in 0..cluster.instances.len() {
            let bob = api(cluster, instance, "bob");
            bob.get(&path).await.unknown("response_id");
            bob.get(&format!("{path}/events")).await.unknown("response_id");
            bob.call(Method::POST, &format!("{path}/cancel"), "").await.unknown("response_id");
            bob.delete(&path).await.unknown("response_id");
        }
    };
    strangers(&cluster).await;
    // A ticket and a session of one instance are good on another.
    let ticket =
        api(&cluster, 1, "alice").post("/v1/tickets", json!({"resource": format!("{path}/events")})).await.ok();
    let url = ticket["url"].as_str().expect("a URL").to_owned();
    drop(cluster.api(2).follow(&url).await);
    let session = api(&cluster, 1, "alice").post("/v1/session", json!({})).await;
    let cookie = session.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
    cluster.api(2).header("cookie", &cookie).get(&path).await.ok();

    cluster.instances[0].kill();
    cluster.instances.remove(0);
    let alices: Vec<Api> = (0..2).map(|instance| api(&cluster, instance, "alice")).collect();
    let events = follow_anywhere(&alices, &id, Place::Responses, Vec::new()).await;
    assert_eq!(check_reply(&events).text, truth(&prompt));
    strangers(&cluster).await;

    // The same key of idempotency, of two callers, on two instances.
    let of = async |instance: usize, who: &str| {
        let api = api(&cluster, instance, who).header("idempotency-key", "same");
        api.post("/v1/responses", whole("hello")).await.ok()["id"].clone()
    };
    let (first, second) = (of(0, "alice").await, of(1, "alice").await);
    assert_eq!(first, second);
    assert_ne!(of(1, "bob").await, first);
}

#[tokio::test]
async fn callers_take_turns_whatever_they_say_of_their_users() {
    let keys = pair();
    let admin = format!("127.0.0.1:{}", free_port());
    let given = Given::with(|config| {
        let config = config.env("AUTH", "keys").env("API_KEYS", keys.lines().replace('\n', ";"));
        config.env("ADMIN_ADDR", &admin).env("LLM_MAX_IN_FLIGHT", 1).env("LLM_QUEUE_TIMEOUT", "60s")
    })
    .await;
    let (alice, bob) = (keys.api(&given.server, "alice"), keys.api(&given.server, "bob"));
    given.upstream.on("holds", Behaviour::Hang);
    let held = alice.stream(streamed("holds it")).await;
    let id = held.response_id().clone();
    let operator = Api::new(&format!("http://{admin}"));
    let mut waiting = Vec::new();
    for (place, (api, about)) in
        [(&alice, "turn a"), (&alice, "turn b"), (&alice, "turn c"), (&bob, "turn d")].into_iter().enumerate()
    {
        let body = json!({"model": "truth", "input": prompt(2, about), "user": format!("user {place}")});
        let api = api.clone();
        waiting.push(tokio::spawn(async move { api.post("/v1/responses", body).await.ok() }));
        until("it to wait", async || {
            let health: Value = operator.get("/healthz").await.ok();
            (health["upstreams"][0]["queued"] == place + 1).then_some(())
        })
        .await;
    }
    alice.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    for one in waiting {
        one.await.expect("no panic");
    }
    let heard = given.upstream.heard("turn");
    let turn = |heard: &Heard| {
        ["a", "b", "c", "d"].into_iter().find(|turn| heard.body.to_string().contains(&format!("turn {turn}")))
    };
    let order: String = heard.iter().filter_map(turn).collect();
    assert_eq!(order, "adbc", "Bob is next after one of Alice's");
}
