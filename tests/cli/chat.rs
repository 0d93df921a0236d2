//! `rejoinder chat`, in a script and in a terminal.

use crate::run::rejoinder;
use crate::support::json;
use crate::support::server::Server;
use crate::terminal::{CTRL_C, CTRL_D, Terminal};

const WORDS: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
                     seventeen eighteen nineteen twenty";

#[tokio::test]
async fn a_script_gets_the_reply_and_nothing_else() {
    let server = Server::bare().start().await;
    for flags in ["", " --no-stream"] {
        let ran = rejoinder(&format!("chat {}/v1 --model echo{flags}", server.base), "say\nthis\n").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "say\nthis\n", ""), "{flags}");
    }
}

#[tokio::test]
async fn a_script_is_told_by_the_exit_code_what_went_wrong() {
    let server = Server::bare().start().await;
    let unknown = rejoinder(&format!("chat {} --model no-such-model", server.base), "hi").await;
    assert!(unknown.code == 1 && unknown.out.is_empty() && unknown.err.contains("no-such-model"), "{unknown:?}");
    let nothing = rejoinder(&format!("chat {}", server.base), " \n").await;
    assert!(nothing.code == 2 && nothing.err.contains("no message"), "{nothing:?}");
    let base = server.base.clone();
    server.stop();
    let away = rejoinder(&format!("chat {base}"), "hi").await;
    assert!(away.code == 3 && away.err.contains("cannot reach"), "{away:?}");
}

#[tokio::test]
async fn a_chat_rejoins_where_it_was_after_the_server_was_killed() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo-50ms", server.base), home.path());
    terminal.say(WORDS).await;
    // Once as it was typed, once as it is said.
    terminal.wait_for("\n").await;
    let before = terminal.wait_for("five").await;
    let _server = server.restart().await;
    let between = terminal.wait_for("rejoined after event").await;
    terminal.wait_for("\n").await;
    let after = terminal.wait_for("twenty").await;
    assert!(between.contains("rejoining"), "{between}");
    let said: Vec<_> = [before.as_str(), between.lines().next().unwrap_or_default(), after.as_str()]
        .iter()
        .flat_map(|text| text.split_whitespace())
        .collect();
    assert_eq!(said.join(" "), WORDS);
    terminal.wait_for("> ").await;
    terminal.type_in(CTRL_D).await;
    assert_eq!(terminal.wait().await, 0);
}

#[tokio::test]
async fn ctrl_c_stops_the_reply_and_not_the_program() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo-200ms", server.base), home.path());
    terminal.say(WORDS).await;
    terminal.wait_for("\n").await;
    terminal.wait_for("two").await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(stopped)").await;
    terminal.say("/model echo").await;
    terminal.wait_for("speaking to echo").await;
    terminal.say("again").await;
    terminal.wait_for("\n").await;
    terminal.wait_for("again\r\n").await;
    terminal.wait_for("> ").await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("Ctrl-D leaves").await;
    terminal.say("/exit").await;
    assert_eq!(terminal.wait().await, 0);
}

#[tokio::test]
async fn somebody_who_comes_back_sees_what_was_said() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo", server.base), home.path());
    terminal.say("\"\"\"").await;
    terminal.type_in("the first line\rthe second line\"\"\"\r").await;
    terminal.wait_for("the first line\r\nthe second line\r\n").await;
    terminal.wait_for("> ").await;
    terminal.type_in(CTRL_D).await;
    terminal.wait_for("--conversation ").await;
    let id = terminal.wait_for("\r\n").await;
    assert_eq!(terminal.wait().await, 0);
    let words = format!("chat {} --model echo --conversation {}", server.base, id.trim());
    let mut terminal = Terminal::start(&words, home.path());
    terminal.wait_for("> the first line\r\nthe second line\r\nthe first line\r\nthe second line\r\n").await;
    terminal.wait_for("> ").await;
    // The last thing that was said is in the history, too.
    terminal.type_in("\x1b[A").await;
    terminal.wait_for("the second line").await;
}

#[tokio::test]
async fn a_conversation_that_does_not_exist_is_said_so() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let words = format!("chat {} --conversation conv_{}", server.base, "0".repeat(32));
    let mut terminal = Terminal::start(&words, home.path());
    terminal.wait_for("rejoinder chat: ").await;
    assert_eq!(terminal.wait().await, 1);
}

