//! Conversations as clients see them, and what is left of things that were deleted.

use serde::Serialize;

use super::lists::Listed;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::params::Metadata;
use crate::replies::Summary;

/// A conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Conversation<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    metadata: &'a Metadata,
}

/// A conversation in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ListedConversation {
    id: String,
    object: &'static str,
    created_at: u64,
    /// When an item or a reply last came, in Unix seconds.
    active_at: u64,
    title: Option<String>,
    metadata: Metadata,
}

/// What is told of something that was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

impl<'a> Conversation<'a> {
    /// The conversation of this thread, which was created at `created_at`, in Unix seconds.
    pub(crate) fn new(thread: ThreadId, created_at: u64, metadata: &'a Metadata) -> Self {
        Self { id: thread.conversation(), object: "conversation", created_at, metadata }
    }
}

impl From<Summary> for ListedConversation {
    fn from(summary: Summary) -> Self {
        let Summary { id, created_at, active_at, title, metadata } = summary;
        let (id, active_at) = (id.conversation(), active_at / 1000);
        Self { id, object: "conversation", created_at, active_at, title, metadata }
    }
}

impl Listed for ListedConversation {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Deleted {
    /// A reply that was deleted.
    pub(crate) fn reply(id: ReplyId) -> Self {
        Self { id: id.to_string(), object: "response", deleted: true }
    }

    /// A conversation that was deleted.
    pub(crate) fn conversation(thread: ThreadId) -> Self {
        Self { id: thread.conversation(), object: "conversation.deleted", deleted: true }
    }

    /// A user who was deleted.
    pub(crate) fn user(id: &str) -> Self {
        Self { id: id.to_owned(), object: "user.deleted", deleted: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_and_what_was_deleted_are_told_as_openai_tells_them() {
        let thread = ThreadId::from_bytes([0; 16]);
        let id = "00000000000000000000000000";
        let metadata = Metadata::from([("topic".to_owned(), "tea".to_owned())]);
        assert_eq!(
            json(Conversation::new(thread, 7, &metadata)),
            format!(r#"{{"id":"conv_{id}","object":"conversation","created_at":7,"metadata":{{"topic":"tea"}}}}"#)
        );
        assert_eq!(
            json(Deleted::conversation(thread)),
            format!(r#"{{"id":"conv_{id}","object":"conversation.deleted","deleted":true}}"#)
        );
        assert_eq!(
            json(Deleted::reply(ReplyId::from_bytes(thread, [0; 16]))),
            format!(r#"{{"id":"resp_{id}{id}","object":"response","deleted":true}}"#)
        );
    }

    fn json(value: impl Serialize) -> String {
        serde_json::to_string(&value).expect("JSON")
    }
}
