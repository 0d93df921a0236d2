//! Tokens of an issuer.

use super::{new_key, reply, with_key};
use crate::support::{
    Api, Value,
    issuer::{Issuer, Manner, Pair, now},
    json,
    server::{Config, Server},
    until, with,
};

/// A server that takes the tokens of an issuer.
fn trusting(issuer: &Issuer) -> Config {
    Server::bare()
        .env("AUTH", "jwt")
        .env("JWT_ISSUER", issuer.name())
        .env("JWT_AUDIENCE", "chat, other")
        .env("JWT_TENANT_CLAIM", "org")
}

async fn refused(api: &Api) {
    api.get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
}

#[tokio::test]
async fn a_token_says_whose_things_are_and_what_may_be_done() {
    let (issuer, ec, ed, rsa, pss) = (Issuer::start().await, Pair::ec(), Pair::ed(), Pair::rsa(), Pair::rsa_pss());
    let pairs = [("ec", &ec), ("ed", &ed), ("rsa", &rsa), ("pss", &pss)];
    issuer.has(&pairs.map(|(kid, pair)| pair.jwk(kid)));
    let server = trusting(&issuer).env("JWT_SCOPES_CLAIM", "access.scopes").env("JWT_TIER_CLAIM", "plan").start().await;
    let claims =
        |user: &str, scopes: Value| with(issuer.claims(user), json!({"access": {"scopes": scopes}, "plan": "gold"}));
    let all = json!("openid chat read");
    for (kid, pair) in pairs {
        let api = with_key(&server, &pair.token(Some(kid), &claims(kid, all.clone())));
        let session = api.get("/v1/session").await.ok();
        assert_eq!(
            (&session["tenant"], &session["user"], &session["tier"]),
            (&json!("acme"), &json!(kid), &json!("gold"))
        );
        assert_eq!(session["scopes"], json!(["chat", "read"]));
    }
    let (alice, bob) = (ec.token(Some("ec"), &claims("alice", all.clone())), ed.token(Some("ed"), &claims("bob", all)));
    let made = reply(&with_key(&server, &alice), json!({})).await;
    let path = format!("/v1/responses/{}", made["id"].as_str().expect("an id"));
    with_key(&server, &alice).get(&path).await.ok();
    with_key(&server, &bob).get(&path).await.unknown("response_id");
    let reads = ec.token(Some("ec"), &claims("alice", json!(["read"])));
    with_key(&server, &reads).get(&path).await.ok();
    with_key(&server, &reads).delete(&path).await.refused(403, "insufficient_scope", Value::Null);
    let nothing = ec.token(Some("ec"), &claims("alice", json!(["openid"])));
    with_key(&server, &nothing).get(&path).await.refused(403, "insufficient_scope", Value::Null);
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused() {
    let (issuer, rsa, ec) = (Issuer::start().await, Pair::rsa(), Pair::ec());
    issuer.has(&[rsa.jwk("rsa"), ec.jwk("ec")]);
    let server = trusting(&issuer).start().await;
    let good = issuer.claims("alice");
    with_key(&server, &rsa.token(Some("rsa"), &good)).get("/v1/models").await.ok();

    let signed = |more: Value| rsa.token(Some("rsa"), &with(good.clone(), more));
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        rsa.token(Some("rsa"), &claims)
    };
    let unsigned = rsa.token_with(json!({"alg": "none", "kid": "rsa"}), &good);
    let bare = unsigned.rsplit_once('.').expect("parts").0.to_owned() + ".";
    let mut forged = rsa.token(Some("rsa"), &good).into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    let n = rsa.jwk("rsa")["n"].as_str().expect("a modulus").to_owned();
    let secrets = [rsa.public(), ec.public(), pem.into_bytes(), n.into_bytes(), Vec::new()];
    let mut bad: Vec<(&str, String)> = vec![
        ("alg none", unsigned),
        ("alg none, without a signature", bare),
        ("another issuer", signed(json!({"iss": "https://evil.example"}))),
        ("another audience", signed(json!({"aud": ["else"]}))),
        ("expired", signed(json!({"exp": now() - 300}))),
        ("not yet valid", signed(json!({"nbf": now() + 300}))),
        ("an unknown key", Pair::ec().token(Some("unknown"), &good)),
        ("another's key of the same name", Pair::ec().token(Some("ec"), &good)),
        ("no key named, of two", rsa.token(None, &good)),
        ("another algorithm of the key", rsa.token_with(json!({"alg": "PS256", "kid": "rsa"}), &good)),
        ("the algorithm of another key", rsa.token_with(json!({"alg": "ES256", "kid": "rsa"}), &good)),
        ("a key of its own", rsa.token_with(json!({"alg": "RS256", "kid": "x", "jwk": rsa.jwk("x")}), &good)),
        (
            "critical extensions",
            rsa.token_with(json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false}), &good),
        ),
        ("no tenant", without("org")),
        ("no user", without("sub")),
        ("no end", without("exp")),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("an empty tenant", signed(json!({"org": ""}))),
        ("a tenant that is no name", signed(json!({"org": {"id": 1}}))),
        ("changed", String::from_utf8(forged).expect("ASCII")),
        ("too long", signed(json!({"more": "x".repeat(20_000)}))),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no JSON", "e30.e30.e30".to_owned()),
        ("a key of ours", new_key("--tenant acme").secret),
    ];
    let hmac =
        secrets.into_iter().map(|secret| ("HMAC with what is public", Pair::Hmac(secret).token(Some("rsa"), &good)));
    bad.extend(hmac);
    for (what, token) in bad {
        let answer = with_key(&server, &token).get("/v1/models").await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(token.len() < 20 || !server.output().contains(&token), "{what} is not logged");
    }
}

