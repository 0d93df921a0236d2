//! `rejoinder check`: what it says of a configuration that works, and of each that does not.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::run::{Ran, rejoinder_in};
use crate::support::postgres::{PASSWORD, shared};
use crate::support::upstream::Upstream;
use crate::support::{Value, json, server::Server};

/// Checks with these variables, and a port that nobody else has.
async fn check(directory: &Path, environment: &[(&str, &str)], words: &str) -> Ran {
    let environment = [&[("PORT", "0")], environment].concat();
    rejoinder_in(directory, &environment, words).await
}

/// Checks in a directory of its own, and gives what a script gets.
async fn report(environment: &[(&str, &str)], words: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let ran = check(directory.path(), environment, words).await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something was made");
    Report::of(&ran)
}

#[derive(Debug)]
struct Report {
    code: i32,
    json: Value,
}

impl Report {
    fn of(ran: &Ran) -> Self {
        let json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        Self { code: ran.code, json }
    }

    /// The only row about `what`.
    #[track_caller]
    fn row(&self, what: &str) -> &Value {
        let rows: Vec<_> = self.rows().iter().filter(|row| row["check"] == what).collect();
        assert_eq!(rows.len(), 1, "{what}: {self:?}");
        rows[0]
    }

    fn rows(&self) -> &[Value] {
        self.json["rows"].as_array().expect("rows")
    }

    /// That a thing fails, for this cause, and that this is what to change.
    #[track_caller]
    fn fails(&self, what: &str, why: &str, change: &str) {
        let row = self.row(what);
        assert_eq!((self.code, &row["status"], &self.json["works"]), (1, &json!("fail"), &json!(false)), "{self:?}");
        assert!(row["why"].as_str().is_some_and(|text| text.contains(why)), "{row}");
        assert!(row["change"].as_str().is_some_and(|text| text.contains(change)), "{row}");
    }
}

/// A port that refuses: it is taken, so that nobody else gets it, and nobody listens.
fn refusing() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// Answers everything with this, on a port of its own.
async fn answering(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    base
}

#[tokio::test]
async fn what_works_is_a_table_and_nothing_is_made() {
    let (upstream, directory) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let base = upstream.base_url();
    let environment = [("LLM_BASE_URL", base.as_str()), ("LLM_MODEL", "truth"), ("LLM_API_KEY", "sk-hidden")];
    let ran = check(directory.path(), &environment, "check").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for what in ["configuration", "address", "log", "store", "model: connect", "model: list", "model: default"] {
        assert!(ran.out.lines().any(|line| line.starts_with(what) && line.contains("  ok  ")), "{what}: {}", ran.out);
    }
    assert!(ran.out.contains("2 models") && ran.out.ends_with("\nEverything works.\n"), "{}", ran.out);
    assert!(!ran.out.contains("hidden") && !ran.out.contains('\u{1b}'), "{}", ran.out);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something was made");
    assert!(upstream.heard("").is_empty(), "nobody asked it to say anything");
}

#[tokio::test]
async fn a_script_gets_the_same_as_json() {
    let upstream = Upstream::start().await;
    let report = report(&[("LLM_BASE_URL", &upstream.base_url())], "check --json").await;
    assert_eq!((report.code, &report.json["works"], &report.json["failures"]), (0, &json!(true), &json!(0)));
    assert!(report.row("model: list")["took_ms"].as_f64() > Some(0.0), "{report:?}");
    // The first is taken because it comes first: that is worth knowing, and no failure.
    assert_eq!(
        (&report.row("model: default")["value"], &report.row("model: default")["status"]),
        (&json!("truth"), &json!("note"))
    );
}

#[tokio::test]
async fn a_deep_check_has_the_model_say_a_word() {
    let upstream = Upstream::start().await;
    let report = report(&[("LLM_BASE_URL", &upstream.base_url())], "check --deep --json").await;
    let answer = report.row("model: answer");
    assert_eq!((report.code, &answer["status"], &answer["value"]), (0, &json!("ok"), &json!("truth")), "{report:?}");
    assert!(answer["detail"].as_str().unwrap().contains("first token") && answer["took_ms"].is_number());
    let heard = upstream.heard_once("");
    assert_eq!((&heard.body["model"], &heard.body["max_tokens"]), (&json!("truth"), &json!(16)));
}

#[tokio::test]
async fn a_model_that_is_not_listed_fails_unless_it_answers_all_the_same() {
    let upstream = Upstream::start().await;
    let environment = [("LLM_BASE_URL", &*upstream.base_url()), ("LLM_MODEL", "trith")];
    report(&environment, "check --json").await.fails("model: default", "truth, other", "LLM_MODEL");
    let deep = report(&environment, "check --deep --json").await;
    assert_eq!((deep.code, &deep.row("model: default")["status"]), (0, &json!("warn")), "{deep:?}");
}