#[tokio::test]
async fn ctrl_c_twice_at_the_prompt_leaves_and_once_does_not() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo", server.base), home.path());
    for said in ["one", "two"] {
        terminal.wait_for("> ").await;
        terminal.type_in(&format!("thrown away{CTRL_C}")).await;
        terminal.wait_for("(Ctrl-C again or Ctrl-D leaves)").await;
        terminal.say(said).await;
        terminal.wait_for("\n").await;
        terminal.wait_for(&format!("{said}\r\n")).await;
    }
    for _ in 0..2 {
        terminal.wait_for("> ").await;
        terminal.type_in(CTRL_C).await;
    }
    terminal.wait_for("--conversation ").await;
    assert_eq!(terminal.wait().await, 130);
}

#[tokio::test]
async fn a_line_goes_on_after_a_backslash() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo", server.base), home.path());
    terminal.say("first\\").await;
    terminal.type_in("second\r").await;
    terminal.wait_for("\r\nfirst\r\nsecond\r\n").await;
}

#[tokio::test]
async fn a_reply_is_wrapped_between_words_to_the_terminal_s_width() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::of_columns(20, &format!("chat {} --model echo-10ms", server.base), home.path());
    terminal.wait_for("/help lists more").await;
    terminal.say("\"\"\"one two three \rfour five six sevenish eight\"\"\"").await;
    // The prompt asks for pasted text to be marked, as long as it reads.
    terminal.wait_for("\x1b[?2004l\r\n").await;
    let shown = as_shown(&terminal.wait_for("\x1b[?2004h").await);
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["one two three", "four five six", "sevenish eight"]);
}

/// What a reader sees of what was written: words that were taken back are not there.
fn as_shown(written: &str) -> String {
    let mut pieces = written.split("\x1b[");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (number, rest) = piece.split_at(piece.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence"));
        if let (Ok(steps), true) = (number.parse::<usize>(), rest.starts_with('D')) {
            shown.truncate(shown.len() - steps);
        }
        shown += &rest[1..];
    }
    shown
}

#[tokio::test]
async fn a_message_waits_for_the_reply_that_holds_the_conversation_and_shows_it() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let api = server.api();
    let id = api.post("/v1/conversations", json!({})).await.ok()["id"].as_str().unwrap().to_owned();
    let mut terminal = Terminal::start(&format!("chat {} --model echo --conversation {id}", server.base), home.path());
    terminal.wait_for("> ").await;
    let other = json!({"model": "echo-50ms", "input": WORDS, "conversation": id, "background": true});
    api.post("/v1/responses", other).await.ok();
    terminal.type_in("and me\r").await;
    terminal.wait_for("\n").await;
    let joined = terminal.wait_for("twenty\r\n").await;
    assert_eq!(
        joined.split_once("\r\n").unwrap(),
        ("⟲ a reply is still being generated here", &*format!("{WORDS}\r\n"))
    );
    terminal.wait_for("and me\r\n").await;
}

#[tokio::test]
async fn the_reply_that_holds_the_conversation_can_be_stopped() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let api = server.api();
    let id = api.post("/v1/conversations", json!({})).await.ok()["id"].as_str().unwrap().to_owned();
    let mut terminal = Terminal::start(&format!("chat {} --model echo --conversation {id}", server.base), home.path());
    terminal.wait_for("> ").await;
    let other = json!({"model": "echo-2000ms", "input": WORDS, "conversation": id, "background": true});
    api.post("/v1/responses", other).await.ok();
    terminal.type_in("and me\r").await;
    terminal.wait_for("⟲ a reply is still being generated here").await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(stopped)").await;
    terminal.wait_for("and me\r\n").await;
}

#[tokio::test]
async fn a_reply_in_one_piece_is_asked_for_again_when_the_server_was_killed() {
    let server = Server::bare().start().await;
    let words = format!("chat {} --model echo-50ms --no-stream", server.base);
    let chat = tokio::spawn(async move { rejoinder(&words, WORDS).await });
    server.poll("/metrics", |answer| answer.text().contains("rejoinder_replies_accepted_total 1")).await;
    let server = server.restart().await;
    let ran = chat.await.unwrap();
    assert_eq!((ran.code, ran.out.trim()), (0, WORDS), "{ran:?}");
    let metrics = server.api().get("/metrics").await;
    assert!(metrics.text().contains("rejoinder_replies_accepted_total 0"), "it was said once: {metrics:?}");
}

#[tokio::test]
async fn a_reply_in_one_piece_is_shown_at_a_terminal_and_can_be_left() {
    let server = Server::bare().start().await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --model echo --no-stream", server.base), home.path());
    terminal.say("at once").await;
    terminal.wait_for("\r\nat once\r\n").await;
    terminal.say("/model echo-2000ms").await;
    terminal.say(WORDS).await;
    terminal.wait_for("\n").await;
    server.poll("/metrics", |answer| answer.text().contains("rejoinder_replies_running 1")).await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(left; the reply continues without you)").await;
    terminal.wait_for("> ").await;
}
