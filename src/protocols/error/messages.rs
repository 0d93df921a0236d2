//! Errors about an input that its client sent as messages.

use super::ApiError;

impl ApiError {
    /// The same error, about `messages` rather than `input`. `messages` names, for each item of the input, the message from
    /// which it was made.
    #[must_use]
    pub(crate) fn about_messages(self, messages: &[usize]) -> Self {
        let Some(param) = &self.param else { return self };
        let rest = match param.strip_prefix("input") {
            Some("") => String::new(),
            Some(rest) if rest.starts_with('[') => entry(rest, messages),
            _ => return self,
        };
        self.with_param(format!("messages{rest}"))
    }
}

/// A path that begins with the place of an item, with that of its message.
fn entry(path: &str, messages: &[usize]) -> String {
    let place = path.strip_prefix('[').and_then(|path| path.split_once(']'));
    let known = place.and_then(|(index, rest)| Some((messages.get(index.parse::<usize>().ok()?)?, rest)));
    known.map_or_else(String::new, |(message, rest)| format!("[{message}]{rest}"))
}