#[tokio::test]
async fn keys_that_were_fetched_stay_good_while_the_issuer_is_away_and_nothing_is_asked_too_often() {
    let (issuer, first) = (Issuer::start().await, Pair::ec());
    issuer.has(&[first.jwk("first")]);
    let server = trusting(&issuer).start().await;
    with_key(&server, &first.token(Some("first"), &issuer.claims("alice"))).get("/v1/models").await.ok();
    let asked = issuer.asked();
    for manner in [Manner::Fails, Manner::Hangs, Manner::Floods(10_000)] {
        issuer.manner(manner);
        for user in 0..20 {
            // Each is another token: none of them is found in the cache.
            let token = first.token(Some("first"), &issuer.claims(&format!("user{user}")));
            with_key(&server, &token).get("/v1/models").await.ok();
            refused(&with_key(&server, &Pair::ec().token(Some(&format!("kid{user}")), &issuer.claims("x")))).await;
        }
    }
    assert_eq!(issuer.asked(), asked, "unknown keys have the issuer asked every 30 s at most");
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_a_matter_of_waiting() {
    for (manner, told) in [
        (Manner::Fails, "answered with status 500"),
        (Manner::Floods(10_000), "more than 524288 bytes"),
        (Manner::Floods(1_000), "it has 1000 keys"),
        (Manner::Hangs, "cannot fetch the keys"),
    ] {
        let (issuer, pair) = (Issuer::start().await, Pair::ec());
        issuer.has(&[pair.jwk("a")]);
        issuer.manner(manner.clone());
        let server =
            trusting(&issuer).env("AUTH", "jwt,keys").env("API_KEYS", new_key("--tenant a").line).start().await;
        let api = with_key(&server, &pair.token(Some("a"), &issuer.claims("alice")));
        // It may be good: that is no 401.
        let answers = futures_util::future::join_all((0..20).map(|_| api.get("/v1/models"))).await;
        for answer in answers {
            answer.refused(503, "service_unavailable", Value::Null);
            assert!(answer.header("retry-after").is_some());
        }
        assert_eq!(issuer.asked(), usize::from(manner != Manner::Fails), "one fetch for all");
        until("the reason in the log", async || server.output().contains(told).then_some(())).await;
        assert_eq!(server.api().get("/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_check_says_whether_the_issuers_keys_can_be_had() {
    let (issuer, pair) = (Issuer::start().await, Pair::ed());
    issuer.has(&[pair.jwk("a")]);
    let check = async || {
        let name = issuer.name();
        let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_rejoinder"))
            .args(["check", "--json"])
            .env_clear()
            .env("PORT", "0")
            .env("DATA_DIR", std::env::temp_dir().join("rejoinder-none"))
            .envs([("AUTH", "jwt"), ("JWT_ISSUER", name.as_str()), ("JWT_AUDIENCE", "chat")])
            .output()
            .await
            .expect("the binary");
        let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let rows = report["rows"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["check"] == "callers").expect("a row")
    };
    let row = check().await;
    assert_eq!(row["status"], "ok", "{row}");
    issuer.manner(Manner::Fails);
    let row = check().await;
    assert!(row["status"] == "fail" && row["why"].as_str().is_some_and(|why| why.contains("500")), "{row}");
}
