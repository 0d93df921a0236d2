//! `rejoinder chat` through each API: it talks, remembers, stops, and rejoins after a real kill.

use crate::run::rejoinder;
use crate::support::server::Server;
use crate::support::{upstream::Manner, *};
use crate::terminal::{CTRL_C, CTRL_D, Terminal};

const APIS: [&str; 4] = ["responses", "chat", "ui", "websocket"];

const WORDS: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
                     seventeen eighteen nineteen twenty";

#[tokio::test]
async fn a_chat_rejoins_through_the_api_that_it_speaks() {
    let mut server = Server::bare().start().await;
    for api in APIS {
        let home = tempfile::tempdir().unwrap();
        let words = format!("chat {} --api {api} --model echo-50ms", server.base);
        let mut terminal = Terminal::start(&words, home.path());
        terminal.say(WORDS).await;
        // Once as it was typed, once as it is generated.
        terminal.wait_for("\n").await;
        let before = terminal.wait_for("five").await;
        server = server.restart().await;
        let between = terminal.wait_for("rejoined after event").await;
        terminal.wait_for("\n").await;
        let after = terminal.wait_for("twenty").await;
        let said: Vec<_> = [before.as_str(), between.lines().next().unwrap_or_default(), after.as_str()]
            .iter()
            .flat_map(|text| text.split_whitespace())
            .collect();
        assert_eq!(said.join(" "), WORDS, "{api}");
        terminal.wait_for("> ").await;
        terminal.type_in(CTRL_D).await;
        assert_eq!(terminal.wait().await, 0, "{api}");
    }
}

#[tokio::test]
async fn a_chat_remembers_what_was_said_and_comes_back_where_it_can() {
    let given = Given::new().await;
    for api in APIS {
        let home = tempfile::tempdir().unwrap();
        let words = format!("chat {} --api {api} --instructions Short.", given.server.base);
        let mut terminal = Terminal::start(&words, home.path());
        for about in ["first", "second"] {
            let prompt = prompt(3, &format!("{about} by {api}"));
            terminal.say(&prompt).await;
            terminal.wait_for(&format!("{}\r\n", truth(&prompt))).await;
        }
        terminal.wait_for("> ").await;
        terminal.type_in(CTRL_D).await;
        if api != "chat" {
            terminal.wait_for("Come back with: rejoinder ").await;
            let words = terminal.wait_for("\r\n").await;
            let mut terminal = Terminal::start(&format!("{} --instructions Short.", words.trim()), home.path());
            terminal.say(&prompt(3, &format!("third by {api}"))).await;
            terminal.wait_for(&truth(&prompt(3, &format!("third by {api}")))).await;
        }
        assert_eq!(terminal.wait().await, 0, "{api}");
        let last = if api == "chat" { "second" } else { "third" };
        let heard = given.upstream.heard_once(&format!("{last} by {api}"));
        let told: Vec<_> =
            heard.messages().iter().map(|message| message["content"].as_str().unwrap_or_default()).collect();
        let said = prompt(3, &format!("first by {api}"));
        assert_eq!(told[..3], ["Short.", &said, &truth(&said)], "{api}");
    }
}

#[tokio::test]
async fn a_reply_is_stopped_through_the_api_that_it_came_by() {
    let given = Given::new().await;
    for api in APIS {
        let about = format!("stopped by {api}");
        given.upstream.on(&about, Manner::paced(40));
        let home = tempfile::tempdir().unwrap();
        let mut terminal = Terminal::start(&format!("chat {} --api {api}", given.server.base), home.path());
        let prompt = prompt(200, &about);
        terminal.say(&prompt).await;
        let third = truth(&prompt).split_whitespace().nth(2).expect("a word").to_owned();
        terminal.wait_for(&third).await;
        terminal.type_in(CTRL_C).await;
        terminal.wait_for("(stopped)").await;
        let is_left = async || (given.upstream.heard_once(&about).fate == upstream::Fate::HungUp).then_some(());
        until("the upstream to be left", is_left).await;
        terminal.say("/exit").await;
        assert_eq!(terminal.wait().await, 0, "{api}");
    }
}

#[tokio::test]
async fn a_script_gets_the_reply_through_each_api_and_is_told_what_does_not_go_together() {
    let server = Server::bare().start().await;
    for api in APIS {
        let ran = rejoinder(&format!("chat {}/v1 --api {api} --model echo", server.base), "say\nthis\n").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "say\nthis\n", ""), "{api}");
        let ran = rejoinder(&format!("chat {} --api {api} --model no-such-model", server.base), "hi").await;
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains("no-such-model"), "{api}: {ran:?}");
        let ran = rejoinder(&format!("chat {} --api {api} --model echo --no-stream", server.base), "hi").await;
        let expected = if matches!(api, "responses" | "chat") { (0, "hi\n") } else { (2, "") };
        assert_eq!((ran.code, ran.out.as_str()), expected, "{api}");
    }
    let ran = rejoinder(&format!("chat {} --api chat --conversation conv_1", server.base), "hi").await;
    assert!(ran.code == 2 && ran.err.contains("no conversations"), "{ran:?}");
}