#[tokio::test]
async fn an_address_without_its_version_is_told_with_the_right_one() {
    let upstream = Upstream::start().await;
    let base = upstream.base_url();
    let root = base.strip_suffix("/v1").unwrap();
    for wrong in [root.to_owned(), format!("{root}/api")] {
        let report = report(&[("LLM_BASE_URL", &wrong)], "check --json").await;
        report.fails("model: list", "lists 2 models", &format!("LLM_BASE_URL={base}"));
    }
}

#[tokio::test]
async fn an_address_that_refuses_or_has_no_name_is_told() {
    let (_taken, port) = refusing();
    let refusing = report(&[("LLM_BASE_URL", &format!("http://127.0.0.1:{port}/v1"))], "check --deep --json").await;
    refusing.fails("model: connect", "refused", "LLM_BASE_URL");
    assert!(refusing.row("model: answer")["detail"].as_str().unwrap().contains("not tried"));
    let nameless = report(&[("LLM_BASE_URL", "http://no-such-name.invalid/v1")], "check --json").await;
    nameless.fails("model: resolve", "", "LLM_BASE_URL");
}

#[tokio::test]
async fn a_server_behind_a_proxy_needs_no_way_of_its_own() {
    let list = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"data\":[{\"id\":\"a\"}]}";
    let refusal = "HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
    for (answer, code, status) in [(list, 0, "note"), (refusal, 1, "fail")] {
        let proxy = answering(answer).await.replace("/v1", "");
        let environment = [("LLM_BASE_URL", "http://no-such-name.invalid/v1"), ("HTTP_PROXY", &proxy)];
        let report = report(&environment, "check --json").await;
        let statuses = (&report.row("model: resolve")["status"], &report.row("model: list")["status"]);
        assert_eq!(report.code, code, "{report:?}");
        assert_eq!(statuses, (&json!(status), &json!(if code == 0 { "ok" } else { "fail" })), "{report:?}");
    }
}

#[tokio::test]
async fn a_key_that_can_be_read_on_its_way_is_told_of_whoever_it_is_for() {
    let list = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"data\":[{\"id\":\"a\"}]}";
    let proxy = answering(list).await.replace("/v1", "");
    let (model, voice) = ("http://no-such-name.invalid/v1", "http://no-such-voice.invalid/v1");
    let keys = [
        ("LLM_BASE_URL", model),
        ("LLM_API_KEY", "sk-a"),
        ("TTS_BASE_URL", voice),
        ("TTS_API_KEY", "sk-b"),
        ("ASR_BASE_URL", voice),
        ("ASR_API_KEY", "sk-c"),
    ];
    for (through, told) in
        [(None, "http:// to another machine"), (Some(("HTTP_PROXY", proxy.as_str())), "the proxy of HTTP_PROXY")]
    {
        let environment: Vec<_> = keys.into_iter().chain(through).collect();
        let report = report(&environment, "check --json").await;
        for what in ["model: key", "speech: key", "hearing: key"] {
            let row = report.row(what);
            assert_eq!((&row["status"], &row["detail"]), (&json!("warn"), &json!("the key travels in clear")), "{row}");
            assert!(row["why"].as_str().is_some_and(|why| why.contains(told)), "{row}");
        }
    }
    let none = report(
        &[("LLM_BASE_URL", "http://127.0.0.1:1/v1"), ("LLM_API_KEY", "sk-a"), ("HTTP_PROXY", &proxy)],
        "check --json",
    )
    .await;
    assert!(!none.json.to_string().contains("in clear"), "{}", none.json);
}

#[tokio::test]
async fn a_black_hole_is_given_up() {
    // Its queue is full, and nobody takes from it: the system drops further connections without a word.
    let (hole, _) = refusing();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap();
    let mut filling = Vec::new();
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        filling.push(socket);
    }
    let base = format!("http://{}/v1", address.as_socket().unwrap());
    report(&[("LLM_BASE_URL", &base)], "check --json").await.fails("model: connect", "within 3 s", "LLM_BASE_URL");
}

