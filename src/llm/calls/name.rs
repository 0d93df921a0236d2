//! The name of a function out of what servers make of it: in pieces, in every piece, with a prefix or a model's control
//! tokens. The functions that may be called are known, and decide.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::params::Params;

/// What templates and gateways put before a name.
const PREFIXES: &[&str] = &["functions.", "function.", "tools.", "tool.", "default_api.", "default_api:", "functions:"];

/// The functions that may be called.
#[derive(Debug, Default)]
pub(super) struct Names {
    params: Option<Arc<Params>>,
    /// The one that has to be.
    forced: Option<String>,
}

impl Names {
    pub(super) const fn of(params: Option<Arc<Params>>, forced: Option<String>) -> Self {
        Self { params, forced }
    }

    /// The function, where only one can be meant.
    pub(super) fn only(&self) -> Option<String> {
        let mut all = self.all();
        let first = all.next().filter(|_| all.next().is_none());
        self.forced.clone().or_else(|| first.map(str::to_owned))
    }

    /// Whether a name is all of it: no other function's begins with it, or its arguments have begun.
    pub(super) fn is_sure(&self, name: &str, has_arguments: bool) -> bool {
        let name = self.clean(name);
        let longer = |other: &str| other.len() > name.len() && other.starts_with(&*name);
        !name.is_empty() && (has_arguments || self.knows(&name) && !self.all().any(longer))
    }

    /// Whether `more` may be the rest of a name that began so, and not another function. `joins`: the server marks it
    /// as the same call.
    pub(super) fn may_go_on(&self, name: &str, more: &str, joins: bool) -> bool {
        let mut whole = name.to_owned();
        add(&mut whole, more);
        let begins = |other: &str| other.starts_with(&*whole) || other == self.clean(&whole);
        self.all().any(begins) || joins && !self.knows(&self.clean(name))
    }

    /// The name as it was meant.
    pub(super) fn clean<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let name = name.trim().trim_matches(['"', '`']);
        // Control tokens of gpt-oss: `get_weather<|channel|>commentary`.
        let name = name.split("<|").next().unwrap_or(name).trim_end();
        if self.knows(name) {
            return Cow::Borrowed(name);
        }
        let without = PREFIXES.iter().filter_map(|prefix| name.strip_prefix(prefix));
        let repeated =
            || self.all().find(|known| !known.is_empty() && name.replace(known, "").is_empty() && !name.is_empty());
        let meant = without.into_iter().find(|rest| self.knows(rest));
        meant
            .map(Cow::Borrowed)
            .or_else(|| repeated().map(|known| Cow::Owned(known.to_owned())))
            .unwrap_or(Cow::Borrowed(name))
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.all().any(|known| known == name)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.params.iter().flat_map(|params| &params.tools).map(|tool| tool.name.as_str())
    }
}

/// Adds a piece of a name: the rest of it, the same again, or all of it so far.
pub(super) fn add(name: &mut String, piece: &str) {
    if piece.starts_with(name.as_str()) {
        piece.clone_into(name);
    } else if name != piece {
        name.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tools: &[&str]) -> Names {
        let tools: Vec<_> = tools.iter().map(|name| serde_json::json!({"name": name})).collect();
        let params = serde_json::from_value(serde_json::json!({"model": "m", "tools": tools})).unwrap();
        Names::of(Some(Arc::new(params)), None)
    }

    #[test]
    fn a_name_is_cleaned_of_what_others_added() {
        let names = names(&["get_weather", "f"]);
        for (written, meant) in [
            ("get_weather", "get_weather"),
            (" get_weather\n", "get_weather"),
            ("get_weather<|channel|>commentary", "get_weather"),
            ("functions.get_weather", "get_weather"),
            ("default_api.f", "f"),
            ("get_weatherget_weather", "get_weather"),
            ("functions.other", "functions.other"),
            ("other", "other"),
        ] {
            assert_eq!(names.clean(written), meant, "{written}");
        }
    }

    #[test]
    fn a_name_is_sure_when_no_other_begins_with_it() {
        let names = names(&["get", "get_weather", "f"]);
        for (name, has_arguments, sure) in [
            ("f", false, true),
            ("get", false, false),
            ("get", true, true),
            ("get_we", false, false),
            ("get_weather", false, true),
            ("other", false, false),
            ("other", true, true),
        ] {
            assert_eq!(names.is_sure(name, has_arguments), sure, "{name}");
        }
        assert!(names.may_go_on("get", "_weather", false) && !names.may_go_on("f", "get", true));
        assert!(names.may_go_on("un", "known", true) && !names.may_go_on("un", "known", false));
    }
}
