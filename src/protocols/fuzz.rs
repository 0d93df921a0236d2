//! Whatever clients send is read or refused, and never brings the server down. `PROPTEST_CASES` says how much is tried.

use proptest::prelude::*;

use super::chat_completions::{self, CreateChatCompletion};
use super::query::{self, ListQuery, RetrieveQuery};
use super::request::{CreateConversation, CreateItems, CreateResponse, CreateSpeech, UpdateConversation};
use super::{browsers, input_tokens::InputTokens, json, usage};
use crate::domain::caller::{Caller, Scopes};
use crate::domain::items::{InputItem, Item};
use crate::domain::usage::Day;
use crate::testing::{near, word};

const RESPONSES: &[&str] = &[
    r#"{"model":"m","input":"hello","stream":true}"#,
    r#"{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"},{"type":"input_file","file_data":"data:text/plain;base64,aGk=","filename":"a.txt"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"y"}]},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"x"},{"type":"item_reference","id":"msg_1"}],"conversation":{"id":"conv_00000000000000000000000000"}}"#,
    r#"{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":true}],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},"text":{"format":{"type":"json_schema","name":"n","schema":{},"strict":true},"verbosity":"low"},"reasoning":{"effort":"low","summary":"auto"},"include":["reasoning.encrypted_content"],"metadata":{"a":"b"},"temperature":1,"top_p":0.5,"top_logprobs":3,"max_output_tokens":16,"truncation":"auto","modalities":["text","audio"],"audio":{"voice":"v","format":"wav"},"stop":["a"],"seed":7,"logit_bias":{"1":-1},"user":"u","background":false,"store":true}"#,
];

const CHATS: &[&str] = &[
    r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"https://x/y.png","detail":"auto"}}]},{"role":"assistant","content":null,"reasoning_content":"t","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"y"}],"stream":true,"stream_options":{"include_usage":true}}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"tool_choice":"required","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"logprobs":true,"top_logprobs":2,"max_completion_tokens":5,"n":1,"stop":"a","reasoning_effort":"low","modalities":["text","audio"],"audio":{"voice":"v","format":"pcm16"},"store":false,"metadata":{}}"#,
];

const OTHERS: &[&str] = &[
    r#"{"model":"tts-1","input":"hello","voice":"alloy","response_format":"mp3","speed":1.5,"instructions":"x"}"#,
    r#"{"items":[{"type":"message","role":"user","content":"x"}],"metadata":{"a":"b"}}"#,
    r#"{"resource":"/v1/responses/resp_0000000000000000000000000000000000000000000000000000/events"}"#,
];

const QUERIES: &[&str] = &[
    "limit=20&order=asc&after=msg_1&include[]=a&include[0]=b",
    "stream=true&starting_after=18446744073709551615&include_usage=1",
    "from=2026-01-01&to=2026-12-31&group_by=user,day,model",
    "a=%ff&b=%2&c=%&d=+%00&=&&ticket=x",
];

/// The items of a request, as far as they are its own.
fn own(input: &[InputItem]) -> Vec<Item> {
    let own = |item: &InputItem| match item {
        InputItem::Item(item, _) => Some(item.clone()),
        InputItem::Reference { .. } => None,
    };
    input.iter().filter_map(own).collect()
}

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn any_body_is_a_response_or_an_error_of_the_client(body in near(RESPONSES)) {
        match CreateResponse::parse(&body) {
            Ok(parsed) => drop(InputTokens::estimate(&parsed.params, &own(&parsed.input))),
            Err(error) => prop_assert!((400..500).contains(&error.status) && !error.body().is_empty()),
        }
    }

    #[test]
    fn any_body_is_a_chat_completion_or_an_error_of_the_client(body in near(CHATS)) {
        match CreateChatCompletion::parse(&body) {
            Ok(parsed) => prop_assert!(parsed.places.iter().all(|place| *place < body.len())),
            Err(error) => prop_assert!((400..500).contains(&error.status) && !error.body().is_empty()),
        }
    }

    #[test]
    fn any_other_body_is_read_or_refused(body in near(OTHERS)) {
        let _ = (CreateSpeech::parse(&body), CreateConversation::parse(&body), UpdateConversation::parse(&body));
        let _ = (CreateItems::parse(&body), browsers::CreateTicket::parse(&body), json::parse(&body));
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (CreateResponse::parse(&body), CreateChatCompletion::parse(&body), json::parse(&body));
    }

    #[test]
    fn any_query_is_read_or_refused(query in near(QUERIES), name in word()) {
        let query = String::from_utf8_lossy(&query);
        let query = Some(query.as_ref());
        let _ = (ListQuery::parse(query), RetrieveQuery::parse(query), chat_completions::RetrieveQuery::parse(query));
        let _ = (query::flag(query, "stream"), query::parameter(query, "ticket"), query::segment("x", &name));
        let caller = Caller::anonymous(Scopes::ALL);
        if let Ok(asked) = usage::parse(&caller, query, Day::from_number(20_784)) {
            prop_assert!(asked.from <= asked.to);
        }
        prop_assert!(chat_completions::parse_id(&name).is_none());
    }
}