#[tokio::test]
async fn each_answer_that_is_no_list_is_told_for_what_it_is() {
    for (answer, why, change) in [
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "401", "LLM_API_KEY"),
        ("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", "502", "the model server"),
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "404", "LLM_BASE_URL"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "no list of models", "LLM_BASE_URL"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"data\":[]}", "the first that it lists", "LLM_MODEL"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "", "LLM_BASE_URL"),
    ] {
        let base = answering(answer).await;
        let report = report(&[("LLM_BASE_URL", &base), ("LLM_API_KEY", "sk-hidden")], "check --json").await;
        report.fails("model: list", why, change);
        assert!(!report.json.to_string().contains("hidden"), "{report:?}");
    }
    // Without a list a named model may do; with a redirect nothing does.
    for (answer, code) in [
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", 0),
        ("HTTP/1.1 301 There\r\nlocation: https://x.invalid/v1\r\ncontent-length: 0\r\n\r\n", 1),
    ] {
        let base = answering(answer).await;
        let report = report(&[("LLM_BASE_URL", &base), ("LLM_MODEL", "a")], "check --json").await;
        assert_eq!(report.code, code, "{report:?}");
    }
    let plain = answering("HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n").await.replace("http:", "https:");
    report(&[("LLM_BASE_URL", &plain)], "check --json").await.fails("model: list", "", "http://");
}

#[tokio::test]
async fn every_wrong_value_is_told_at_once() {
    let environment = [
        ("LLM_BASE_URL", "localhost:11434"),
        ("HEARTBEAT", "15"),
        ("LLM_API_KEY", "sk hidden"),
        ("PORT", "http"),
        ("LLM_MODLE", "x"),
    ];
    let report = report(&environment, "check --json").await;
    let wrong: Vec<_> = report.rows().iter().filter(|row| row["check"] == "configuration").collect();
    let values: Vec<_> = wrong.iter().map(|row| row["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["LLM_BASE_URL=localhost:11434", "LLM_API_KEY=***", "PORT=http", "HEARTBEAT=15", "LLM_MODLE"]);
    assert!(wrong[3]["why"].as_str().unwrap().contains("a duration such as"), "{report:?}");
    assert!(wrong[3]["change"].as_str().unwrap().contains("HEARTBEAT=15s"), "{report:?}");
    assert_eq!((report.code, &wrong[4]["status"]), (1, &json!("warn")));
    // What was meant is not known, and the rest is.
    assert!(report.row("model")["detail"].as_str().unwrap().contains("LLM_BASE_URL is wrong"));
    assert!(report.row("address")["detail"].as_str().unwrap().contains("PORT is wrong"));
    assert_eq!(report.row("log")["status"], "ok");
}

#[tokio::test]
async fn a_broken_file_of_settings_is_told_and_not_quoted() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "LLM_MODEL=a\nLLM_API_KEY=\"hidden\n").unwrap();
    let ran = check(directory.path(), &[], "check --json").await;
    Report::of(&ran).fails("configuration", "NAME=value", ".env");
    assert!(!ran.out.contains("hidden"), "{ran:?}");
}

#[tokio::test]
async fn a_directory_that_cannot_be_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let report = report(&[("DATA_DIR", &format!("{}/data", file.display()))], "check --json").await;
    report.fails("log", "is a file", "DATA_DIR");
    report.fails("store", "Not a directory", "DATABASE_URL");
}

#[tokio::test]
async fn a_store_is_looked_at_where_it_would_be() {
    let below = report(&[("DATABASE_URL", "sqlite:x.db")], "check --json").await;
    assert_eq!((below.code, &below.row("store")["status"]), (0, &json!("ok")), "{below:?}");
    // Nobody makes files there, not even root.
    report(&[("DATABASE_URL", "sqlite:/proc/x.db")], "check --json").await.fails("store", "", "DATABASE_URL");
}

