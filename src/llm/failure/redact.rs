//! What is taken out of an upstream's words before a client reads them: keys, and where things are inside.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use crate::config::values::Secret;

/// Stands where a key was.
const KEY: &str = "[key]";

/// Stands where an address was.
const ADDRESS: &str = "[address]";

/// Keys in their usual forms. The text before a key, if that is what identifies it, is the first group.
static KEYS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    compile(&[
        // JSON Web Tokens.
        r"()\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?",
        r"(?i)\b((?:bearer|basic)\s+)[^\s'\x22,;)]{6,}",
        // By what they are called: `api_key=…`, `x-api-key: …`, `"token": "…"`, `Incorrect API key provided: …`.
        r"(?i)((?:api[ _-]?key|access[ _-]?key|secret|token|password|passwd|authorization|subscription[ _-]?key)(?:\s+provided)?['\x22]?\s*[:=]\s*['\x22]?)[^\s'\x22,;&)]{4,}",
        // The password of an address.
        r"(://)[^\s/@'\x22]+@",
        // By how they begin.
        r"()\b(?:sk|pk|rk|ak|gsk|xai|hf|nvapi|pplx|r8|ghp|gho|glpat|key|rj|fw|tgp|csk)[-_][\w*.-]{8,}",
        r"()\b(?:AIza|AKIA|ASIA|ya29\.)[\w-]{10,}",
        // Long, and of letters and digits without a word among them.
        r"()\b(?:[0-9a-f]{32,}|[0-9A-F]{32,})\b",
        r"()\b[A-Za-z0-9_]{48,}={0,2}",
    ])
});

/// Addresses: with a scheme, with a port, of numbers, or of names that nobody outside knows.
static ADDRESSES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    compile(&[
        r"()(?i)\b[a-z][a-z0-9+.-]*://[^\s'\x22<>)\]]+",
        r"()\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\](?::\d{1,5})?",
        r"()\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b",
        r"()(?i)\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b",
        r"()(?i)\blocalhost(?::\d{1,5})?\b",
        r"()(?i)\b[a-z0-9_-]+(?:\.[a-z0-9_-]+)+:\d{1,5}\b",
        r"()(?i)\b[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.(?:internal|local|localdomain|lan|intranet|corp|svc|cluster)\b",
        // One name and a port, if the words before show that it is one: elsewhere it may be `limit:4096`.
        r"(?i)\b((?:tcp|host|connect(?:ing|ion)?|to|at|from|dial|upstream|server|backend|host=)[\s'\x22]+)[a-z][a-z0-9_-]*:\d{2,5}\b",
    ])
});

fn compile(patterns: &[&str]) -> Vec<Regex> {
    patterns.iter().map(|pattern| Regex::new(pattern).expect("a pattern that a test compiles")).collect()
}

/// The text without keys and addresses: for clients.
pub(in crate::llm) fn for_clients(text: &str) -> String {
    // Addresses first, whole: a password may stand in one.
    without_keys(&replace(&ADDRESSES, text, ADDRESS))
}

/// The text without keys: for the log.
pub(in crate::llm) fn without_keys(text: &str) -> String {
    replace(&KEYS, text, KEY).into_owned()
}

/// The text without these keys, whatever they look like.
pub(in crate::llm) fn without(keys: &[Secret], text: &mut String) {
    // One that is as short as a word would be found in innocent ones.
    const SHORTEST: usize = 4;
    for key in keys.iter().map(Secret::expose).filter(|key| key.len() >= SHORTEST) {
        if text.contains(key) {
            *text = text.replace(key, KEY);
        }
    }
}

fn replace<'a>(patterns: &[Regex], text: &'a str, with: &str) -> Cow<'a, str> {
    patterns.iter().fold(Cow::Borrowed(text), |text, pattern| {
        let replaced = pattern.replace_all(&text, |found: &regex::Captures<'_>| format!("{}{with}", &found[1]));
        match replaced {
            Cow::Owned(replaced) => Cow::Owned(replaced),
            Cow::Borrowed(_) => text,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_usual_form_are_taken_out() {
        for (text, left) in [
            ("Incorrect API key provided: sk-proj-abcDEF123456. See", "Incorrect API key provided: [key] See"),
            ("Incorrect API key provided: my*****word, see", "Incorrect API key provided: [key], see"),
            ("header 'Authorization: Bearer abc.def-123456' is wrong", "header 'Authorization: [key] [key]' is wrong"),
            ("Bearer abcdef123456 is wrong", "Bearer [key] is wrong"),
            ("at /v1?api_key=abcd1234&x=1", "at /v1?api_key=[key]&x=1"),
            (r#"{"api-key": "0123abcd", "x": 1}"#, r#"{"api-key": "[key]", "x": 1}"#),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_ expired", "token [key] expired"),
            ("key AIzaSyA-1234567890abcdef is blocked", "key [key] is blocked"),
            ("gsk_abcdefgh12345678 has no quota", "[key] has no quota"),
            ("0123456789abcdef0123456789abcdef", "[key]"),
        ] {
            assert_eq!(for_clients(text), left);
        }
    }

    #[test]
    fn addresses_are_taken_out() {
        for (text, left) in [
            ("dial tcp 10.1.2.3:8000: connection refused", "dial tcp [address]: connection refused"),
            ("Get \"http://user:pw@vllm.prod.svc.cluster.local:8000/v1/chat\": EOF", "Get \"[address]\": EOF"),
            ("HTTPConnectionPool(host='localhost', port=8000)", "HTTPConnectionPool(host='[address]', port=8000)"),
            ("no route to vllm-0.vllm.default.svc", "no route to [address]"),
            ("cannot connect to gpu-7:8000", "cannot connect to [address]"),
            ("[::1]:8080 and fe80:0:0:1::", "[address] and [address]::"),
            ("gpu.example.com:8443 is away", "[address] is away"),
        ] {
            assert_eq!(for_clients(text), left);
        }
    }

    #[test]
    fn what_helps_a_client_stays() {
        for text in [
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
            "body.messages.0.content: Extra inputs are not permitted (max_completion_tokens, stream_options)",
            "The model `gpt-4o-mini-2024-07-18` does not exist; try meta-llama/Llama-3.1-8B-Instruct",
            "Invalid 'tools[0].function.name': limit:4096, char:120; at line 3:14",
            "request req_011CSHoEeqs5C35K2UUqR7Fy at 12:30:45",
            "unexpected token: '}' in JSON",
        ] {
            assert_eq!(for_clients(text), text);
        }
    }

    #[test]
    fn the_keys_that_are_set_are_taken_out_whatever_they_look_like() {
        let mut text = "no such user: open sesame, nor abc".to_owned();
        without(&[Secret::new("open sesame"), Secret::new("abc")], &mut text);
        assert_eq!(text, "no such user: [key], nor abc");
    }
}
