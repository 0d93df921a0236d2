//! The file of several servers: the example in the repository, tried as it stands there, but for the addresses; and
//! what `rejoinder check` says of it, right and wrong, and of a server that runs with it.

use std::path::Path;

use crate::run::{Ran, rejoinder_in};
use crate::support::server::Server;
use crate::support::upstream::{Manner, Upstream};
use crate::support::{Value, json, prompt, truth, whole, with};
use crate::tls;

/// The example's model servers, with these addresses.
fn shown(gpu: &str, hosted: &str) -> String {
    let text = include_str!("../../rejoinder.example.toml");
    let (models, _) = text.split_once("# Servers that transcribe").expect("model servers come first");
    let text = models.replace("http://gpu:8000/v1", gpu).replace("https://api.openai.com/v1", hosted);
    assert!(text.contains(gpu) && text.contains(hosted), "{text}");
    text
}

async fn check(directory: &Path, more: &[(&str, &str)]) -> (Ran, Vec<Value>) {
    let usual =
        [("PORT", "0"), ("REJOINDER_CONFIG", "rejoinder.toml"), ("OPENAI_KEY_1", "sk-1"), ("OPENAI_KEY_2", "sk-2")];
    let ran = rejoinder_in(directory, &[&usual[..], more].concat(), "check --json").await;
    let json: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran, json["rows"].as_array().expect("rows").clone())
}

#[tokio::test]
async fn the_example_file_is_read_and_does_what_it_says() {
    let (gpu, hosted) = (Upstream::start().await, Upstream::start().await);
    for upstream in [&gpu, &hosted] {
        upstream.add_models(["meta-llama/Llama-3.3-70B-Instruct", "gpt-4.1-mini"].map(str::to_owned));
    }
    let config = Server::before_several(&[]);
    let config =
        ["1", "2"].into_iter().fold(config, |config, number| config.env(&format!("OPENAI_KEY_{number}"), "sk"));
    std::fs::write(config.data_dir().join("rejoinder.toml"), shown(&gpu.base_url(), &hosted.base_url())).unwrap();
    let server = config.env("LLM_MODEL", "").start().await;
    let said = server.api().post("/v1/responses", json!({"input": prompt(3, "gpu")})).await.ok();
    assert_eq!(said["model"], "llama-3.3-70b");
    assert_eq!(gpu.heard_once("gpu").body["model"], "meta-llama/Llama-3.3-70B-Instruct");
    let other = with(whole(&prompt(3, "hosted")), json!({"model": "anything"}));
    let said = server.api().post("/v1/responses", other).await.ok();
    assert_eq!(said["output"][0]["content"][0]["text"], truth(&prompt(3, "hosted")));
    assert_eq!(hosted.heard_once("hosted").body["model"], "gpt-4.1-mini");
    let headers = hosted.heard_once("hosted").headers;
    assert_eq!(headers["authorization"], "Bearer sk");
}

