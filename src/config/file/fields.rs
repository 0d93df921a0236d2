//! Reading the fields of a table of TOML, each with its line, and taking note of all that is wrong.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::values;
use crate::config::{ConfigError, variables as var};

/// A file that is being read.
pub(super) struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    env: &'a HashMap<String, String>,
    faults: RefCell<Vec<ConfigError>>,
    named: RefCell<Vec<String>>,
}

/// The fields of one table.
pub(in crate::config) struct Fields<'a> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'a>,
    /// Where it is: `llm[0]`; empty: the whole file.
    place: String,
    known: RefCell<Vec<&'static str>>,
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a str, text: &'a str, env: &'a HashMap<String, String>) -> Self {
        Self { path, text, env, faults: RefCell::default(), named: RefCell::default() }
    }

    /// The file as a table. `None`: it is no TOML, which is noted.
    pub(super) fn document(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.note(error.span(), "", &format!("TOML ({})", error.message()));
        }
        errors.is_empty().then_some(table)
    }

    /// What was found to be wrong, in the order of the lines.
    pub(super) fn faults(&self) -> Vec<ConfigError> {
        self.faults.borrow().clone()
    }

    /// The variables of the environment that were named.
    pub(super) fn named(&self) -> Vec<String> {
        self.named.borrow().clone()
    }

    fn note(&self, span: Option<Range<usize>>, field: &str, expected: &str) {
        let before = span.map_or("", |span| &self.text[..span.start.min(self.text.len())]);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let field = if field.is_empty() { String::new() } else { format!(", {field}") };
        let value = format!("{}, line {line}{field}", self.path);
        self.faults.borrow_mut().push(ConfigError {
            name: var::REJOINDER_CONFIG.name,
            value,
            expected: expected.to_owned(),
        });
    }
}

impl<'a> Fields<'a> {
    /// The fields of the whole file.
    pub(super) fn top(reader: &'a Reader<'a>, table: &'a DeTable<'a>) -> Self {
        Self { reader, table, place: String::new(), known: RefCell::default() }
    }

    /// A list of tables, each read by `read`.
    pub(super) fn list<T>(&self, name: &'static str, read: impl Fn(&Fields<'a>) -> Option<T>) -> Vec<T> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.fault(value, name, &format!("tables, each under a line [[{name}]]"));
            return Vec::new();
        };
        let read_one = |(index, value): (usize, Value<'a>)| {
            let place = format!("{name}[{index}]");
            let Some(table) = value.get_ref().as_table() else {
                self.fault(value, &place, "a table");
                return None;
            };
            let fields = Fields { reader: self.reader, table, place, known: RefCell::default() };
            let one = read(&fields);
            fields.done();
            one
        };
        list.iter().enumerate().filter_map(read_one).collect()
    }

    /// A text, read by `read`.
    pub(in crate::config) fn text<T>(&self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.get(name)?;
        let text = value.get_ref().as_str().ok_or_else(|| "a text in quotes".to_owned());
        text.and_then(read).map_err(|expected| self.fault(value, name, &expected)).ok()
    }

    /// A text that has to be there.
    pub(in crate::config) fn need<T>(&self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if !self.table.contains_key(name) {
            self.known.borrow_mut().push(name);
            self.wrong(name, "", "to be set");
            return None;
        }
        self.text(name, read)
    }

    /// A duration, such as `"30s"`.
    pub(super) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.text(name, |text| values::duration(text).map_err(|error| error.0))
    }

    /// A whole number, at least `least`.
    pub(super) fn count(&self, name: &'static str, least: usize) -> Option<usize> {
        let value = self.get(name)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            self.fault(value, name, &format!("a whole number, at least {least}"));
        }
        number
    }

    /// A limit: a whole number from 1 to `most`.
    pub(in crate::config) fn limit(&self, name: &'static str, most: u64) -> Option<u64> {
        let value = self.get(name)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.filter(|number| (1..=most).contains(number));
        if number.is_none() {
            self.fault(value, name, &format!("a whole number from 1 to {most}"));
        }
        number
    }

    /// A list of texts.
    pub(in crate::config) fn texts(&self, name: &'static str) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let texts = value.get_ref().as_array().and_then(|list| {
            list.iter().map(|text| text.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.unwrap_or_else(|| {
            self.fault(value, name, "a list of texts in quotes");
            Vec::new()
        })
    }

    /// Names of variables of the environment.
    pub(super) fn variables(&self, name: &'static str) -> Vec<String> {
        let names = self.texts(name);
        self.reader.named.borrow_mut().extend(names.iter().cloned());
        names
    }

    /// The name of a variable of the environment, which has to be there.
    pub(in crate::config) fn variable(&self, name: &'static str) -> Option<String> {
        let variable = self.need(name, |text| Ok(text.to_owned()))?;
        self.reader.named.borrow_mut().push(variable.clone());
        Some(variable)
    }

    /// A table of texts.
    pub(super) fn map(&self, name: &'static str) -> BTreeMap<String, String> {
        let Some(value) = self.get(name) else { return BTreeMap::new() };
        let texts = value.get_ref().as_table().and_then(|table| {
            let text = |(key, value): (&Spanned<_>, Value<'_>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.clone().into_owned(), value.get_ref().as_str()?.to_owned()))
            };
            table.iter().map(text).collect::<Option<_>>()
        });
        texts.unwrap_or_else(|| {
            self.fault(value, name, "a table of texts, such as { \"ours\" = \"theirs\" }");
            BTreeMap::new()
        })
    }

    /// What a variable of the environment holds, if it is set.
    pub(in crate::config) fn environment(&self, variable: &str) -> Option<&'a str> {
        self.reader.env.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Notes that a field is wrong; `place` is told instead of the field where it says it better.
    pub(in crate::config) fn wrong(&self, name: &str, place: &str, expected: &str) {
        let first = self.table.values().map(|value| value.span().start).min().unwrap_or(0);
        let span = self.table.get(name).map_or(first..first, Spanned::span);
        let own = self.named(name);
        self.reader.note(Some(span), if place.is_empty() { &own } else { place }, expected);
    }

    /// Notes the fields that nobody asked for. To be called last.
    pub(super) fn done(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            if !known.iter().any(|known| known == key.get_ref()) {
                let field = self.named(key.get_ref());
                self.reader.note(Some(key.span()), &field, &format!("one of {}", known.join(", ")));
            }
        }
    }

    fn get(&self, name: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(name);
        self.table.get(name)
    }

    fn fault(&self, value: Value<'_>, name: &str, expected: &str) {
        self.reader.note(Some(value.span()), &self.named(name), expected);
    }

    fn named(&self, name: &str) -> String {
        match self.place.as_str() {
            "" => name.to_owned(),
            place if name.starts_with(place) => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }
}
