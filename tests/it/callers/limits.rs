//! How much callers may use, on one instance.

use super::{Keys, keyed, reply};
use crate::support::{
    Answer, Api, Given, Value, json, prompt,
    server::{Config, Server},
    streamed, until,
    upstream::{Behaviour, Manner},
    voice::{Fault, Voice},
    whole, with,
};

fn pair() -> Keys {
    let alice = "--tenant acme --user alice --tier small";
    Keys::new(&[
        ("alice", alice),
        ("bob", "--tenant acme --user bob --tier small"),
        ("boss", "--tenant acme --scopes chat,read,tenant"),
    ])
}

/// The same with these limits for the tier `small`.
pub(super) fn limited(config: Config, limits: &str) -> Config {
    let tiers = format!("[[tier]]\nname = \"default\"\n[[tier]]\nname = \"small\"\n{limits}\n");
    std::fs::write(config.data_dir().join("limits.toml"), tiers).expect("our own directory");
    config.env("REJOINDER_CONFIG", "limits.toml")
}

async fn server(keys: &Keys, limits: &str) -> Server {
    limited(keyed(keys), limits).env("TTS_COMMAND", "").start().await
}

/// A server in front of a model server, with keys and these limits.
async fn given(keys: &Keys, limits: &str) -> Given {
    let lines = keys.lines().replace('\n', ";");
    Given::with(|config| limited(config.env("AUTH", "keys").env("API_KEYS", lines), limits)).await
}

fn number(answer: &Answer, name: &str) -> u64 {
    let header = answer.header(name).unwrap_or_else(|| panic!("{name} in {answer:?}"));
    header.parse().unwrap_or_else(|_| panic!("{name}: {header}"))
}

/// That a limit is reached, and what is said of it.
fn refused(answer: &Answer, limit: &str) {
    let error = answer.refused(429, "rate_limit_exceeded", Value::Null);
    assert_eq!(error["type"], "rate_limit_exceeded");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(limit)), "{error}");
}

#[tokio::test]
async fn requests_are_counted_at_every_door_and_their_headers_say_what_is_left() {
    let keys = pair();
    let server = server(&keys, "requests_per_minute = 6\nburst = 3").await;
    let alice = keys.api(&server, "alice");
    let chat = json!({"model": "echo", "messages": [{"role": "user", "content": "hello"}]});
    let first = alice.post("/v1/responses", json!({"model": "echo", "input": "x"})).await;
    first.ok();
    assert_eq!(
        (number(&first, "x-ratelimit-limit-requests"), number(&first, "x-ratelimit-remaining-requests")),
        (6, 2)
    );
    assert!(first.header("x-ratelimit-reset-requests").is_some_and(|reset| reset.ends_with('s')), "{first:?}");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), None);
    let second = alice.post("/v1/chat/completions", chat.clone()).await;
    assert_eq!((second.status.as_u16(), number(&second, "x-ratelimit-remaining-requests")), (200, 1));
    let spoken = json!({"model": "tts-1", "input": "hello"});
    // There is no voice: what is not spoken costs nothing.
    assert_eq!(alice.post("/v1/audio/speech", spoken.clone()).await.status, 503);
    alice.post("/v1/responses", json!({"model": "echo", "input": "x"})).await.ok();
    let plain = json!({"model": "echo", "input": "x"});
    for (path, body) in [("/v1/responses", plain), ("/v1/chat/completions", chat), ("/v1/audio/speech", spoken)] {
        let answer = alice.post(path, body).await;
        refused(&answer, "6 requests per minute");
        let (seconds, ms) = (number(&answer, "retry-after"), number(&answer, "retry-after-ms"));
        assert!(
            (1..=10).contains(&seconds) && ms <= 10_000 && seconds == ms.div_ceil(1000).max(1),
            "{seconds} s, {ms} ms"
        );
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), 0);
    }
    // What is not asked of a model is not counted, and others are not concerned; nor is who has no limits.
    alice.get("/v1/models").await.ok();
    reply(&keys.api(&server, "bob"), json!({})).await;
    let boss = keys.api(&server, "boss").post("/v1/responses", json!({"model": "echo", "input": "x"})).await;
    boss.ok();
    assert_eq!(boss.header("x-ratelimit-limit-requests"), None);
    let output = server.output();
    let audited = |line: &&str| line.contains("limit reached") && line.contains("acme/alice");
    assert!(output.lines().find(audited).is_some_and(|line| line.contains("requests per minute")), "{output}");
}