#[tokio::test]
async fn each_server_of_a_file_is_tried() {
    let (gpu, directory) = (Upstream::start().await, tempfile::tempdir().unwrap());
    gpu.add_models(["llama-3.3-70b".to_owned()]);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let file = shown(&gpu.base_url(), &format!("http://{nobody}/v1"));
    std::fs::write(directory.path().join("rejoinder.toml"), file).unwrap();
    let (ran, rows) = check(directory.path(), &[]).await;
    let of = |what: &str, name: &str| {
        let is_it = |row: &&Value| row["check"] == what && row["value"].as_str().unwrap().starts_with(name);
        rows.iter().find(is_it).unwrap_or_else(|| panic!("{what} {name}: {ran:?}"))["status"].clone()
    };
    assert_eq!((of("model: list", "gpu: "), of("model: connect", "hosted: ")), (json!("ok"), json!("fail")));
    assert_eq!(ran.code, 1);
    assert!(!ran.out.contains("sk-"), "{}", ran.out);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_file_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[[llm]]\nbase_url = \"gpu\"\nkeys = [\"KEY_X\"]\n\n[[llm]]\nbase_ulr = \"http://b/v1\"\n";
    std::fs::write(directory.path().join("rejoinder.toml"), file).unwrap();
    let (ran, rows) = check(directory.path(), &[]).await;
    let told: Vec<_> = rows.iter().filter(|row| row["check"] == "configuration").collect();
    for (value, why) in [
        ("rejoinder.toml, line 2, llm[0].base_url", "an address such as"),
        ("rejoinder.toml, line 3, llm[0].keys", "KEY_X is not"),
        ("rejoinder.toml, line 6, llm[1].base_url", "to be set"),
        ("rejoinder.toml, line 6, llm[1].base_ulr", "one of "),
    ] {
        let is_it = |row: &&&Value| row["value"].as_str().unwrap().contains(value);
        let row = told.iter().find(is_it).unwrap_or_else(|| panic!("{value}: {ran:?}"));
        assert!(row["why"].as_str().unwrap().contains(why), "{row}");
    }
    assert_eq!((told.len(), ran.code), (4, 1), "{ran:?}");
    assert!(rows.iter().any(|row| row["detail"] == "not tried: REJOINDER_CONFIG is wrong"), "{ran:?}");
}

#[tokio::test]
async fn beside_a_server_that_runs_it_is_told_how_its_services_are() {
    let (gpu, directory) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = format!("http://{nobody}/v1");
    let server = Server::before_several(&[("gpu", &gpu.base_url(), ""), ("away", &away, "")]).start().await;
    let is_open = |answer: &crate::support::Answer| answer.json()["upstreams"][1]["breaker"]["state"] == "open";
    server.poll("/healthz", is_open).await;
    let port = server.base.rsplit(':').next().unwrap();
    let ran = rejoinder_in(directory.path(), &[("PORT", port)], "check --json").await;
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let rows: Vec<_> = json["rows"].as_array().unwrap().iter().filter(|row| row["check"] == "running").collect();
    assert_eq!(rows.iter().map(|row| &row["status"]).collect::<Vec<_>>(), ["ok", "warn"], "{ran:?}");
    assert!(
        rows[0]["detail"].as_str().unwrap().contains("0 of 1000 calls in flight, 0 waiting; 2 models"),
        "{}",
        rows[0]
    );
    assert!(rows[1]["why"].as_str().unwrap().contains("onnection refused"), "{}", rows[1]);
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_if_that_is_said_and_http_2_is_spoken_where_it_is_offered() {
    let (upstream, directory) = (Upstream::start().await, tempfile::tempdir().unwrap());
    upstream.on("secure", Manner::paced(5));
    let plain = upstream.base_url().trim_end_matches("/v1").to_owned();
    for (offered, version) in [(&["h2", "http/1.1"][..], hyper::Version::HTTP_2), (&[], hyper::Version::HTTP_11)] {
        let certificate = directory.path().join("ca.pem");
        let base = tls::offering(offered, &plain, &certificate).await + "/v1";
        let set = |config: crate::support::server::Config| config.env("LLM_BASE_URL", &base).env("LLM_MODEL", "truth");
        let server = set(Server::bare()).env("UPSTREAM_CA_FILE", certificate.display()).start().await;
        let api = server.api();
        let about = format!("secure {version:?}");
        // More than share a connection.
        let replies = (0..100).map(async |_| api.post("/v1/responses", whole(&prompt(20, &about))).await.ok());
        for reply in futures_util::future::join_all(replies).await {
            assert_eq!(reply["status"], "completed", "{reply}");
        }
        assert!(upstream.heard(&about).iter().all(|heard| heard.version == version), "{version:?}");

        let untrusting = set(Server::bare()).start().await;
        untrusting.api().post("/v1/responses", whole("no")).await.refused(502, "server_error", Value::Null);
        let is_told = |answer: &crate::support::Answer| {
            let problem = answer.json()["upstreams"][0]["problem"].as_str().unwrap_or_default().to_lowercase();
            problem.contains("certificate") || problem.contains("unknownissuer")
        };
        untrusting.poll("/healthz", is_told).await;
    }
}
