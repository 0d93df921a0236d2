//! `rejoinder chat`, in a script and in a terminal.

use crate::run::rejoinder;
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
    assert!(nothing.code == 2 && nothing.err.contains("nothing to say"), "{nothing:?}");
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
