//! The response object, as far as it is looked at.

use std::borrow::Cow;

use serde::Deserialize;

/// A reply as the server shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) status: Cow<'a, str>,
    #[serde(default)]
    output: Vec<Item>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    pub(crate) error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    input_tokens: u64,
}

/// A list of items.
#[derive(Debug, Deserialize)]
pub(crate) struct Items {
    pub(crate) data: Vec<Item>,
}

/// One item.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    #[serde(default)]
    content: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
    #[serde(default)]
    image_url: String,
}

impl Response<'_> {
    /// All that was said.
    pub(crate) fn text(&self) -> String {
        self.output.iter().map(Item::text).collect()
    }

    /// How many words the model was given: with `echo` those of the whole context.
    pub(crate) fn heard(&self) -> Option<u64> {
        self.usage.as_ref().map(|usage| usage.input_tokens)
    }

    pub(crate) fn is_over(&self) -> bool {
        !matches!(&*self.status, "queued" | "in_progress")
    }
}

impl Item {
    pub(crate) fn text(&self) -> String {
        self.content.iter().map(|part| part.text.as_str()).collect()
    }

    pub(crate) fn images(&self) -> impl Iterator<Item = &str> {
        self.content.iter().map(|part| part.image_url.as_str()).filter(|url| !url.is_empty())
    }
}
