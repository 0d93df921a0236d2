//! `STORE_RETENTION`: what is not used any more goes by itself, and nothing else does.

use std::time::Duration;

use crate::support::{
    Given, id_of, json,
    nats::Nats,
    prompt,
    server::{Config, Server},
    streamed, until,
    upstream::{Break, Manner},
    whole, with,
};

/// What is old goes; what runs, and a conversation that goes on, stay.
async fn what_is_not_used_any_more_goes(change: impl FnOnce(Config) -> Config) {
    let given = Given::with(|config: Config| change(config.env("STORE_RETENTION", "4s"))).await;
    let api = &given.api;
    given.upstream.on("runs on", Manner::polite().breaking(20, Break::Silent));
    let mut running = api.stream(streamed(&prompt(60, "runs on"))).await;
    let runs = running.response_id();
    running.read_words(10).await;
    let reply = id_of(&api.post("/v1/responses", whole("one two")).await.ok());
    let (old, used) = (given.conversation().await, given.conversation().await);
    let in_old = api.post("/v1/responses", with(whole("three"), json!({"conversation": old}))).await.ok();
    let in_used = api.post("/v1/responses", with(whole("four"), json!({"conversation": used}))).await.ok();
    let mut paths: Vec<String> = vec![format!("/v1/responses/{reply}"), format!("/v1/conversations/{old}")];
    paths.push(format!("/v1/responses/{}", id_of(&in_old)));
    // It is used all the time.
    let keep_using = async {
        let item = json!({"items": [{"role": "user", "content": "and again"}]});
        loop {
            api.post(&format!("/v1/conversations/{used}/items"), item.clone()).await.ok();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let all_gone = async {
        for path in &paths {
            until("what is old to be deleted", async || (api.get(path).await.status == 404).then_some(())).await;
        }
    };
    tokio::select! {
        () = all_gone => {}
        _ = keep_using => {}
    }
    api.get(&format!("/v1/conversations/{used}")).await.ok();
    api.get(&format!("/v1/responses/{}", id_of(&in_used))).await.ok();
    assert_eq!(api.get(&format!("/v1/responses/{runs}")).await.ok()["status"], "in_progress");
}

#[tokio::test]
async fn what_is_not_used_any_more_is_deleted_and_what_is_used_stays() {
    what_is_not_used_any_more_goes(|config| config).await;
}

#[tokio::test]
async fn on_nats_what_is_not_used_any_more_is_deleted_and_what_is_used_stays() {
    let nats = Nats::start().await;
    what_is_not_used_any_more_goes(|config| config.env("NATS_URL", &nats.url)).await;
}

#[tokio::test]
async fn a_tenant_may_have_its_own_retention() {
    let key = |tenant: &str| {
        let config = Server::bare();
        let (code, made) = config.run(&format!("keys new --tenant {tenant}"));
        assert_eq!(code, Some(0), "{made}");
        let (secret, line) = made.trim().split_once('\n').expect("a key, and its line");
        (secret.to_owned(), line.to_owned())
    };
    let (museum, acme) = (key("museum"), key("acme"));
    let given = Given::with(|config: Config| {
        let file = "[[tenant]]\nname = \"museum\"\nstore_retention = \"off\"\n";
        std::fs::write(config.data_dir().join("rejoinder.toml"), file).expect("our own directory");
        let config = config.env("REJOINDER_CONFIG", "rejoinder.toml").env("STORE_RETENTION", "2s");
        config.env("AUTH", "keys").env("API_KEYS", format!("{};{}", museum.1, acme.1))
    })
    .await;
    let [museum, acme] =
        [museum.0, acme.0].map(|key| given.server.api().header("authorization", &format!("Bearer {key}")));
    let (kept, old) =
        (museum.post("/v1/responses", whole("one")).await.ok(), acme.post("/v1/responses", whole("two")).await.ok());
    let path = format!("/v1/responses/{}", id_of(&old));
    until("what is old to be deleted", async || (acme.get(&path).await.status == 404).then_some(())).await;
    museum.get(&format!("/v1/responses/{}", id_of(&kept))).await.ok();
}
