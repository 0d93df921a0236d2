//! Errors in words, for those who look for what went wrong.

/// An error with its causes, on one line, without those that it says itself: `cannot connect to 127.0.0.1:1: Connection
/// refused`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = text + ": " + &more;
        }
        cause = error.source();
    }
    text
}
