//! What servers answer when they do not answer, and how it is sorted.

use super::*;

fn answered(status: u16, body: &str) -> UpstreamError {
    of_answer(Answer { status, retry_after: None, body })
}

const RETRY: Kind = Kind::Retry { after: None };

#[test]
fn a_context_that_is_too_long_is_known_in_all_its_spellings() {
    for (status, body) in [
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. Please reduce the length of the messages","type":"BadRequestError","param":null,"code":400}"#,
        ),
        (
            400,
            r#"{"error":{"message":"The decoder prompt (length 9000) is longer than the maximum model length of 4096.","code":400}}"#,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":9000,"n_ctx":4096}}"#,
        ),
        (
            500,
            r#"{"error":{"code":500,"message":"the request exceeds the available context size","type":"server_error"}}"#,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
        ),
        (400, r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000"}}"#),
        (
            400,
            r#"[{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
        ),
        (
            400,
            r#"{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_prompt_too_long"}"#,
        ),
        (
            400,
            r#"{"error":"Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"}"#,
        ),
        (
            422,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000","error_type":"validation"}"#,
        ),
        (400, r#"{"error":{"message":"the input length exceeds the context length","type":"api_error"}}"#),
    ] {
        let error = answered(status, body);
        assert_eq!(error.kind, Kind::ContextLength, "{body}");
        assert_eq!(error.error.code, ErrorCode::ContextLengthExceeded);
    }
}

#[test]
fn a_limit_of_tokens_a_minute_is_not_one_of_the_context() {
    let body = r#"{"error":{"message":"Request too large for model on tokens per minute (TPM): Limit 6000. Please reduce the length of your message","code":"rate_limit_exceeded"}}"#;
    let after = Some(Duration::from_secs(7));
    let error = of_answer(Answer { status: 429, retry_after: after, body });
    assert_eq!((error.kind, error.error.code), (Kind::Retry { after }, ErrorCode::RateLimitExceeded));
}

#[test]
fn a_refused_prefill_is_known_in_its_spellings() {
    for (status, body) in [
        (
            400,
            r#"{"error":{"code":400,"message":"Assistant response prefill is incompatible with enable_thinking.","type":"invalid_request_error"}}"#,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"This model does not support assistant message prefill. The conversation must end with a user message."}}"#,
        ),
        (
            400,
            r#"{"object":"error","message":"Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant","type":"invalid_request_message_order","code":"3230"}"#,
        ),
        (500, r#"{"error":{"message":"Cannot set both add_generation_prompt and continue_final_message"}}"#),
    ] {
        assert_eq!(answered(status, body).kind, Kind::PrefillRejected, "{body}");
    }
}

#[test]
fn each_status_decides_what_may_be_done() {
    for (status, kind, code) in [
        (400, Kind::Request, ErrorCode::InvalidPrompt),
        (404, Kind::Request, ErrorCode::InvalidPrompt),
        (422, Kind::Request, ErrorCode::InvalidPrompt),
        (301, Kind::Request, ErrorCode::ServerError),
        (401, Kind::Credentials, ErrorCode::ServerError),
        (402, Kind::Credentials, ErrorCode::ServerError),
        (403, Kind::Credentials, ErrorCode::ServerError),
        (408, RETRY, ErrorCode::ServerError),
        (429, RETRY, ErrorCode::RateLimitExceeded),
        (500, RETRY, ErrorCode::ServerError),
        (503, RETRY, ErrorCode::ServerError),
        (529, RETRY, ErrorCode::RateLimitExceeded),
    ] {
        for body in ["", r#"{"error":{"message":"no"}}"#, "no", r#"{"detail":[{"msg":"no"}]}"#, "null"] {
            let error = answered(status, body);
            assert_eq!((error.kind, error.error.code), (kind, code), "{status} {body}");
        }
    }
}

#[test]
fn a_list_of_errors_names_the_fields() {
    let body = r#"{"detail":[{"loc":["body","messages",0],"msg":"too odd"},{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#;
    let error = answered(422, body);
    let shown = "body.messages.*: too odd; body.stream_options: Extra inputs are not permitted";
    assert!(error.error.message.ends_with(shown), "{error:?}");
}

#[test]
fn a_web_page_is_named_and_not_repeated() {
    let error = answered(502, "<html><head><title>502 Bad Gateway</title></head>");
    assert_eq!(error.kind, RETRY);
    assert!(error.error.message.contains("web page") && !error.error.message.contains("Gateway"), "{error:?}");
    assert_eq!(answered(400, "<html>proxy").kind, RETRY, "a proxy's page is no verdict on the request");
    assert_eq!(answered(404, "<html>nginx").kind, Kind::Request);
}

#[test]
fn an_error_in_a_stream_is_sorted_by_its_words() {
    for (json, kind) in [
        (r#"{"message":"Overloaded","type":"overloaded_error"}"#, RETRY),
        (r#"{"message":"bad","type":"invalid_request_error"}"#, Kind::Request),
        (r#"{"message":"key","type":"authentication_error"}"#, Kind::Credentials),
        (r#"{"message":"maximum context length","code":"context_length_exceeded"}"#, Kind::ContextLength),
        (r#"{"message":"boom","code":"1234"}"#, RETRY),
        (r#"{"message":"boom","code":1e99}"#, RETRY),
    ] {
        assert_eq!(in_stream(json).kind, kind, "{json}");
    }
}

#[test]
fn a_refused_request_reaches_the_client_in_bounds_and_not_the_log() {
    let body =
        format!(r#"{{"error":{{"message":"bad input: {}\n{}","type":"t","code":"c"}}}}"#, "secret", "x".repeat(9000));
    let error = answered(400, &body);
    assert!(error.error.message.contains("secret") && error.error.message.len() < 700);
    assert!(!error.error.message.contains('\n') && !error.cause.contains("secret"), "{error:?}");
    assert!(error.cause.contains("code c") && error.cause.contains("type t"), "{error:?}");
}
