use super::*;

fn body(error: &ApiError) -> String {
    String::from_utf8(error.body()).expect("UTF-8")
}

#[test]
fn the_body_is_the_error_object_of_the_api() {
    assert_eq!(
        body(&ApiError::invalid_type("temperature", "a number", "a string")),
        r#"{"error":{"message":"Invalid type for 'temperature': expected a number, but got a string instead.","type":"invalid_request_error","param":"temperature","code":"invalid_type"}}"#
    );
    assert_eq!(
        body(&ApiError::response_not_found("resp_1")),
        r#"{"error":{"message":"Response with id 'resp_1' not found.","type":"invalid_request_error","param":"response_id","code":null}}"#
    );
}

#[test]
fn every_error_has_its_status_parameter_and_code() {
    let cases = [
        (ApiError::unknown_model("x"), 400, Some("model"), Some("model_not_found")),
        (ApiError::model_not_found("x"), 404, Some("model"), Some("model_not_found")),
        (ApiError::response_not_found("x"), 404, Some("response_id"), None),
        (ApiError::conversation_not_found("x"), 404, Some("conversation_id"), None),
        (ApiError::item_not_found("x"), 404, Some("item_id"), None),
        (ApiError::reference_not_found("input[1]", "x"), 400, Some("input[1]"), Some("item_not_found")),
        (
            ApiError::previous_response_not_found("x"),
            400,
            Some("previous_response_id"),
            Some("previous_response_not_found"),
        ),
        (
            ApiError::previous_response_running("x"),
            400,
            Some("previous_response_id"),
            Some("previous_response_in_progress"),
        ),
        (ApiError::conversation_locked("x"), 400, Some("conversation"), Some("conversation_locked")),
        (ApiError::starting_after_past_end(9, 3), 400, Some("starting_after"), Some("integer_above_max_value")),
        (ApiError::unknown_url("GET", "/x"), 404, None, Some("unknown_url")),
        (ApiError::method_not_allowed("PUT", "/x"), 405, None, Some("method_not_supported")),
        (ApiError::too_large(16), 413, None, Some("request_too_large")),
        (ApiError::unsupported_media_type(), 415, None, Some("unsupported_media_type")),
        (ApiError::idempotency_key_reused(), 400, Some("Idempotency-Key"), Some("idempotency_key_reused")),
        (ApiError::internal(), 500, None, Some("server_error")),
        (ApiError::bad_gateway("x"), 502, None, Some("server_error")),
        (ApiError::unavailable("x"), 503, None, Some("service_unavailable")),
        (ApiError::missing_call_output("x"), 400, Some("input"), None),
        (ApiError::unknown_call("x"), 400, Some("input"), None),
        (ApiError::needs_store("background"), 400, Some("background"), Some("invalid_value")),
    ];
    for (error, status, param, code) in cases {
        assert_eq!((error.status, error.param.as_deref(), error.code), (status, param, code), "{error}");
        let kind = match status {
            429 => ErrorKind::RateLimit,
            500.. => ErrorKind::Server,
            _ => ErrorKind::InvalidRequest,
        };
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(error.retry_after.is_some(), matches!(status, 429 | 503), "{error}");
    }
}

#[test]
fn a_locked_conversation_names_what_runs_in_it() {
    let message = ApiError::conversation_locked("resp_1").message;
    assert!(message.contains("'resp_1' is in progress"), "{message}");
}

#[test]
fn what_a_client_sent_is_told_back_in_brief() {
    let message = ApiError::response_not_found(&"ü".repeat(1000)).message;
    assert_eq!(message, format!("Response with id '{}…' not found.", "ü".repeat(80)));
}
