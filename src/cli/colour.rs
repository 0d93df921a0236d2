//! Whether what is printed may have colours.

use crate::config::variable;

/// Whether somebody who looks at a terminal wants them. <https://no-color.org>: present and not empty means no.
pub(super) fn is_wanted() -> bool {
    variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb")
}
