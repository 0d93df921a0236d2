//! The words with which servers describe what is wrong.

/// Errors that servers send under 200, and the status that each would have had.
pub(super) const STATUS_WORDS: &[(u16, &[&str])] = &[
    (
        429,
        &[
            "rate_limit",
            "rate limit",
            "ratelimit",
            "overloaded",
            "resource_exhausted",
            "too many requests",
            "too_many_requests",
            "throttl",
            "server is busy",
            "over capacity",
        ],
    ),
    (
        401,
        &[
            "authentication",
            "invalid_api_key",
            "invalid api key",
            "incorrect api key",
            "permission",
            "unauthorized",
            "insufficient_quota",
            "insufficient balance",
            "accessdenied",
        ],
    ),
    (404, &["model_not_found", "model not found"]),
    (
        400,
        &[
            "invalid_request",
            "invalid_argument",
            "bad_request",
            "badrequest",
            "bad request",
            "invalid_prompt",
            "unsupported_parameter",
            "unsupported parameter",
            "validation",
        ],
    ),
];

/// Wordings for a context that is too long.
pub(super) const CONTEXT_LENGTH: &[&str] = &[
    "context_length_exceeded",
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "context limit",
    "context the overflows",
    "max_model_len",
    "maximum model length",
    "too many tokens",
    "token count exceeds",
    "exceeds the maximum number of tokens",
    "`inputs` tokens + `max_new_tokens`",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input length exceeds",
    "reduce the length",
    "string_above_max_length",
];

/// Wordings for a last message that must not be the assistant's.
pub(super) const PREFILL: &[&str] = &[
    "prefill",
    "continue_final_message",
    "add_generation_prompt",
    "must end with a user message",
    "final assistant",
    "expected last role",
    "last message must be",
    "last message must not be",
    "last message cannot be",
    "last message role must be",
    "last role must be",
    "last message is not from the user",
    "last message should be from",
];

/// Wordings for a refusal to answer the question.
pub(super) const MODERATION: &[&str] = &[
    "moderat",
    "flagged",
    "content_filter",
    "content filter",
    "content policy",
    "content_policy",
    "guardrail",
    "inspection",
];
