//! Whether what is printed may have colours.

/// Whether somebody who looks at a terminal wants them. <https://no-color.org>: present and not empty means no.
pub(super) fn is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
