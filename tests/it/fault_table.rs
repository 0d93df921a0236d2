//! Every fault of an upstream, before and after the first token, with and without a second upstream: what the client
//! sees, what is stored, how many calls that costs, and how long it takes. `tests/it/faults.md` is this table, and is held
//! against what really happens; `UPDATE=1` writes it anew.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{
    server::Server,
    upstream::{Break, Manner, Step, Upstream},
    *,
};

/// How long an upstream may stall. What takes less is at once.
const TIMEOUT: Duration = Duration::from_secs(6);

/// How long a whole reply may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Servers at once, on a machine that has other tests to run.
const AT_ONCE: usize = 12;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faults.md");

/// What an upstream does wrong.
#[derive(Clone)]
enum Wrong {
    /// It cannot be connected to.
    Address(Nowhere),
    /// It answers with this instead of a stream.
    Answers(Behaviour),
    /// Its stream goes wrong in this way.
    Streams(Vec<Step>),
}

#[derive(Clone, Copy)]
enum Nowhere {
    Refuses,
    NeverAccepts,
}

/// When it goes wrong, and what other upstream there is.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    /// From the start, each time.
    BeforeAlone,
    /// The same, with a second upstream that is well.
    BeforeWithSecond,
    /// Once, after some words.
    AfterAlone,
    /// After some words, and then each time from the start.
    AfterAloneForGood,
    /// After some words, with a second upstream that is well.
    AfterWithSecond,
}

const CASES: [(Case, &str); 5] = [
    (Case::BeforeAlone, "before the first token, alone"),
    (Case::BeforeWithSecond, "…, with a second upstream"),
    (Case::AfterAlone, "once, after some words, alone"),
    (Case::AfterAloneForGood, "…, and from then on each time"),
    (Case::AfterWithSecond, "after some words, with a second upstream"),
];