/// Checks with a Postgres, and gives what a script gets; the password shows nowhere.
async fn postgres_report(url: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let environment = [("DATABASE_URL", url), ("RUST_LOG", "trace")];
    for words in ["check", "migrate --dry-run"] {
        let ran = check(directory.path(), &environment, words).await;
        assert!(!ran.out.contains(PASSWORD) && !ran.err.contains(PASSWORD), "{ran:?}");
    }
    report(&environment, "check --json").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_is_told_step_by_step() {
    let database = shared().database();
    let works = postgres_report(&shared().url(&database)).await;
    assert_eq!((works.code, &works.row("store: connect")["status"]), (0, &json!("ok")), "{works:?}");
    let detail = works.row("store")["detail"].as_str().unwrap();
    assert!(detail.starts_with("PostgreSQL ") && detail.ends_with("its tables will be made"), "{works:?}");
    assert_eq!(works.row("store")["value"], format!("postgres://rejoinder@127.0.0.1:{}/{database}", shared().port()));
    let named = postgres_report(&shared().url(&database).replace("127.0.0.1", "localhost")).await;
    assert_eq!((named.code, &named.row("store: resolve")["status"]), (0, &json!("ok")), "{named:?}");
    let socket = postgres_report(&shared().socket_url(&database)).await;
    assert_eq!((socket.code, &socket.row("store")["status"]), (0, &json!("ok")), "{socket:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_is_wrong_with_a_postgres_is_told_with_what_to_change() {
    let good = shared().url(&shared().database());
    let (_taken, port) = refusing();
    let wrong_password = good.replace(PASSWORD, &format!("not-{PASSWORD}"));
    let refused = good.replace(&format!(":{}/", shared().port()), &format!(":{port}/"));
    shared().sql("postgres", "CREATE ROLE guest LOGIN PASSWORD 'pw-of-tests'");
    let guest = good.replace("//rejoinder:", "//guest:");
    for (url, what, why, change) in [
        (wrong_password.as_str(), "store", "password authentication failed", "the password in DATABASE_URL"),
        (&format!("{good}_not"), "store", "does not exist", "createdb"),
        (&refused, "store: connect", "refused", "DATABASE_URL"),
        (&good.replace("127.0.0.1", "no-such-name.invalid"), "store: resolve", "", "DATABASE_URL"),
        (&format!("{good}?sslmode=require"), "store", "TLS", "sslmode"),
        (&guest, "store", "may not make tables", "GRANT CREATE"),
    ] {
        postgres_report(url).await.fails(what, why, change);
    }
    let malformed = report(&[("DATABASE_URL", &format!("{good}?sslmod=x"))], "check --json").await;
    malformed.fails("configuration", "sslmod is no parameter", "DATABASE_URL");
    assert!(!malformed.json.to_string().contains(PASSWORD), "{malformed:?}");
}

#[tokio::test]
async fn a_disk_without_space_and_a_file_that_is_no_database_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "no database, but long enough to be looked at ".repeat(20)).unwrap();
    let url = format!("sqlite:{}", file.display());
    let report = report(&[("MIN_FREE_DISK", "9999999GiB"), ("DATABASE_URL", &url)], "check --json").await;
    report.fails("log", "MIN_FREE_DISK wants", "MIN_FREE_DISK=64MiB");
    report.fails("store", "not a database", "DATABASE_URL");
}

/// The only segment of the transcripts of a server.
fn transcripts(directory: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory.join("data/log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("t-")).max().unwrap()
}

#[tokio::test]
async fn a_damaged_log_is_told_with_what_is_lost_and_whether_the_store_has_it() {
    let config = Server::bare();
    let directory = config.data_dir().to_owned();
    let server = config.start().await;
    let echoed = |text: &str| json!({"model": "echo", "input": text});
    server.api().post("/v1/responses", echoed("a first reply")).await.ok();
    server.api().post("/v1/responses", echoed("the one that is hit")).await.ok();
    server.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;
    let running = Report::of(&check(&directory, &[], "check --json").await);
    let row = running.row("log: records");
    assert_eq!((running.code, &row["status"]), (0, &json!("ok")), "{running:?}");
    let config = server.stop();
    let stopped = Report::of(&check(&directory, &[], "check --json").await);
    assert_eq!(stopped.row("log: records")["status"], "ok");
    assert!(stopped.row("log: records")["detail"].as_str().unwrap().contains(" records in 2 segments"), "{stopped:?}");

    let path = transcripts(&directory);
    let mut content = std::fs::read(&path).unwrap();
    let at = content.windows(19).position(|part| part == b"the one that is hit").unwrap();
    content[at] ^= 1;
    std::fs::write(&path, &content).unwrap();
    let damaged = Report::of(&check(&directory, &[], "check --json").await);
    let row = damaged.row("log: records");
    assert_eq!((damaged.code, &row["status"]), (0, &json!("warn")), "{damaged:?}");
    assert!(row["why"].as_str().unwrap().starts_with("record 1 of thread "), "{row}");
    assert!(row["change"].as_str().unwrap().starts_with("nothing: the store has"), "{row}");
    assert_eq!(std::fs::read(&path).unwrap(), content, "a check changes nothing");

    // A store that is made anew lacks it.
    for file in std::fs::read_dir(directory.join("data")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("rejoinder.db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    let without = Report::of(&check(&directory, &[], "check --json").await);
    assert!(without.row("log: records")["change"].as_str().unwrap().contains("could not be asked"), "{without:?}");
    let server = config.start().await;
    let runs = Report::of(&check(&directory, &[], "check --json").await);
    assert_eq!(runs.row("log: records")["status"], "warn", "also while a server runs: {runs:?}");
    drop(server);
}

#[tokio::test]
async fn a_log_of_an_older_form_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("data/log/keyspaces")).unwrap();
    let data = directory.path().join("data");
    let ran = check(directory.path(), &[("DATA_DIR", data.to_str().unwrap())], "check --json").await;
    Report::of(&ran).fails("log", "an older version of rejoinder", "mv ");
}

#[tokio::test]
async fn a_server_that_runs_is_noticed_and_not_disturbed() {
    let config = Server::bare();
    let directory = config.data_dir().to_owned();
    let server = config.start().await;
    let port = server.base.rsplit(':').next().unwrap();
    let report = Report::of(&check(&directory, &[("PORT", port)], "check --json").await);
    assert_eq!(report.code, 0, "{report:?}");
    for (what, words) in [("log", "in use by a running server"), ("address", "a rejoinder listens here")] {
        assert_eq!(report.row(what)["status"], "warn", "{report:?}");
        assert!(report.row(what)["detail"].as_str().unwrap().contains(words), "{report:?}");
    }
    assert!(report.row("store")["detail"].as_str().unwrap().contains("up to date"), "{report:?}");
    let said = server.api().post("/v1/responses", json!({"model": "echo", "input": "still here"})).await.ok();
    assert_eq!(said["output"][0]["content"][0]["text"], "still here");
}

#[tokio::test]
async fn a_port_of_another_program_is_told() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    report(&[("PORT", &port)], "check --json").await.fails("address", "in use", "PORT=");
    report(&[("HOST", "192.0.2.1"), ("AUTH", "none")], "check --json").await.fails("address", "", "HOST=127.0.0.1");
}

