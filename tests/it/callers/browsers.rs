//! What browsers can do that send no header of their own: tickets and sessions; and what other sites' pages cannot.

use hyper::Method;

use super::{Keys, keyed, reply};
use crate::support::{
    Api, Given, Value,
    issuer::{Issuer, Pair, now},
    json,
    server::Server,
    until, whole, with,
};

async fn given() -> (Server, Keys) {
    let keys = Keys::new(&[("alice", "--tenant acme --user alice"), ("bob", "--tenant acme --user bob")]);
    (keyed(&keys).start().await, keys)
}

async fn ticket(api: &Api, resource: &str) -> Value {
    api.post("/v1/tickets", json!({"resource": resource})).await.ok()
}

#[tokio::test]
async fn a_ticket_opens_one_resource_as_whoever_asked_for_it() {
    let (server, keys) = given().await;
    let (alice, nobody) = (keys.api(&server, "alice"), server.api());
    let id = reply(&alice, json!({})).await["id"].as_str().expect("an id").to_owned();
    let (events, audio) = (format!("/v1/responses/{id}/events"), format!("/v1/responses/{id}/audio"));
    let made = ticket(&alice, &events).await;
    let (url, text) = (made["url"].as_str().expect("a URL"), made["ticket"].as_str().expect("a ticket"));
    assert!((now() + 50..=now() + 60).contains(&made["expires_at"].as_u64().expect("a time")), "{made}");
    // An EventSource comes back with the same URL.
    for _ in 0..2 {
        assert_eq!(nobody.get(url).await.status, 200);
    }
    for other in [&audio, &format!("/v1/responses/{id}"), &format!("/v1/responses/{id}/input_items")] {
        nobody.get(&format!("{other}?ticket={text}")).await.refused(401, "invalid_api_key", Value::Null);
    }
    nobody.call(Method::POST, &format!("/v1/responses/{id}/cancel?ticket={text}"), "").await.refused(
        401,
        "invalid_api_key",
        Value::Null,
    );
    // A ticket shows nobody more than they may see themselves.
    let bobs = ticket(&keys.api(&server, "bob"), &events).await;
    nobody.get(bobs["url"].as_str().expect("a URL")).await.unknown("response_id");
    for resource in ["/v1/models", "/v1/responses", &format!("/v1/responses/{id}"), "x", &format!("{events}?a=b")] {
        let refused = alice.post("/v1/tickets", json!({"resource": resource})).await;
        refused.refused(400, "invalid_value", "resource");
    }
    assert!(!server.output().contains(text), "a ticket is not logged");
}

#[tokio::test]
async fn a_ticket_ends_with_the_key_or_the_token_that_it_was_made_with() {
    let (issuer, pair) = (Issuer::start().await, Pair::ec());
    issuer.has(&[pair.jwk("a")]);
    let keys = Keys::new(&[("alice", "--tenant acme --user alice")]);
    let server =
        keyed(&keys).env("AUTH", "keys,jwt").env("JWT_ISSUER", issuer.name()).env("JWT_AUDIENCE", "chat").start().await;
    let alice = keys.api(&server, "alice");
    let id = reply(&alice, json!({})).await["id"].as_str().expect("an id").to_owned();
    let made = ticket(&alice, &format!("/v1/responses/{id}/events")).await;
    let session = alice.post("/v1/session", json!({})).await;
    let cookie = session.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let browser = server.api().header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    browser.get(&format!("/v1/responses/{id}")).await.ok();

    // Tokens have 30 s of leeway: this one has 5 s of that left.
    let claims = with(issuer.claims("carol"), json!({"exp": now() - 25}));
    let carol = super::with_key(&server, &pair.token(Some("a"), &claims));
    let short = ticket(&carol, &format!("/v1/responses/{id}/events")).await;
    assert!(short["expires_at"].as_u64().expect("a time") <= now() + 5, "{short}");
    let url = short["url"].as_str().expect("a URL").to_owned();
    until("the ticket's end", async || (server.api().get(&url).await.status == 401).then_some(())).await;

    std::fs::write(server.data_dir().join("keys"), "# nobody\n").expect("our own file");
    until("the key's end", async || (alice.get("/v1/models").await.status == 401).then_some(())).await;
    server.api().get(made["url"].as_str().expect("a URL")).await.refused(401, "invalid_api_key", Value::Null);
    browser.get(&format!("/v1/responses/{id}")).await.refused(401, "invalid_api_key", Value::Null);
}