fn faults() -> Vec<(&'static str, Wrong)> {
    let raw = |raw: &str| Wrong::Streams(vec![Step::Raw(raw.to_owned())]);
    let stream = |steps: &[Step]| Wrong::Streams(steps.to_vec());
    let status = |status, headers: &[(&'static str, &'static str)]| {
        let body = json!({"error": {"message": "no", "code": "x"}}).to_string();
        Wrong::Answers(Behaviour::Status { status, headers: headers.to_vec(), body })
    };
    let empty = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\n";
    let role = Step::Delta(json!({"role": "assistant", "content": ""}));
    let beat = Duration::from_millis(100);
    let long_line = format!("data: {{\"x\":\"{}\"}}\n\n", "x".repeat(1 << 24));
    let nameless = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{\"a\":1}"}}]});
    vec![
        ("refuses connections", Wrong::Address(Nowhere::Refuses)),
        ("never accepts a connection", Wrong::Address(Nowhere::NeverAccepts)),
        ("takes the request and says nothing", Wrong::Answers(Behaviour::Hang)),
        ("sends headers, then nothing", stream(&[Step::Hang])),
        ("sends a role, then nothing", stream(&[role.clone(), Step::Hang])),
        ("sends comments for ever", stream(&[Step::Repeat(": keep-alive\n\n".to_owned(), beat)])),
        ("sends empty deltas for ever", stream(&[Step::Repeat(empty.to_owned(), beat)])),
        ("stalls", stream(&[Step::Break(Break::Silent)])),
        ("ends its stream without a reason (FIN)", stream(&[Step::Break(Break::Clean)])),
        ("closes the connection inside the stream", stream(&[Step::Break(Break::Closed)])),
        ("resets the connection (RST)", stream(&[Step::Break(Break::Reset)])),
        ("sends usage only", stream(&[Step::usage(7, 0)])),
        ("sends malformed JSON", raw("data: {\"choices\":[{\"del\n\n")),
        ("sends bytes that are no text", stream(&[Step::Bytes(b"data: {\"choices\":\xff\xfe}\n\n")])),
        ("sends a line of more than 16 MiB", raw(&long_line)),
        ("sends a line without an end", stream(&[Step::Repeat("x".repeat(1 << 16), Duration::ZERO)])),
        ("sends an error frame: nested", raw("data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n")),
        ("sends an error frame: flat", raw("data: {\"error\":\"boom\"}\n\n")),
        ("sends an error frame: an array", raw("data: [{\"error\":{\"code\":503,\"message\":\"boom\"}}]\n\n")),
        ("sends an error frame: a numeric code", raw("data: {\"error\":{\"code\":502,\"message\":\"boom\"}}\n\n")),
        ("sends an error frame: detail", raw("data: {\"detail\":\"boom\"}\n\n")),
        ("sends an error frame: a message and a code", raw("data: {\"code\":1002,\"message\":\"boom\"}\n\n")),
        ("sends an error frame: its type", raw("data: {\"type\":\"error\",\"reason\":\"boom\"}\n\n")),
        ("sends an error frame: plain words", raw("data: error: the engine died\n\n")),
        ("sends an error as JSON without a field", raw("{\"error\": {\"message\": \"boom\"}}\n")),
        ("sends an SSE field named error", raw("error: {\"code\":500,\"message\":\"boom\"}\n\ndata: [DONE]\n\n")),
        ("gives network_error as its reason", stream(&[Step::Finish("network_error"), Step::Done])),
        ("gives a malformed call as its reason", stream(&[Step::Finish("MALFORMED_FUNCTION_CALL"), Step::Done])),
        ("sends a call without the function", stream(&[Step::Delta(nameless), Step::Finish("tool_calls"), Step::Done])),
        (
            "thinks, and closes the connection",
            stream(&[Step::Delta(json!({"reasoning_content": "Hm"})), Step::Break(Break::Closed)]),
        ),
        (
            "sends data that is no chunk, then ends",
            raw("data: null\n\ndata: : keep-alive\n\nevent: ping\ndata: ping\n\n"),
        ),
        ("sends a web page under 200", Wrong::Answers(Behaviour::html(200))),
        ("sends a body that is compressed", Wrong::Answers(gzip())),
        ("answers 500", status(500, &[])),
        ("answers 503", status(503, &[])),
        ("answers 502 with a web page", Wrong::Answers(Behaviour::html(502))),
        ("answers 408", status(408, &[])),
        ("answers 425", status(425, &[])),
        ("answers 424", status(424, &[])),
        ("answers 429", status(429, &[])),
        ("answers 429, retry-after: 1", status(429, &[("retry-after", "1")])),
        ("answers 429, retry-after-ms: 100", status(429, &[("retry-after-ms", "100")])),
        ("answers 429, x-ms-retry-after-ms: 100", status(429, &[("x-ms-retry-after-ms", "100")])),
        (
            "answers 429, retry-after: a date that is past",
            status(429, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]),
        ),
        ("answers 429, retry-after: 3600", status(429, &[("retry-after", "3600")])),
        ("answers 401", status(401, &[])),
        ("answers 400", status(400, &[])),
        ("answers 307", status(307, &[("location", "/elsewhere")])),
    ]
}

/// `gzip` of a word, though nobody asked for it.
fn gzip() -> Behaviour {
    let body = "\u{1f}\u{8b}\u{8}\0\0\0\0\0".to_owned();
    Behaviour::Status { status: 200, headers: vec![("content-encoding", "gzip")], body }
}

/// A first upstream that is wrong in this way, in this case. `None`: the case cannot be.
struct First {
    address: String,
    upstream: Upstream,
    /// Keeps an address useless.
    _nowhere: Option<(TcpListener, Vec<TcpStream>)>,
}

