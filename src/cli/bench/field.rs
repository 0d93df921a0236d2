//! Finds single fields in JSON without parsing the rest of it. Enough for the flat fields of events, and nothing else.

use memchr::memmem;

/// The number that an event of a reply bears, if any.
pub(crate) fn sequence_number(data: &[u8]) -> Option<u64> {
    let value = field(data, b"\"sequence_number\"")?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

/// The raw inside (escapes as they are) of the first string under a quoted key.
pub(crate) fn string_field<'a>(data: &'a [u8], quoted_key: &[u8]) -> Option<&'a [u8]> {
    let value = field(data, quoted_key)?.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', &value[end..])?;
        match value[end] {
            b'"' => return Some(&value[..end]),
            _ => end += 2,
        }
        if end > value.len() {
            return None;
        }
    }
}

/// What stands behind a key. Inside of a JSON string every quote is escaped, so a key with both its quotes, followed by
/// a colon, is a key.
pub(crate) fn field<'a>(data: &'a [u8], quoted_key: &[u8]) -> Option<&'a [u8]> {
    let mut rest = data;
    loop {
        let at = memmem::find(rest, quoted_key)?;
        rest = &rest[at + quoted_key.len()..];
        if let Some(value) = rest.trim_ascii_start().strip_prefix(b":") {
            return Some(value.trim_ascii_start());
        }
    }
}

/// What a string's raw inside means.
pub(crate) fn unescape(raw: &[u8]) -> Vec<u8> {
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| raw.to_vec(), String::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_not_found_inside_of_a_string() {
        assert_eq!(
            string_field(br#"{"text":"\"delta\":\"no\"","x":"delta","delta":"a\\\"b"}"#, b"\"delta\""),
            Some(&br#"a\\\"b"#[..])
        );
        assert_eq!(string_field(br#"{"delta":"never ends\"#, b"\"delta\""), None);
        assert_eq!(string_field(br#"{"delta":null}"#, b"\"delta\""), None);
    }

    #[test]
    fn a_number_is_read_with_and_without_blanks() {
        assert_eq!(sequence_number(br#"{"type":"x","sequence_number":12,"a":1}"#), Some(12));
        assert_eq!(sequence_number(br#"{ "sequence_number" : 0 }"#), Some(0));
        assert_eq!(sequence_number(br#"{"sequence_number":null}"#), None);
    }

    #[test]
    fn an_escaped_text_is_read_as_what_it_means() {
        assert_eq!(unescape(br"a\u0062\n"), b"ab\n");
    }
}
