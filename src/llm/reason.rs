//! Why a server stopped, in all the words that servers have for it.

use super::delta::FinishReason;

/// The meaning of a server's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It has not stopped.
    None,
    /// One that is known.
    Known(FinishReason),
    /// Another word: an end like any other, if there was output before it.
    Unknown,
}

/// Words for no reason.
const NONE: &[&str] = &["", "null", "none", "undefined", "not_finished", "unspecified", "finish_reason_unspecified"];

/// A good end, exactly so.
const STOP: &[&str] = &[
    "stop",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
    "function_calls",
    "end_turn",
    "end",
    "eos",
    "eos_token",
    "eos_found",
    "stop_sequence",
    "stop_token",
    "stop_word",
    "complete",
    "completed",
    "done",
    "finish",
    "finished",
    "success",
    "pause_turn",
];

/// Parts of words, the first that is found counts.
const PARTS: &[(FinishReason, &[&str])] = &[
    // Before the filters: `function_call_filter`, `unexpected_tool_call`, `malformed_response`.
    (
        FinishReason::Broken,
        &["malformed", "function_call_filter", "tool_call_filter", "unexpected_tool", "too_many_tool", "invalid_tool"],
    ),
    (
        FinishReason::ContentFilter,
        &[
            "filter",
            "safety",
            "sensitive",
            "recitation",
            "blocklist",
            "blocked",
            "prohibited",
            "spii",
            "refus",
            "moderat",
            "toxic",
            "policy",
            "guardrail",
            "censor",
            "violation",
            "unsafe",
            "harmful",
            "content_risk",
        ],
    ),
    (
        FinishReason::Broken,
        &[
            "error",
            "insufficient",
            "abort",
            "cancel",
            "fail",
            "interrupt",
            "timeout",
            "time_out",
            "timed_out",
            "time_limit",
            "rate_limit",
            "overload",
            "disconnect",
            "network",
            "crash",
            "exception",
            "unavailable",
            "preempt",
            "evict",
            "shutdown",
            "out_of_memory",
        ],
    ),
    (
        FinishReason::Length,
        &["length", "max_", "maximum", "limit", "context_window", "truncat", "exceed", "too_long", "repetition"],
    ),
];

/// Reads the word. What follows a colon, brackets or a full stop is detail, and so is what a language puts before it
/// (`FinishReason.STOP`).
pub(super) fn of(word: &str) -> Reason {
    let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let detail = word.find([':', '(', '[', ',', ';', '/']).unwrap_or(word.len());
    let own = word[..detail].trim_end_matches(['_', '.']);
    let own = own.rsplit('.').next().unwrap_or(own);
    let own = own.strip_prefix("finish_reason_").filter(|_| !NONE.contains(&own)).unwrap_or(own);
    if NONE.contains(&own) {
        return Reason::None;
    }
    if STOP.contains(&own) {
        return Reason::Known(FinishReason::Stop);
    }
    let known = |text: &str| PARTS.iter().find(|(_, parts)| parts.iter().any(|part| text.contains(part)));
    // If the word itself has no known meaning, the one beside it may.
    known(own).or_else(|| known(&word)).map_or(Reason::Unknown, |(reason, _)| Reason::Known(*reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_whatever_their_case_and_detail() {
        for (reason, words) in [
            (
                Reason::Known(FinishReason::Stop),
                &["stop", "STOP", "Tool_Calls", "tool-calls", "end_turn", "FinishReason.STOP", "FINISH_REASON_STOP"][..],
            ),
            (
                Reason::Known(FinishReason::Stop),
                &["stop: eos", "stop (</s>)", "eos_token", "stop_sequence", "COMPLETE"],
            ),
            (
                Reason::Known(FinishReason::Length),
                &[
                    "length",
                    "max_tokens",
                    "MAX_TOKENS",
                    "model_length",
                    "max_output_tokens",
                    "token_limit",
                    "truncated",
                ],
            ),
            (
                Reason::Known(FinishReason::Length),
                &["model_context_window_exceeded", "length: 4096", "max-tokens", "context_length_exceeded"],
            ),
            (
                Reason::Known(FinishReason::ContentFilter),
                &[
                    "content_filter",
                    "content_filtered",
                    "content-filter",
                    "content_filter: PROHIBITED_CONTENT",
                    "SAFETY",
                ],
            ),
            (
                Reason::Known(FinishReason::ContentFilter),
                &["IMAGE_SAFETY", "refusal", "guardrail_intervened", "sensitive", "RECITATION", "SPII", "ERROR_TOXIC"],
            ),
            (
                Reason::Known(FinishReason::Broken),
                &["error", "abort", "network_error", "insufficient_system_resource", "cancelled", "time_limit"],
            ),
            (
                Reason::Known(FinishReason::Broken),
                &[
                    "MALFORMED_FUNCTION_CALL",
                    "malformed_response",
                    "function_call_filter: MALFORMED_FUNCTION_CALL",
                    "function_call_filter",
                    "UNEXPECTED_TOOL_CALL",
                    "error: engine died",
                ],
            ),
            (Reason::None, &["", " ", "null", "None", "not_finished", "FINISH_REASON_UNSPECIFIED"]),
            (Reason::Unknown, &["other", "OTHER", "language", "bananas"]),
        ] {
            for word in words {
                assert_eq!(of(word), reason, "{word}");
            }
        }
    }
}