async fn first(wrong: &Wrong, case: Case) -> Option<First> {
    let upstream = Upstream::start().await;
    let after = matches!(case, Case::AfterAlone | Case::AfterAloneForGood | Case::AfterWithSecond);
    let words: Vec<_> = truth(PROMPT).split_inclusive(' ').take(4).map(Step::text).collect();
    match wrong {
        Wrong::Address(_) | Wrong::Answers(_) if after => None,
        Wrong::Address(how) => {
            let nowhere = nowhere(*how).await;
            let address = format!("http://{}/v1", nowhere.0.local_addr().expect("an address"));
            let open = matches!(how, Nowhere::NeverAccepts).then_some(nowhere);
            Some(First { address, upstream, _nowhere: open })
        }
        Wrong::Answers(behaviour) => {
            upstream.on(ABOUT, behaviour.clone());
            Some(First { address: upstream.base_url(), upstream, _nowhere: None })
        }
        Wrong::Streams(steps) => {
            let from_the_start = Behaviour::script(steps.clone());
            let later = Behaviour::script([words, steps.clone()].concat());
            match case {
                Case::BeforeAlone | Case::BeforeWithSecond => upstream.on(ABOUT, from_the_start),
                Case::AfterAlone => upstream.on_each(ABOUT, [later, Manner::polite().into()]),
                Case::AfterAloneForGood | Case::AfterWithSecond => upstream.on_each(ABOUT, [later, from_the_start]),
            }
            Some(First { address: upstream.base_url(), upstream, _nowhere: None })
        }
    }
}

/// A port that refuses once this is dropped, or whose queue of connections is full.
async fn nowhere(how: Nowhere) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queue = Vec::new();
    if matches!(how, Nowhere::NeverAccepts) {
        while let Ok(Ok(connection)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(connection);
        }
    }
    (listener, queue)
}

const ABOUT: &str = "table";
const PROMPT: &str = "say 12 words about a table";

/// What comes of a reply, in the words of the table.
async fn try_out(wrong: &Wrong, case: Case) -> String {
    let Some(first) = first(wrong, case).await else { return "–".to_owned() };
    let second = Upstream::start().await;
    let mut upstreams = vec![("first", first.address.as_str(), "models = [\"truth\"]")];
    let address = second.base_url();
    let has_second = matches!(case, Case::BeforeWithSecond | Case::AfterWithSecond);
    if has_second {
        upstreams.push(("second", &address, "models = [\"truth\"]"));
    }
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let config = Server::before_several(&upstreams)
        .env("LLM_FIRST_TIMEOUT", seconds(TIMEOUT))
        .env("LLM_IDLE_TIMEOUT", seconds(TIMEOUT))
        .env("LLM_TOTAL_TIMEOUT", seconds(DEADLINE));
    let server = config.start().await;
    let given = Given { api: server.api(), server, upstream: first.upstream };
    let begun = Instant::now();
    let events = given.events(streamed(PROMPT)).await;
    let took = begun.elapsed();
    let reply = check_reply(&events);
    assert_eq!(given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok(), reply.response, "as it was seen");
    let sees = match (reply.status.as_str(), reply.text == truth(PROMPT)) {
        ("completed", true) => "whole".to_owned(),
        ("failed", _) => {
            assert!(truth(PROMPT).starts_with(&reply.text), "{}", reply.text);
            let code = reply.response["error"]["code"].as_str().expect("a code");
            format!("{}failed: {code}", if reply.text.is_empty() { "" } else { "the words so far, " })
        }
        (status, _) => panic!("{status} with {:?}", reply.text),
    };
    let calls = [given.upstream.heard(ABOUT).len(), second.heard(ABOUT).len()];
    let calls = if has_second { format!("{} + {}", calls[0], calls[1]) } else { calls[0].to_string() };
    let when = match took {
        took if took >= DEADLINE => "after the deadline",
        took if took >= TIMEOUT => "after the timeout",
        _ => "at once",
    };
    format!("{sees}; calls {calls}; {when}")
}

