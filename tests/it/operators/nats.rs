//! NATS as accounts and their operators have it: with logins, limits, rights, domains.

use super::{assert_fails, assert_works, checked};
use crate::support::{
    nats::Nats,
    ports::free_port,
    server::{Config, Server},
    *,
};

const JETSTREAM: &str = "log: JetStream";

fn on(url: &str) -> Config {
    Server::bare().env("NATS_URL", url).env("RUST_LOG", "debug")
}

/// That a server works there: a reply that is streamed, one with an input of many pieces, one with an image, and all gone when they
/// are deleted.
async fn works(config: Config) -> Server {
    let server = config.start().await;
    let api = server.api();
    for input in [json!("hello"), json!("long ".repeat(40_000)), with_image("look", 1, 200_000)] {
        let request = json!({"model": "echo", "input": input});
        let reply = api.post("/v1/responses", request).await.ok();
        assert_eq!(reply["status"], "completed", "{reply}");
        let path = format!("/v1/responses/{}", reply["id"].as_str().expect("an id"));
        assert_eq!(api.get(&path).await.ok(), reply);
        api.delete(&path).await.ok();
        api.get(&path).await.unknown("response_id");
    }
    server
}

#[tokio::test]
async fn a_login_in_the_address_is_given_and_never_shown() {
    for (authorization, login) in [
        ("user: app, password: \"s3cret\"", "app:s3cret"),
        ("user: \"a@p/p\", password: \"s3cret:/ %,é\"", "a%40p%2Fp:s3cret%3A%2F%20%25%2C%C3%A9"),
        ("token: \"s3cret/t0ken\"", "s3cret%2Ft0ken"),
    ] {
        let nats = Nats::configured(&format!("authorization {{ {authorization} }}\n")).await;
        // A server of the cluster that is away is passed over; the login stands in one address.
        for url in [nats.url_of(login), format!("nats://127.0.0.1:{},{}", free_port(), nats.url_of(login))] {
            let server = works(on(&url)).await;
            assert!(!server.output().contains("s3cret"), "{}", server.output());
        }
        assert_works(&checked(&on(&nats.url_of(login)), JETSTREAM));
        for wrong in [nats.url.clone(), nats.url_of("app:s3wrong"), nats.url_of("s3wrong")] {
            let checked = checked(&on(&wrong), JETSTREAM);
            assert_fails(&checked, "authorization violation", "nats://user:password@host:4222");
            assert!(!checked.1.to_string().contains("s3wrong"), "{checked:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_refused_ends_after_a_while_and_says_what_to_change() {
    let nats = Nats::configured("authorization { user: app, password: \"s3cret\" }\n").await;
    let config = on(&nats.url_of("app:s3wrong"));
    let ended = config.clone().try_start().await.expect_err("it does not start");
    until("the words", async || config.output().contains("cannot start: NATS at").then_some(())).await;
    let output = config.output();
    assert!(ended.status.code() == Some(1) && !output.contains("s3wrong") && !output.contains("s3cret"), "{output}");
    for words in ["authorization violation", "NATS_URL=nats://user:password@host:4222", "waiting for NATS"] {
        assert!(output.contains(words), "{words}: {output}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_at_the_start() {
    for (name, value, words) in [
        ("NATS_URL", "nats://app:s3/cret@a", "as %2F"),
        ("NATS_API_PREFIX", "JS.>", "without * >"),
        ("NATS_CA_FILE", "/nowhere/ca.pem", "cannot use /nowhere/ca.pem (NATS_CA_FILE)"),
    ] {
        let config = on("nats://127.0.0.1:1").env(name, value);
        let ended = config.clone().try_start().await.expect_err("it does not start");
        until("the words", async || config.output().contains(words).then_some(())).await;
        assert_eq!((ended.status.code(), config.output().contains("s3")), (Some(1), false), "{}", config.output());
    }
}

fn of_user(user: &str) -> String {
    format!("authorization {{ user: {user}, password: \"s3cret-{user}\" }}\n")
}

#[tokio::test]
async fn each_server_may_have_a_login_of_its_own_also_when_a_connection_moves() {
    let (mut nats, elsewhere) = (Nats::configured(&of_user("one")).await, free_port());
    let first = nats.url_of("one:s3cret-one");
    let second = format!("nats://two:s3cret-two@127.0.0.1:{elsewhere}");
    for url in [format!("{first},{second}"), format!("{second},{first}")] {
        assert_works(&checked(&on(&url), JETSTREAM));
        let server = works(on(&url)).await;
        nats.kill();
        nats.start_elsewhere(elsewhere, &of_user("two")).await;
        let api = server.api();
        let answers = async || {
            let reply = api.post("/v1/responses", json!({"model": "echo", "input": "hello"})).await;
            (reply.status == 200).then(|| assert_eq!(reply.json()["status"], "completed"))
        };
        until("the connections to move", answers).await;
        assert!(!server.output().contains("s3cret"), "{}", server.output());
        drop(server);
        nats.kill();
        let port = first.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        nats.start_elsewhere(port, &of_user("one")).await;
    }
    let swapped = format!("{},{second}", nats.url_of("two:s3cret-two"));
    assert_fails(&checked(&on(&swapped), JETSTREAM), "authorization violation", "NATS_URL");
}

#[tokio::test]
async fn servers_with_certificates_of_a_private_authority_are_trusted_by_its_file() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| files.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(path("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    std::fs::write(path("nothing.pem"), "nothing").expect("a file");
    let tls = format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n", path("cert.pem"), path("key.pem"));
    let nats = Nats::configured(&tls).await;
    let config = on(&nats.url);
    assert_fails(&checked(&config, JETSTREAM), "certificate", "NATS_CA_FILE");
    let trusting = config.clone().env("NATS_CA_FILE", path("cert.pem"));
    assert_works(&checked(&trusting, JETSTREAM));
    works(trusting.clone()).await;
    let none = config.clone().env("NATS_CA_FILE", path("nothing.pem"));
    assert_fails(&checked(&none, JETSTREAM), "no certificate in it", "NATS_CA_FILE");
    // Whoever names an authority is not satisfied with a server that has no certificate.
    let plain = Nats::start().await;
    assert_fails(&checked(&trusting.env("NATS_URL", &plain.url), JETSTREAM), "by TLS", "NATS_CA_FILE");
}

const DEMANDING: &str = "
accounts {
  APP: {
    jetstream: { max_bytes_required: true, max_disk: 4GB, max_mem: 0 }
    users: [ { user: app, password: secret } ]
  }
}
";

#[tokio::test]
async fn an_account_that_demands_the_size_of_everything_gets_it() {
    let nats = Nats::configured(DEMANDING).await;
    let config = on(&nats.url_of("app:secret"));
    assert_fails(&checked(&config, JETSTREAM), "max_bytes", "LOG_MAX_BYTES=1GiB");
    let ended = config.clone().try_start().await.expect_err("it does not start");
    until("the words", async || config.output().contains("max_bytes").then_some(())).await;
    assert_eq!(ended.status.code(), Some(1));
    let too_much = config.clone().env("LOG_MAX_BYTES", "3GiB");
    assert_fails(&checked(&too_much, JETSTREAM), "the account has", "LOG_MAX_BYTES");
    let waits = too_much.begin();
    until("the reason", async || waits.output().contains("insufficient storage").then_some(())).await;
    drop(waits);
    let config = config.env("LOG_MAX_BYTES", "64MiB");
    assert_works(&checked(&config, JETSTREAM));
    works(config.clone()).await;
    assert_works(&checked(&config, JETSTREAM));
}

const DENYING: &str = "
accounts {
  APP: {
    jetstream: enabled
    users: [
      { user: admin, password: secret }
      { user: app, password: secret, permissions: { publish: {
          deny: [\"$JS.API.STREAM.CREATE.>\", \"$JS.API.STREAM.UPDATE.>\", \"$JS.API.STREAM.DELETE.>\"] } } }
    ]
  }
}
";

#[tokio::test]
async fn streams_that_were_made_beforehand_are_used_by_who_may_make_none() {
    let nats = Nats::configured(DENYING).await;
    let (app, admin) = (on(&nats.url_of("app:secret")), on(&nats.url_of("admin:secret")));
    assert_fails(&checked(&app, JETSTREAM), "may not make it", "rejoinder migrate");
    let ended = app.clone().try_start().await.expect_err("it does not start");
    until("the words", async || app.output().contains("may not make it").then_some(())).await;
    assert_eq!(ended.status.code(), Some(1));

    let (code, printed) = admin.run("migrate --dry-run");
    assert!(code == Some(0) && printed.contains("REJOINDER_TRANSCRIPT_0  to be made"), "{printed}");
    let (code, printed) = admin.run("migrate");
    assert!(code == Some(0) && printed.contains("REJOINDER_TRANSCRIPT_0  made now"), "{printed}");
    assert_works(&checked(&app, JETSTREAM));
    works(app.clone()).await;

    // What differs in size or age only is lived with, and shown.
    let other = app.clone().env("LOG_RETENTION", "3d");
    let (code, row) = checked(&other, JETSTREAM);
    assert_eq!((code, &row["status"]), (Some(0), &json!("warn")), "{row}");
    let server = works(other).await;
    assert!(server.output().contains("may not change a stream"), "{}", server.output());
}

#[tokio::test]
async fn a_stream_that_the_log_cannot_live_on_is_refused_by_who_may_not_change_it() {
    let nats = Nats::configured(DENYING).await;
    let (app, admin) = (on(&nats.url_of("app:secret")), on(&nats.url_of("admin:secret")));
    assert_eq!(admin.run("migrate").0, Some(0));
    let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), "secret".to_owned());
    let context = async_nats::jetstream::new(options.connect(&nats.url).await.expect("a connection"));
    let mut stream = context.get_stream("REJOINDER_CHAIN_0").await.expect("it was made");
    let config = stream.info().await.expect("its state").config.clone();
    let blind = async_nats::jetstream::stream::Config { republish: None, ..config };
    context.update_stream(blind).await.expect("changed");
    assert_fails(&checked(&app, JETSTREAM), "republish", "infra/README.md");
    let ended = app.clone().try_start().await.expect_err("it does not start");
    until("the words", async || app.output().contains("republish").then_some(())).await;
    assert_eq!(ended.status.code(), Some(1));
    // Whoever may, mends it.
    works(admin).await;
    assert_works(&checked(&app, JETSTREAM));
}

#[tokio::test]
async fn jetstream_in_the_domain_of_a_hub_is_reached_through_a_leaf() {
    let port = free_port();
    let hub = format!("jetstream {{ domain: hub }}\nleafnodes {{ host: 127.0.0.1, port: {port} }}\n");
    let _hub = Nats::configured(&hub).await;
    let leaf = format!("leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}\n");
    let leaf = Nats::without_jetstream(&leaf).await;
    let config = on(&leaf.url).env("NATS_DOMAIN", "hub");
    until("the leaf to reach its hub", async || (checked(&config, JETSTREAM).0 == Some(0)).then_some(())).await;
    assert_fails(&checked(&on(&leaf.url), JETSTREAM), "no JetStream", "NATS_DOMAIN");
    let other = on(&leaf.url).env("NATS_DOMAIN", "elsewhere");
    assert_fails(&checked(&other, JETSTREAM), "in the domain elsewhere", "NATS_DOMAIN");
    works(config).await;
}

const IMPORTING: &str = "
accounts {
  HUB: {
    jetstream: enabled
    users: [ { user: hub, password: secret } ]
    exports: [
      { service: \"$JS.API.>\", response_type: stream }
      { service: \"rejoinder.transcript.>\" }
      { service: \"rejoinder.chain.>\" }
      { service: \"rejoinder.snapshot.>\" }
      { service: \"rejoinder.pieces.>\" }
      { service: \"rejoinder.tickets.>\" }
      { service: \"$O.REJOINDER_BLOBS.>\" }
      { stream: \"rejoinder.stored.>\" }
    ]
  }
  APP: {
    users: [ { user: app, password: secret } ]
    imports: [
      { service: { account: HUB, subject: \"$JS.API.>\" }, to: \"JS.hub.API.>\" }
      { service: { account: HUB, subject: \"rejoinder.transcript.>\" } }
      { service: { account: HUB, subject: \"rejoinder.chain.>\" } }
      { service: { account: HUB, subject: \"rejoinder.snapshot.>\" } }
      { service: { account: HUB, subject: \"rejoinder.pieces.>\" } }
      { service: { account: HUB, subject: \"rejoinder.tickets.>\" } }
      { service: { account: HUB, subject: \"$O.REJOINDER_BLOBS.>\" } }
      { stream: { account: HUB, subject: \"rejoinder.stored.>\" } }
    ]
  }
}
";

#[tokio::test]
async fn jetstream_that_an_account_imports_is_reached_under_its_prefix() {
    let nats = Nats::configured(IMPORTING).await;
    let config = on(&nats.url_of("app:secret"));
    assert_fails(&checked(&config, JETSTREAM), "no JetStream", "NATS_API_PREFIX");
    let other = config.clone().env("NATS_API_PREFIX", "JS.elsewhere.API");
    assert_fails(&checked(&other, JETSTREAM), "under JS.elsewhere.API", "NATS_API_PREFIX");
    let config = config.env("NATS_API_PREFIX", "JS.hub.API");
    assert_works(&checked(&config, JETSTREAM));
    works(config.clone()).await;
    assert_works(&checked(&config, JETSTREAM));
    let (code, printed) = config.env("NATS_DOMAIN", "hub").run("check");
    assert!(code == Some(1) && printed.contains("nothing beside NATS_DOMAIN"), "{printed}");
}