#[tokio::test]
async fn a_session_is_a_cookie_that_only_our_own_pages_use() {
    let (server, keys) = given().await;
    let alice = keys.api(&server, "alice");
    let made = alice.post("/v1/session", json!({})).await;
    assert_eq!(made.ok()["user"], "alice");
    let cookie = made.header("set-cookie").expect("a cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "there is no TLS");
    let behind = alice.clone().header("x-forwarded-proto", "https").post("/v1/session", json!({})).await;
    assert!(behind.header("set-cookie").is_some_and(|cookie| cookie.ends_with("; Secure")));

    let pair = cookie.split(';').next().expect("a pair").to_owned();
    let plain = server.api().header("cookie", &pair);
    let (own, base) = (plain.clone().header("sec-fetch-site", "same-origin"), server.base.clone());
    let body = || json!({"model": "echo", "input": "hello"});
    own.post("/v1/responses", body()).await.ok();
    plain.clone().header("origin", &base).post("/v1/responses", body()).await.ok();
    plain.get("/v1/models").await.ok();
    // What another page, or no browser of today, sends in the browser's name.
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        plain.clone().header(name, value).post("/v1/responses", body()).await.refused(
            403,
            "origin_not_allowed",
            Value::Null,
        );
        plain.clone().header(name, value).get("/v1/models").await.refused(403, "origin_not_allowed", Value::Null);
    }
    plain.post("/v1/responses", body()).await.refused(403, "origin_not_allowed", Value::Null);
    // A session does not make another: it would never end.
    own.post("/v1/session", json!({})).await.refused(400, "invalid_value", "Authorization");
    let ended = own.delete("/v1/session").await;
    assert!(ended.status == 204 && ended.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    // It is good on after a restart: the secret is kept beside the log.
    let server = server.restart().await;
    let again = server.api().header("cookie", &pair).header("sec-fetch-site", "same-origin");
    again.get("/v1/models").await.ok();
    let changed = pair.replace("rejoinder_session=", "rejoinder_session=x");
    server.api().header("cookie", &changed).get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
    assert!(!server.output().contains(pair.rsplit('.').next().expect("a signature")), "a session is not logged");
}

#[tokio::test]
async fn two_secrets_are_good_while_one_is_changed_for_another() {
    let keys = Keys::new(&[("alice", "--tenant acme --user alice")]);
    let (old, new) = ("0".repeat(32), "1".repeat(32));
    let server = keyed(&keys).env("SECRET_KEY", &old).start().await;
    let made = keys.api(&server, "alice").post("/v1/session", json!({})).await;
    let pair = made.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a pair").to_owned();
    let server = server.restart_with(|config| config.env("SECRET_KEY", format!("{new},{old}"))).await;
    server.api().header("cookie", &pair).get("/v1/models").await.ok();
    let server = server.restart_with(|config| config.env("SECRET_KEY", &new)).await;
    server.api().header("cookie", &pair).get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
}

#[tokio::test]
async fn pages_that_are_listed_may_send_cookies_and_no_others() {
    let keys = Keys::new(&[("alice", "--tenant acme")]);
    let server = keyed(&keys).env("CORS_ORIGINS", "https://app.example").start().await;
    let allows = async |origin: &str, header: &str| {
        let api = server.api().header("origin", origin).header("access-control-request-headers", "authorization");
        api.call(Method::OPTIONS, "/v1/responses", "").await.header(header).map(str::to_owned)
    };
    assert_eq!(allows("https://app.example", "access-control-allow-credentials").await.as_deref(), Some("true"));
    assert_eq!(allows("https://evil.example", "access-control-allow-credentials").await, None);
    assert_eq!(allows("https://evil.example", "access-control-allow-origin").await, None);
    let server = server.restart_with(|config| config.env("CORS_ORIGINS", "*")).await;
    let any = server.api().header("origin", "https://evil.example").call(Method::OPTIONS, "/v1/responses", "").await;
    assert_eq!(
        (any.header("access-control-allow-origin"), any.header("access-control-allow-credentials")),
        (Some("*"), None)
    );
}

#[tokio::test]
async fn a_page_that_points_its_name_at_this_machine_reaches_nothing() {
    let given = Given::new().await;
    let ask = async |api: &Api| api.post("/v1/responses", whole("hello")).await;
    for host in ["attacker.example", "attacker.example:8080", "localhost.attacker.example"] {
        let rebound = given.api.clone().header("host", host);
        ask(&rebound).await.refused(403, "host_not_allowed", Value::Null);
        // Its own origin makes it no better.
        ask(&rebound.clone().header("origin", &format!("http://{host}"))).await.refused(
            403,
            "host_not_allowed",
            Value::Null,
        );
        rebound.get("/v1/models").await.refused(403, "host_not_allowed", Value::Null);
        rebound.get("/metrics").await.refused(403, "host_not_allowed", Value::Null);
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:8080"] {
        ask(&given.api.clone().header("host", host)).await.ok();
    }
    ask(&given.api.clone().header("origin", "http://localhost:3000")).await.refused(
        403,
        "origin_not_allowed",
        Value::Null,
    );
    ask(&given.api.clone().header("origin", &given.server.base)).await.ok();
    let named = Given::with(|config| config.env("ALLOWED_HOSTS", "chat.example")).await;
    ask(&named.api.clone().header("host", "chat.example")).await.ok();
    ask(&named.api.clone().header("host", "other.example")).await.refused(403, "host_not_allowed", Value::Null);
}

#[tokio::test]
async fn a_page_of_a_server_without_keys_asks_in_the_same_way() {
    let given = Given::new().await;
    let id = given.api.post("/v1/responses", whole("hello")).await.ok()["id"].as_str().expect("an id").to_owned();
    let made = ticket(&given.api, &format!("/v1/responses/{id}/events")).await;
    assert_eq!(given.api.get(made["url"].as_str().expect("a URL")).await.status, 200);
    let session = given.api.get("/v1/session").await.ok();
    assert_eq!((&session["tenant"], &session["user"]), (&Value::Null, &Value::Null));
}