#[tokio::test]
async fn every_fault_has_the_outcome_in_the_table() {
    let faults = faults();
    let tries = faults
        .iter()
        .flat_map(|(name, wrong)| CASES.map(|(case, _)| async move { (*name, try_out(wrong, case).await) }));
    let results: Vec<_> = Box::pin(stream::iter(tries).buffered(AT_ONCE).collect()).await;
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut table = String::from(HEAD);
    table += &line(&[&["the upstream …"], &CASES.map(|(_, name)| name)[..]].concat());
    table.push('|');
    table += &"---|".repeat(CASES.len() + 1);
    table.push('\n');
    for row in results.chunks(CASES.len()) {
        let cells = row.iter().map(|(_, outcome)| outcome.as_str());
        table += &line(&std::iter::once(row[0].0).chain(cells).collect::<Vec<_>>());
    }
    let table_file = std::fs::read_to_string(TABLE).expect("tests/it/faults.md");
    let (mut table_file, operators) =
        table_file.split_once(OPERATORS).map(|(text, rest)| (text.to_owned(), rest)).expect("two tables");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(TABLE, format!("{table}\n{OPERATORS}{operators}")).expect("the table can be written");
        table_file = format!("{table}\n");
    }
    let table_file = table_file.trim_end();
    for (expected, found) in table_file.lines().zip(table.lines()) {
        assert_eq!(expected, found);
    }
    assert_eq!(table_file.lines().count(), table.lines().count());
}

/// Where the second table begins.
const OPERATORS: &str = "# What becomes of a server whose NATS";

const KINDS: &str = "# What model servers send";

/// The second table is held by tests of their own, which stand in its last column.
#[test]
fn every_row_of_what_operators_set_names_tests_that_there_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["tests/it/operators/nats.rs", "tests/it/operators/start.rs", "tests/it/operators/pooler.rs"];
    let files = files.iter().chain(&["tests/it/callers/operators.rs"]).chain(&[
        "tests/it/many/full.rs",
        "tests/contract/postgres.rs",
        "tests/cli/torture.rs",
    ]);
    let sources: String =
        files.map(|file| std::fs::read_to_string(root.join(file)).expect("a file of tests")).collect();
    let table_file = std::fs::read_to_string(TABLE).expect("tests/it/faults.md");
    let (_, operators) = table_file.split_once(OPERATORS).expect("two tables");
    let (operators, _) = operators.split_once(KINDS).expect("three tables");
    let rows: Vec<_> = operators.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last column");
        for test in tests.split(", ").map(|test| test.trim_matches('`')) {
            assert!(sources.contains(&format!("async fn {test}(")), "{test}: {row}");
        }
    }
}

/// So is the third, by rows of their own.
#[test]
fn every_kind_of_what_model_servers_send_names_its_rows_and_their_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let tests = std::fs::read_to_string(root.join("upstreams.rs")).expect("a file of tests");
    let table_file = std::fs::read_to_string(TABLE).expect("tests/it/faults.md");
    let (_, kinds) = table_file.split_once(KINDS).expect("three tables");
    let rows: Vec<_> = kinds.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let mut columns = row.trim_end_matches(" |").rsplit(" | ").map(|column| column.trim_matches('`'));
        let (test, file) = (columns.next().expect("a test"), columns.next().expect("a file"));
        let kind = file.trim_end_matches(".json");
        assert!(tests.contains(&format!("{test}: \"{kind}\"")), "{row}");
        assert!(root.join("upstreams").join(file).exists(), "{row}");
    }
}

const HEAD: &str = "\
# What becomes of a reply when an upstream fails

Held by a test (`tests/it/fault_table.rs`), which tries every cell on the real server and compares. What a client sees is \
also what is stored, in every cell. *Whole*: the reply is completed, word for word, with one end; the seam, where there is \
one, does not show. *Calls*: how often the first and the second upstream were asked to say it. *At once*: before any \
timeout (pauses between calls of one upstream, about a second in all, are counted in). *After the timeout*: an upstream \
that says nothing is given up after `LLM_FIRST_TIMEOUT` or `LLM_IDLE_TIMEOUT`. *After the deadline*: one that shows that \
it lives (comments, empty deltas) after it has begun is given until `LLM_TOTAL_TIMEOUT`.

";