#[tokio::test]
async fn a_text_that_is_spoken_counts_as_a_request_and_as_tokens() {
    let (voice, keys) = (Voice::start(Fault::None).await, pair());
    let config = limited(keyed(&keys), "requests_per_minute = 1\nburst = 2\ntokens_per_minute = 100");
    let server = config.env("TTS_BASE_URL", voice.base_url()).start().await;
    let alice = keys.api(&server, "alice");
    let speak = async |input: &str| {
        alice.post("/v1/audio/speech", json!({"model": "tts-1", "input": input, "response_format": "pcm"})).await
    };
    let first = speak("Tea.").await;
    let left = (number(&first, "x-ratelimit-remaining-requests"), number(&first, "x-ratelimit-remaining-tokens"));
    assert_eq!((first.status.as_u16(), left), (200, (1, 99)));
    refused(&speak(&"tea ".repeat(200)).await, "too large");
    assert_eq!(speak("Tea, please.").await.status, 200);
    refused(&speak("Tea.").await, "1 requests per minute");
    until("both to be counted", async || {
        let usage = alice.get("/v1/usage?group_by=model").await.ok();
        let told = &usage["data"][0];
        (told["model"] == "tts-1" && told["replies"] == 2 && told["input_tokens"] == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_again_under_its_key_joins_its_reply_and_costs_nothing() {
    let keys = pair();
    let server = server(&keys, "requests_per_minute = 1\nburst = 1").await;
    let alice = keys.api(&server, "alice").header("idempotency-key", "one");
    let ask = async || alice.post("/v1/responses", json!({"model": "echo", "input": "x"})).await;
    let first = ask().await.ok();
    for _ in 0..3 {
        assert_eq!(ask().await.ok()["id"], first["id"]);
    }
    let another = keys.api(&server, "alice").header("idempotency-key", "two");
    refused(&another.post("/v1/responses", json!({"model": "echo", "input": "x"})).await, "requests per minute");
}

#[tokio::test]
async fn tokens_are_reserved_before_and_what_was_not_used_is_given_back() {
    let keys = pair();
    let given = given(&keys, "tokens_per_minute = 1000\nmax_output_tokens = 600").await;
    let alice = keys.api(&given.server, "alice");
    given.upstream.on("hold", Manner::paced(20));
    let held = alice.stream(streamed(&prompt(400, "hold on"))).await;
    let second = alice.post("/v1/responses", whole("hello")).await;
    refused(&second, "1000 tokens per minute");
    let id = held.response_id();
    alice.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    let next = until("what was not used to be given back", async || {
        let answer = alice.post("/v1/responses", whole("hello")).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(number(&next, "x-ratelimit-remaining-tokens") > 200, "more than what has come meanwhile: {next:?}");
    // What can never be, is said to be so; and the largest output is one of the whole tier.
    let large = alice.post("/v1/responses", with(whole(&"tree ".repeat(4000)), json!({}))).await;
    refused(&large, "too large");
    assert_eq!((large.header("retry-after"), large.header("x-should-retry")), (None, Some("false")));
    let long = with(whole("hello"), json!({"max_output_tokens": 601}));
    alice.post("/v1/responses", long).await.refused(400, "integer_above_max_value", "max_output_tokens");
    let chat = json!({"model": "truth", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 601});
    alice.post("/v1/chat/completions", chat).await.refused(400, "integer_above_max_value", "max_completion_tokens");
    let heard = given.upstream.heard_once("hold").body;
    assert!([&heard["max_tokens"], &heard["max_completion_tokens"]].contains(&&json!(600)), "{heard}");
}

#[tokio::test]
async fn fifty_long_replies_at_once_stay_within_the_tokens_of_a_minute() {
    let keys = pair();
    let given = given(&keys, "tokens_per_minute = 3000\nmax_output_tokens = 500").await;
    let alice = keys.api(&given.server, "alice");
    given.upstream.on("long", Manner::polite());
    let asks = (0..50).map(|number| {
        let (alice, body) = (alice.clone(), whole(&prompt(400, &format!("long {number}"))));
        tokio::spawn(async move { alice.post("/v1/responses", body).await })
    });
    let begun = std::time::Instant::now();
    let mut used = 0;
    let (mut granted, mut limited) = (0_u32, 0_u32);
    for ask in asks.collect::<Vec<_>>() {
        let answer = ask.await.expect("no panic");
        match answer.status.as_u16() {
            200 => {
                granted += 1;
                used += answer.json()["usage"]["total_tokens"].as_u64().expect("usage");
            }
            429 => limited += 1,
            other => panic!("{other}: {answer:?}"),
        }
    }
    let allowed = 3000.0 + begun.elapsed().as_secs_f64() * 50.0;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let used_now = used as f64;
    assert!(granted >= 5 && limited > 0 && used_now <= allowed, "{granted} granted, {used} of {allowed} used");
}

#[tokio::test]
async fn a_long_conversation_is_reckoned_with_before_it_is_gone_on_with() {
    let keys = pair();
    let given = given(&keys, "tokens_per_minute = 2000\nmax_output_tokens = 100").await;
    let alice = keys.api(&given.server, "alice");
    let items: Vec<_> = (0..7).map(|_| json!({"role": "user", "content": "tree ".repeat(400)})).collect();
    let conversation = alice.post("/v1/conversations", json!({"items": items})).await.ok();
    let more = with(whole("short"), json!({"conversation": conversation["id"]}));
    refused(&alice.post("/v1/responses", more).await, "too large");
    assert!(given.upstream.heard("short").is_empty());
    alice.post("/v1/responses", whole("by itself")).await.ok();
}

#[tokio::test]
async fn so_many_replies_run_at_once_and_the_next_as_soon_as_one_has_ended() {
    let keys = pair();
    let given = given(&keys, "replies_at_once = 2").await;
    let alice = keys.api(&given.server, "alice");
    given.upstream.on("held", Behaviour::Hang);
    let (first, _second) = (alice.stream(streamed("held a")).await, alice.stream(streamed("held b")).await);
    let third = alice.post("/v1/responses", whole("third")).await;
    refused(&third, "2 replies are running");
    assert_eq!(number(&third, "retry-after"), 1);
    reply_of(&keys.api(&given.server, "bob")).await;
    alice.post(&format!("/v1/responses/{}/cancel", first.response_id()), json!({})).await.ok();
    // One after the other, each as soon as the one before is seen to have ended.
    for _ in 0..20 {
        reply_of(&alice).await;
    }
    // One that is not stored counts until its client has gone.
    drop(alice.stream(with(streamed("held c"), json!({"store": false}))).await);
    until("its place", async || (alice.post("/v1/responses", whole("again")).await.status == 200).then_some(())).await;
}

async fn reply_of(api: &Api) {
    api.post("/v1/responses", whole("hello")).await.ok();
}

#[tokio::test]
async fn what_was_used_of_a_day_is_known_after_a_restart_stored_or_not() {
    let keys = pair();
    let given = given(&keys, "tokens_per_day = 2000\nmax_output_tokens = 200").await;
    let alice = keys.api(&given.server, "alice");
    let (stored, unstored) =
        (whole(&prompt(100, "stored")), with(whole(&prompt(80, "fleeting")), json!({"store": false})));
    let mut used = 0;
    for body in [stored, unstored] {
        used += alice.post("/v1/responses", body).await.ok()["usage"]["total_tokens"].as_u64().expect("usage");
    }
    let told = async |api: &Api| {
        let usage = api.get("/v1/usage").await.ok();
        (usage["data"][0]["total_tokens"].as_u64() == Some(used)).then_some(usage)
    };
    until("what was used", async || told(&alice).await).await;
    let left = number(&alice.post("/v1/responses", whole("hello")).await, "x-ratelimit-remaining-tokens");
    assert!(left < 2000 - used, "{left} are left, {used} were used");

    let server = given.server.restart().await;
    let alice = keys.api(&server, "alice");
    let after = alice.post("/v1/responses", whole("hello")).await;
    after.ok();
    let left = number(&after, "x-ratelimit-remaining-tokens");
    assert!(left < 2000 - used, "{left} are left after the restart, {used} were used");
    // Until nothing is left.
    let last = until("the limit", async || {
        let answer = alice.post("/v1/responses", whole(&prompt(150, "more"))).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    refused(&last, "2000 tokens per day");
    assert_eq!(last.header("x-should-retry"), Some("false"));
    assert!(number(&last, "retry-after") <= 24 * 60 * 60);
    let server = server.restart().await;
    refused(
        &keys.api(&server, "alice").post("/v1/responses", whole(&prompt(150, "more"))).await,
        "2000 tokens per day",
    );
}

#[tokio::test]
async fn a_reply_that_is_deleted_or_stopped_before_its_end_is_not_had_for_nothing() {
    let keys = pair();
    let given = given(&keys, "tokens_per_day = 100000").await;
    let alice = keys.api(&given.server, "alice");
    given.upstream.on("slow", Manner::paced(5));
    for stop in ["delete", "cancel"] {
        let mut events = alice.stream(streamed(&prompt(300, &format!("slow {stop}")))).await;
        let path = format!("/v1/responses/{}", events.response_id());
        events.read_words(20).await;
        match stop {
            "delete" => alice.delete(&path).await.ok(),
            _ => alice.post(&format!("{path}/cancel"), json!({})).await.ok(),
        };
    }
    until("both to be counted", async || {
        let usage = alice.get("/v1/usage").await.ok();
        let told = &usage["data"][0];
        (told["replies"] == 2 && told["output_tokens"].as_u64() >= Some(40)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn usage_is_told_to_whose_it_is_and_of_all_users_to_the_tenant() {
    let keys = pair();
    let server = server(&keys, "").await;
    for (who, times) in [("alice", 3), ("bob", 1), ("boss", 1)] {
        for _ in 0..times {
            reply(&keys.api(&server, who), json!({})).await;
        }
    }
    let told = async |who: &str, query: &str| keys.api(&server, who).get(&format!("/v1/usage{query}")).await.ok();
    let all = until("all to be counted", async || {
        let all = told("boss", "?group_by=user").await;
        let replies: u64 =
            all["data"].as_array().expect("a list").iter().filter_map(|row| row["replies"].as_u64()).sum();
        (replies == 5).then_some(all)
    })
    .await;
    let users: Vec<_> =
        all["data"].as_array().expect("a list").iter().map(|row| (&row["user"], &row["replies"])).collect();
    assert_eq!(json!(users), json!([[null, 1], ["alice", 3], ["bob", 1]]));
    let own = told("alice", "?group_by=user,day,model").await;
    let [row] = &own["data"].as_array().expect("a list")[..] else { panic!("{own}") };
    assert_eq!((&row["user"], &row["model"], &row["replies"]), (&json!("alice"), &json!("echo"), &json!(3)));
    assert_eq!((&row["day"], own["to"].as_str().map(str::len)), (&own["to"], Some(10)));
    assert_eq!(told("alice", "?from=2020-01-01&to=2020-02-01").await["data"], json!([]));
    keys.api(&server, "alice").get("/v1/usage?from=x").await.refused(400, "invalid_value", "from");
}

#[tokio::test]
async fn the_limits_are_those_of_the_file_and_check_explains_them() {
    let keys = Keys::new(&[("alice", "--tenant acme --tier small"), ("bob", "--tenant acme --tier silver")]);
    let config = limited(keyed(&keys), "requests_per_minute = 60\ntokens_per_day = 5000\nreplies_at_once = 4");
    let (_, printed) = config.run("check");
    for told in ["60 requests a minute, 6 at once", "5000 tokens a day", "4 replies at once", "silver", "no limits"] {
        assert!(printed.contains(told), "{told} in {printed}");
    }
    let wrong = limited(keyed(&keys), "requests_per_minute = 0");
    let (code, printed) = wrong.run("check");
    assert_eq!(code, Some(1));
    assert!(printed.contains("tier[1].requests_per_minute"), "{printed}");
    wrong.try_start().await.expect_err("no start");
}

#[tokio::test]
async fn whoever_has_no_credential_is_one_caller() {
    let config = Server::bare();
    let tier = "[[tier]]\nname = \"default\"\nrequests_per_minute = 2\nburst = 2\n";
    std::fs::write(config.data_dir().join("limits.toml"), tier).expect("our own directory");
    let server = config.env("REJOINDER_CONFIG", "limits.toml").start().await;
    let ask = async || server.api().post("/v1/responses", json!({"model": "echo", "input": "x"})).await;
    assert_eq!([ask().await.status, ask().await.status, ask().await.status], [200, 200, 429]);
    assert!(
        server
            .api()
            .get("/metrics")
            .await
            .text()
            .contains("rejoinder_limits_reached_total{limit=\"requests_per_minute\"} 1")
    );
}
