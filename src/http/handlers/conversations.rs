//! `/v1/conversations`: create, read, change, follow, delete; and their items.

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};

use crate::domain::caller::Caller;
use crate::domain::ids::ThreadId;
use crate::domain::items::Item;
use crate::domain::thread;
use crate::http::Edge;
use crate::http::conversation_stream;
use crate::http::failure::Failure;
use crate::http::request;
use crate::http::respond::{self, Answer};
use crate::offload::offload;
use crate::protocols::ApiError;
use crate::protocols::conversations::{Conversation, Deleted, ListedConversation};
use crate::protocols::lists::{self, List};
use crate::protocols::query::{ConversationsQuery, ListQuery, Order};
use crate::protocols::request::{CreateConversation, CreateItems, UpdateConversation};
use crate::replies::command::NewConversation;
use crate::replies::{self, Missing, Start, Wanted};

impl Edge {
    pub(in crate::http) async fn create_conversation(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let mut body = self.json_body(request).await?;
        let CreateConversation { items, metadata } = offload(body.len(), || CreateConversation::parse(&body))?;
        request::hold_recordings(&mut body.share, &items).await?;
        let new = NewConversation { metadata, items };
        let (id, created) = self.inner.replies.create_conversation(caller, new).await?;
        Ok(conversation(id, &created))
    }

    /// The caller's conversations.
    pub(in crate::http) async fn list_conversations(
        &self,
        caller: &Caller,
        query: Option<&str>,
    ) -> Result<Answer, Failure> {
        let ConversationsQuery { list, metadata } = ConversationsQuery::parse(query)?;
        let unknown = |id: &str| lists::unknown_cursor(ApiError::conversation_not_found(id));
        let after = list.after.as_deref();
        let after = after.map(|id| ThreadId::from_conversation(id).map_err(|_| unknown(id))).transpose()?;
        let wanted = Wanted { limit: list.limit, ascending: list.order == Order::Ascending, after, metadata };
        let page = match self.inner.replies.conversations(caller, &wanted).await {
            Err(replies::Error::NotFound(Missing::Conversation(id))) => return Err(unknown(&id.conversation()).into()),
            page => page?,
        };
        let listed = page.conversations.into_iter().map(ListedConversation::from).collect();
        Ok(respond::json(&List::new(listed, page.has_more)))
    }

    pub(in crate::http) async fn get_conversation(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let id = parse(id)?;
        Ok(conversation(id, &self.inner.replies.conversation(caller, id).await?))
    }

    pub(in crate::http) async fn update_conversation(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let body = self.json_body(request).await?;
        let UpdateConversation { metadata } = UpdateConversation::parse(&body)?;
        let id = parse(id)?;
        Ok(conversation(id, &self.inner.replies.set_metadata(caller, id, metadata).await?))
    }

    pub(in crate::http) async fn delete_conversation(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let id = parse(id)?;
        self.inner.replies.delete_conversation(caller, id).await?;
        Ok(respond::json(&Deleted::conversation(id)))
    }

    pub(in crate::http) async fn create_items(
        &self,
        caller: &Caller,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let mut body = self.json_body(request).await?;
        let CreateItems { items } = offload(body.len(), || CreateItems::parse(&body))?;
        request::hold_recordings(&mut body.share, &items).await?;
        let added = self.inner.replies.add_items(caller, parse(id)?, items).await?;
        Ok(respond::json(&List::new(added, false)))
    }

    pub(in crate::http) async fn list_items(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
    ) -> Result<Answer, Failure> {
        let query = ListQuery::parse(query)?;
        let id = parse(id)?;
        let mut page = match self.recent_page(caller, id, &query).await? {
            Some(page) => page,
            None => lists::page(self.inner.replies.items(caller, id).await?, &query)?,
        };
        self.inner.replies.attach(id, page.data_mut()).await?;
        Ok(respond::json(&page))
    }

    /// A page from the end of a long conversation. `None`: it may go back further than what is read for it.
    async fn recent_page(
        &self,
        caller: &Caller,
        id: ThreadId,
        query: &ListQuery,
    ) -> Result<Option<List<Item>>, Failure> {
        if query.order != Order::Descending {
            return Ok(None);
        }
        let Some((items, is_whole)) = self.inner.replies.recent_items(caller, id, query.after.as_deref()).await? else {
            return Ok(None);
        };
        Ok(lists::page(items, query).ok().filter(|page| is_whole || page.has_more()))
    }

    pub(in crate::http) async fn get_item(&self, caller: &Caller, id: &str, item: &str) -> Result<Answer, Failure> {
        Ok(respond::json(&self.inner.replies.item(caller, parse(id)?, item).await?))
    }

    pub(in crate::http) async fn delete_item(&self, caller: &Caller, id: &str, item: &str) -> Result<Answer, Failure> {
        let id = parse(id)?;
        Ok(conversation(id, &self.inner.replies.delete_item(caller, id, item).await?))
    }

    /// Everything in a conversation as it happens, for `EventSource`.
    pub(in crate::http) async fn conversation_events(
        &self,
        caller: &Caller,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let id = parse(id)?;
        let start = match request::last_event_id(headers, query) {
            None => Start::Now,
            Some(last) => last.parse().map_err(|_| {
                let message = format!("Invalid 'Last-Event-ID': expected '<ordinal>.<sequence_number>', got '{last}'.");
                ApiError::client(400, message).with_param("Last-Event-ID")
            })?,
        };
        match self.inner.replies.timeline(caller, id, start).await? {
            Some(timeline) => Ok(conversation_stream::open(self, timeline)),
            // It was there once: the client need not come back.
            None => Ok(respond::empty(StatusCode::NO_CONTENT)),
        }
    }
}

fn parse(id: &str) -> Result<ThreadId, ApiError> {
    ThreadId::from_conversation(id).map_err(|_| ApiError::conversation_not_found(id))
}

fn conversation(id: ThreadId, known: &thread::Conversation) -> Answer {
    respond::json(&Conversation::new(id, known.created_at, &known.metadata))
}
