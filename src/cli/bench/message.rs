//! The clients' messages: plain words, each message another one, so that a reply to somebody else's message is noticed.

use std::io::Write;

use bytes::Bytes;

use super::reading::Api;

/// Makes the requests of a load.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    /// What comes before the name of a new chat, if there is one.
    chat: Option<String>,
    before: String,
    tail: String,
    after: &'static str,
    checked: bool,
}

/// A request's body, and the text in it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) body: Bytes,
    text: std::ops::Range<usize>,
    checked: bool,
}

const WORDS: [&str; 16] = [
    "tell", "me", "about", "the", "river", "that", "runs", "behind", "our", "house", "and", "why", "it", "never",
    "sleeps", "tonight",
];

impl Messages {
    /// `words` are those of each message, its first one being its own.
    pub(crate) fn new(api: Api, model: &str, words: usize) -> Self {
        let model = serde_json::Value::from(model);
        // No chat of an earlier load is met again.
        let chat = (api == Api::Ui).then(|| format!(r#"{{"id":"bench-{:016x}-"#, rand::random::<u64>()));
        let before = match api {
            Api::Responses => format!(r#"{{"model":{model},"stream":true,"input":""#),
            Api::Chat => format!(r#"{{"model":{model},"stream":true,"messages":[{{"role":"user","content":""#),
            Api::Websocket => format!(r#"{{"type":"response.create","model":{model},"input":""#),
            Api::Ui => {
                format!(r#"","model":{model},"messages":[{{"id":"m","role":"user","parts":[{{"type":"text","text":""#)
            }
        };
        let after = match api {
            Api::Responses | Api::Websocket => r#""}"#,
            Api::Chat => r#""}]}"#,
            Api::Ui => r#""}]}],"trigger":"submit-message"}"#,
        };
        let tail =
            WORDS.iter().cycle().take(words.saturating_sub(1)).fold(String::new(), |text, word| text + " " + word);
        Self { chat, before, tail, after, checked: model.as_str().is_some_and(|name| name.starts_with("echo")) }
    }

    /// The `nth` message of a client.
    pub(crate) fn message(&self, client: usize, nth: u32) -> Message {
        let mut body = Vec::with_capacity(self.before.len() + self.tail.len() + self.after.len() + 80);
        // A write to memory cannot fail.
        if let Some(chat) = &self.chat {
            let _ = write!(body, "{chat}c{client}m{nth}");
        }
        body.extend_from_slice(self.before.as_bytes());
        let begin = body.len();
        let _ = write!(body, "c{client}m{nth}");
        body.extend_from_slice(self.tail.as_bytes());
        let text = begin..body.len();
        body.extend_from_slice(self.after.as_bytes());
        Message { body: body.into(), text, checked: self.checked }
    }
}

impl Message {
    /// What the reply must be; `None` if the model is free in its answer.
    pub(crate) fn expected(&self) -> Option<&[u8]> {
        self.checked.then(|| &self.body[self.text.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_with_as_many_words_as_asked_for() {
        for (api, words) in
            [(Api::Responses, 1), (Api::Responses, 20), (Api::Chat, 40), (Api::Websocket, 5), (Api::Ui, 7)]
        {
            let message = Messages::new(api, "echo-\"20ms", words).message(7, 3);
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let text = match api {
                Api::Responses | Api::Websocket => body["input"].as_str(),
                Api::Ui => body["messages"][0]["parts"][0]["text"].as_str(),
                Api::Chat => body["messages"][0]["content"].as_str(),
            };
            assert_eq!(text.map(str::as_bytes), message.expected());
            assert_eq!(text.unwrap().split(' ').count(), words);
            assert_eq!(body["model"], "echo-\"20ms");
        }
    }

    #[test]
    fn only_an_echo_is_held_to_the_words() {
        assert_eq!(Messages::new(Api::Chat, "llama", 5).message(0, 0).expected(), None);
    }
}