#[tokio::test]
async fn a_collector_that_is_away_is_a_warning() {
    let (_taken, port) = refusing();
    let endpoint = format!("http://127.0.0.1:{port}");
    let report = report(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], "check --json").await;
    let row = report.row("traces: connect");
    assert_eq!((report.code, &row["status"], &report.json["warnings"]), (0, &json!("warn"), &json!(1)), "{report:?}");
    assert!(row["change"].as_str().unwrap().contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
}

#[tokio::test]
async fn a_wrong_word_is_told_from_a_wrong_setting() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(check(directory.path(), &[], "check --deeper").await.code, 2);
    assert_eq!(check(directory.path(), &[("LLM_MODEL", "llama")], "check").await.code, 1);
}

#[tokio::test]
async fn the_sample_under_commands_in_readme_is_what_it_prints() {
    let (_, blocks) = crate::markdown::readme();
    let shown = blocks.into_iter().find(|block| block.section == "Commands").expect("a sample").text;
    let (command, shown) = shown.split_once('\n').unwrap();
    assert!(command.starts_with("$ LLM_BASE_URL=http://localhost:") && command.ends_with(" rejoinder check"));
    let upstream = Upstream::start().await;
    let base = format!("http://localhost:{}", upstream.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1"));
    let directory = tempfile::tempdir().unwrap();
    let ran = check(directory.path(), &[("LLM_BASE_URL", &base)], "check").await;
    // The test asks for any port besides.
    let printed = ran.out.replace("2 variables are set", "1 variable is set").replace("any port that is free", "free");
    assert_eq!(without_numbers(&printed), without_numbers(shown));
}

/// A text whose numbers and whose columns are those of any machine.
fn without_numbers(text: &str) -> Vec<String> {
    let plain = text.replace(|char: char| char.is_ascii_digit(), "0");
    let short = |word: &str| word.split('0').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("0");
    plain.lines().map(|line| line.split_whitespace().map(short).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn endpoints_of_webhooks_are_reached_and_private_ones_only_if_that_is_meant() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let file = format!("[[webhook]]\nurl = \"http://127.0.0.1:{port}/secret-path\"\nsecret = \"HOOK_SECRET\"\n");
    std::fs::write(directory.path().join("file.toml"), file).unwrap();
    let environment = [("REJOINDER_CONFIG", "file.toml"), ("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    let ran = check(directory.path(), &environment, "check --json").await;
    Report::of(&ran).fails("webhook", "127.0.0.1 is not an address of the public internet", "WEBHOOK_ALLOW_PRIVATE=on");
    let allowed = [&environment[..], &[("WEBHOOK_ALLOW_PRIVATE", "on")]].concat();
    let allowed = check(directory.path(), &allowed, "check --json").await;
    assert_eq!(Report::of(&allowed).row("webhook: connect")["status"], "ok");
    for told in [&ran.out, &allowed.out] {
        assert!(!told.contains("secret-path") && !told.contains("MfKQ9r"), "{told}");
    }
}
