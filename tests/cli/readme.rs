//! What README shows, run as it stands there; only the port is another one. The code for Node and Python is run by the
//! tests of these clients.

use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;

use crate::markdown::{Block, commands, paths, readme};
use crate::shell::Shell;
use crate::support::ports::free_port;
use crate::support::server::Server;
use crate::support::voice::{Fault, Voice, sound};
use crate::support::{Api, Value, json};

/// Who runs each block. One that is not here is shown to readers and tried by nobody.
const RUN_BY: [(&str, &str, &str); 13] = [
    ("rejoinder", "sh", "tests/cli/readme.rs"),
    ("Kill it, and rejoin", "sh", "tests/cli/readme.rs"),
    ("Use it", "python", "tests/clients/python/test_readme.py"),
    ("Rejoin by yourself", "js", "tests/clients/node/readme.test.js"),
    ("Rejoin by yourself", "python", "tests/clients/python/test_readme.py"),
    ("useChat", "jsx", "tests/clients/node/use-chat.test.js"),
    ("Agents", "toml", "tests/clients/python/test_codex.py"),
    ("Webhooks", "python", "tests/clients/python/test_readme.py"),
    ("Let others in", "sh", "tests/cli/readme.rs"),
    ("A reply that is spoken", "sh", "tests/cli/readme.rs"),
    ("From a voice to a voice", "sh", "tests/cli/readme.rs"),
    ("Many instances", "sh", "tests/cli/readme.rs"),
    ("Commands", "console", "tests/cli/check.rs"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn block(section: &str, language: &str) -> String {
    let found = readme().1.into_iter().find(|block| block.section == section && block.language == language);
    found.unwrap_or_else(|| panic!("no {language} under “{section}”")).text
}

#[test]
fn every_block_of_code_has_a_test_that_runs_it() {
    let shown: Vec<_> = readme().1.into_iter().map(|Block { section, language, .. }| (section, language)).collect();
    let run: Vec<_> = RUN_BY.iter().map(|(section, language, _)| (section.to_string(), language.to_string())).collect();
    assert_eq!(shown, run, "a block of README that no test runs, or a test without its block");
    for (section, _, test) in RUN_BY {
        let code = std::fs::read_to_string(root().join(test)).expect(test);
        assert!(code.contains(section), "{test} does not run “{section}”");
    }
}

#[test]
fn every_command_line_is_one_that_the_binary_takes() {
    let prose = readme().0 + include_str!("../bench/README.md");
    let lines: Vec<_> = commands(&prose).collect();
    assert!(lines.iter().filter(|line| line.starts_with("rejoinder bench ")).count() >= 4, "{lines:?}");
    for line in lines {
        // Where README says P, the reader puts a process; a command that is only named has its help.
        let words = line.split(' ').map(|word| if word == "P" { "1" } else { word });
        let help = (words.clone().count() == 2).then_some("--help");
        if let Err(error) = rejoinder::cli::Cli::try_parse_from(words.chain(help)) {
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line}: {error}");
        }
    }
}

#[test]
fn every_file_that_is_named_is_there() {
    let (prose, blocks) = readme();
    let text = blocks.into_iter().map(|block| block.text).fold(prose, |all, text| all + &text);
    let named: Vec<_> = paths(&text).collect();
    assert!(named.contains(&"tests/run") && named.contains(&".env.example"), "{named:?}");
    for path in named {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn every_variable_is_in_the_list_of_all() {
    let all = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let (prose, _) = readme();
    let rows = prose.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let names = rows.flat_map(|(cell, _)| cell.split("`, `")).filter(|name| !name.contains(' '));
    let mut count = 0;
    for name in names.filter(|name| name.chars().all(|char| char.is_ascii_uppercase() || char == '_')) {
        assert!(all.contains(&format!("\n#{name}=")), "{name}");
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[tokio::test]
async fn the_first_commands_start_a_server() {
    let block = block("rejoinder", "sh");
    let (servers, others): (Vec<_>, Vec<_>) = block.lines().partition(|line| line.contains("cargo run --release"));
    // `tests/run` runs this very test.
    assert!(servers.len() == 2 && others.len() == 1 && others[0].starts_with("tests/run "), "{block}");
    for line in servers {
        let mut shell = Shell::start(line, 0);
        let base = shell.server().await;
        assert_eq!(Api::new(&base).get("/livez").await.status, 200, "{line}");
    }
    let answer = {
        let server = Server::bare().start().await;
        server.api().post("/v1/responses", json!({"input": "Hello"})).await.ok()
    };
    assert_eq!(answer["status"], "completed", "without a set-up there is a built-in model");
}

#[tokio::test]
async fn the_demo_goes_on_after_the_last_event_that_the_file_has() {
    let (code, port) = (block("Kill it, and rejoin", "sh"), free_port());
    let mut shell = Shell::start(&code.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")), port);
    let shown = shell.output().await;
    let (before, after) = (events(&shell.file("reply.sse")), events(&shown));
    let numbers: Vec<_> = before.iter().chain(&after).map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{shown}");
    assert!(before.len() > 9 && after.len() > 9, "killed in the middle: {} and {}", before.len(), after.len());
    let said: String = before.iter().chain(&after).filter_map(|event| event["delta"].as_str()).collect();
    let asked = code.split_once(r#""input":""#).and_then(|(_, rest)| rest.split_once('"')).expect("an input").0;
    assert_eq!(said, asked);
    assert_eq!(after.last().unwrap()["type"], "response.completed");
}

#[tokio::test]
async fn a_key_lets_its_user_in() {
    let (code, port) = (block("Let others in", "sh"), free_port());
    let mut shell = Shell::start(&code.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")), port);
    let shown = shell.output().await;
    let answer = shown.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no answer in {shown}"));
    // `curl` ends its output without a line feed, so that a line of the server's log may follow on the same line.
    let answer = serde_json::Deserializer::from_str(answer).into_iter::<Value>().next().unwrap().unwrap();
    assert_eq!(answer["output"][0]["content"][0]["text"], "Hello", "{answer}");
}

#[tokio::test]
async fn a_reply_is_heard() {
    let server = Server::bare().start().await;
    let code = block("A reply that is spoken", "sh").replace("http://127.0.0.1:8080", &server.base);
    let mut shell = Shell::start(&code, 0);
    shell.output().await;
    let heard = shell.bytes("reply.wav");
    assert!(heard.starts_with(b"RIFF") && heard.len() > 24_000, "{} bytes", heard.len());
}

#[tokio::test]
async fn a_word_goes_from_a_voice_to_a_voice() {
    let (code, port) = (block("From a voice to a voice", "sh"), free_port());
    let (install, code) = code.split_once('\n').expect("what it needs first");
    assert!(install.contains("apt-get install"), "{install}");
    let mut shell = Shell::start(&code.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")), port);
    shell.output().await;
    let answer: Value = serde_json::from_str(&shell.file("answer.json")).expect("an answer");
    assert_eq!(answer["choices"][0]["message"]["content"], "telephone", "{answer}");
    let heard = shell.bytes("answer.wav");
    assert!(heard.starts_with(b"RIFF") && heard.len() > 10_000, "{} bytes", heard.len());
}

#[tokio::test]
async fn the_second_speech_server_of_the_file_speaks_where_the_first_fails() {
    let (first, second) = (Voice::start(Fault::Status(500)).await, Voice::start(Fault::None).await);
    let (_, voices) = include_str!("../../rejoinder.example.toml").split_once("# Speech servers").expect("voices last");
    let (_, voices) = voices.split_once('\n').expect("a heading");
    let file = voices
        .replace("http://kokoro:8880/v1", &first.base_url())
        .replace("https://api.openai.com/v1", &second.base_url());
    let config = Server::bare().env("REJOINDER_CONFIG", "rejoinder.toml").env("OPENAI_KEY_1", "sk");
    std::fs::write(config.data_dir().join("rejoinder.toml"), file).unwrap();
    let server = config.env("TTS_COMMAND", "off").start().await;
    let heard = server.api().post("/v1/audio/speech", json!({"input": "Tea.", "response_format": "pcm"})).await;
    assert_eq!(heard.body.len(), sound("Tea.").len() * 2);
    let asked = &first.heard()[0].body;
    assert_eq!((&asked["model"], &asked["voice"]), (&json!("kokoro"), &json!("af_heart")));
    assert_eq!(second.texts(), ["Tea."]);
    let health = server.api().get("/healthz").await.ok();
    let names: Vec<_> = health["upstreams"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["kokoro", "hosted"]);
}

#[tokio::test]
async fn two_instances_on_one_nats_are_one_server() {
    let (nats, one, other) = (free_port(), free_port(), free_port());
    let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let code = block("Many instances", "sh")
        .replace(
            "nats-server --jetstream",
            &format!("{program} --addr 127.0.0.1 --port {nats} --store_dir nats --jetstream"),
        )
        .replace(":4222", &format!(":{nats}"))
        .replace("PORT=8081", &format!("PORT={one}"))
        .replace("PORT=8082", &format!("PORT={other}"));
    let mut shell = Shell::start(&code, 0);
    let (one, other) = (Api::new(&shell.server().await), Api::new(&shell.server().await));
    let said = one.post("/v1/responses", json!({"model": "echo", "input": "here and there"})).await.ok();
    let read = other.get(&format!("/v1/responses/{}", said["id"].as_str().unwrap())).await.ok();
    assert_eq!(read, said);
}

/// The events in what curl wrote. The last one may be cut off.
fn events(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}
