//! What holds of every request.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::*;
use crate::domain::reply::Reply;
use crate::protocols::wire::{Envelope, Facts};

/// Text that is short, and sometimes not ASCII.
fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\\n🙂]{0,8}"
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({"type": "input_text", "text": text})),
        text().prop_map(|text| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": [{"a": 1}]})),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
        text().prop_map(|text| json!({"type": "text", "text": text})),
        text().prop_map(|text| json!({"type": "input_image", "image_url": format!("data:{text}"), "detail": "low"})),
    ]
}

fn item() -> impl Strategy<Value = Value> {
    let role = prop::sample::select(vec!["user", "assistant", "system", "developer"]);
    let content = prop_oneof![text().prop_map(Value::from), vec(part(), 0..3).prop_map(Value::from)];
    let status = prop::sample::select(vec![json!(null), json!("completed"), json!("incomplete")]);
    prop_oneof![
        (role, content.clone(), text(), status)
            .prop_map(|(role, content, id, status)| json!({"role": role, "content": content, "id": id, "status": status})),
        (text(), text()).prop_map(|(text, extra)| json!({"type": "reasoning", "x_new": extra,
            "summary": [{"type": "summary_text", "text": text}], "content": [{"type": "reasoning_text", "text": text}]})),
        (text(), text()).prop_map(|(id, text)| json!({"type": "function_call", "call_id": format!("c{id}"),
            "name": "tea", "arguments": text})),
        (text(), content).prop_map(|(id, output)| json!({"type": "function_call_output",
            "call_id": format!("c{id}"), "output": output})),
        text().prop_map(|id| json!({"type": "item_reference", "id": format!("msg_{id}")})),
    ]
}

fn params() -> impl Strategy<Value = Map<String, Value>> {
    let schema = json!({"type": "json_schema", "name": "n", "schema": {"b": 1, "a": [2.5, null]}, "strict": true});
    let tool = json!({"type": "function", "name": "tea", "parameters": {"type": "object"}, "strict": null});
    let allowed = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "tea"}]});
    let choices = vec![json!("none"), json!("required"), json!({"type": "function", "name": "tea"}), allowed];
    let some = |values: Vec<Value>| prop::option::of(prop::sample::select(values));
    let fields = (
        some(vec![json!("echo")]),
        some(vec![json!(0), json!(0.25), json!(2)]),
        some(vec![json!({"format": schema}), json!({"verbosity": "low"}), json!({"format": {"type": "json_object"}})]),
        some(choices),
        some(vec![json!({"effort": "low"}), json!({"summary": "auto"})]),
        some(vec![json!("auto"), json!("disabled")]),
        some(vec![json!({"k": "v", "ü": ""})]),
        some(vec![json!(7)]),
        some(vec![json!("Be \"brief\".")]),
        some(vec![json!(false)]),
    );
    fields.prop_map(move |(model, temperature, text, choice, reasoning, truncation, metadata, number, words, no)| {
        let fields = [
            ("model", model),
            ("temperature", temperature.clone()),
            ("text", text),
            ("tools", choice.as_ref().map(|_| json!([tool.clone()]))),
            ("tool_choice", choice),
            ("reasoning", reasoning),
            ("truncation", truncation),
            ("metadata", metadata),
            ("max_output_tokens", number.clone()),
            ("top_logprobs", number),
            ("instructions", words.clone()),
            ("user", words),
            ("store", no.clone()),
            ("parallel_tool_calls", no),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

fn request() -> impl Strategy<Value = Value> {
    (params(), prop_oneof![text().prop_map(Value::from), vec(item(), 1..4).prop_map(Value::from)]).prop_map(
        |(mut body, input)| {
            body.insert("input".to_owned(), input);
            Value::Object(body)
        },
    )
}

/// The request as its own response says it back, with the input as it is stored.
fn said_back(request: &CreateResponse) -> Value {
    let params = Params { model: request.model.clone().unwrap_or_else(|| "echo".to_owned()), ..request.params.clone() };
    let id = ReplyId::from_bytes(ThreadId::from_bytes([0; 16]), [0; 16]);
    let facts = Facts { id, created_at: 0, params: &params, previous: None, conversation: None };
    let mut json = Vec::new();
    Envelope::new(&facts).write_response(&mut json, &Reply::new(id));
    let mut body: Value = serde_json::from_slice(&json).expect("JSON");
    let items = request.input.iter().map(|item| match item {
        InputItem::Item(item, _) => serde_json::to_value(item).expect("JSON"),
        InputItem::Reference { id } => json!({"type": "item_reference", "id": id}),
    });
    body["input"] = items.collect();
    // It says which parameters are not known: in what a response says of itself, most are not.
    body.as_object_mut().expect("an object").remove("rejoinder");
    body
}

proptest! {
    #[test]
    fn a_request_that_is_said_back_is_the_same_request(body in request()) {
        let first = super::accepted(&body);
        let again = super::accepted(&said_back(&first));
        prop_assert_eq!(&first.input, &again.input);
        prop_assert_eq!(said_back(&first), said_back(&again));
        // And what the client sent is not changed by the defaults of what it did not send.
        prop_assert_eq!(first.params.temperature.or(Some(1.0)), again.params.temperature);
        prop_assert_eq!(&first.params.tools, &again.params.tools);
        prop_assert_eq!(&first.params.metadata, &again.params.metadata);
        prop_assert_eq!(&first.params.instructions, &again.params.instructions);
    }

    #[test]
    fn items_are_read_from_the_store_as_they_were_written(body in vec(item(), 1..4)) {
        for item in super::accepted(&json!({"input": body})).input {
            if let InputItem::Item(item, _) = item {
                let stored = serde_json::to_string(&item).expect("JSON");
                prop_assert_eq!(serde_json::from_str::<crate::domain::items::Item>(&stored).expect("an item"), item);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..64)) {
        drop((CreateResponse::parse(&bytes), CreateConversation::parse(&bytes), CreateItems::parse(&bytes)));
    }

    #[test]
    fn no_change_of_a_request_makes_the_parser_panic(
        body in request(),
        place in any::<prop::sample::Index>(),
        junk in prop::sample::select(vec!["", "\"", "}", "[", "null", "1e400", "-1", "{}", "\\u00", "é", "\"a\":"]),
    ) {
        let mut text = body.to_string();
        let mut at = place.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, junk);
        if let Err(error) = CreateResponse::parse(text.as_bytes()) {
            prop_assert!((400..500).contains(&error.status));
            prop_assert!(error.message.len() < 1000);
        }
    }

    #[test]
    fn a_value_of_another_type_anywhere_is_refused_or_taken_but_never_panics(
        body in request(),
        place in any::<prop::sample::Index>(),
        junk in prop::sample::select(vec![json!(null), json!(1), json!("x"), json!([1]), json!({"type": {}}), json!(true)]),
    ) {
        let mut body = body;
        let mut paths = Vec::new();
        collect(&body, String::new(), &mut paths);
        let path = &paths[place.index(paths.len())];
        *body.pointer_mut(path).expect("a path of the body") = junk;
        if let Err(error) = super::parse(&body) {
            prop_assert_eq!(error.status, 400);
        }
    }
}

/// The paths of all values.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| collect(value, format!("{path}/{index}"), paths));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| collect(value, format!("{path}/{name}"), paths));
        }
        _ => {}
    }
    paths.push(path);
}
