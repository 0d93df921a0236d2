//! `/v1/conversations`: create, read, change, follow, delete; and their items.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};

use crate::api::ApiError;
use crate::api::conversations::{Conversation, Deleted};
use crate::api::lists::{self, List};
use crate::api::query::ListQuery;
use crate::api::request::{CreateConversation, CreateItems, UpdateConversation};
use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::items::{InputItem, Item};
use crate::conversation::record::Change;
use crate::conversation::thread::{self, Thread};
use crate::http::Edge;
use crate::http::conversation_stream::{self, Start};
use crate::http::failure::Failure;
use crate::http::request::{self, check_content_type};
use crate::http::respond::{self, Answer};
use crate::replies::threads::Threads;
use crate::replies::{self, Error, Missing};

impl Edge {
    pub(in crate::http) async fn create_conversation(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        check_content_type(request.headers())?;
        let body = request::body(request, self.inner.config.max_body_bytes).await?;
        let CreateConversation { items, metadata } = CreateConversation::parse(&body)?;
        self.check_space()?;
        let thread = ThreadId::random();
        let items = self.new_items(thread, items).await?;
        let mut known = Threads::fresh(thread);
        let change = Change::ConversationCreated { metadata, items, caller: self.caller() };
        if !self.inner.threads.append(&mut known, change).await? {
            return Err(Error::Internal.into());
        }
        conversation(&known.thread)
    }

    pub(in crate::http) async fn get_conversation(&self, id: &str) -> Result<Answer, Failure> {
        let known = self.inner.threads.read(parse(id)?).await?;
        conversation(&known.thread)
    }

    pub(in crate::http) async fn update_conversation(
        &self,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        check_content_type(request.headers())?;
        let body = request::body(request, self.inner.config.max_body_bytes).await?;
        let UpdateConversation { metadata } = UpdateConversation::parse(&body)?;
        self.check_space()?;
        let known = self.change(id, |_| Ok(Some(Change::MetadataSet { metadata: metadata.clone() }))).await?;
        conversation(&known)
    }

    pub(in crate::http) async fn delete_conversation(&self, id: &str) -> Result<Answer, Failure> {
        let thread = parse(id)?;
        let known = self.inner.threads.read(thread).await?;
        exists(&known.thread)?;
        if let Some(running) = known.thread.running() {
            self.inner.generator.cancel(running.accepted.reply).await?;
        }
        self.inner.threads.delete_conversation(thread).await?;
        Ok(respond::json(&Deleted::conversation(thread)))
    }

    pub(in crate::http) async fn create_items(&self, id: &str, request: Request<Incoming>) -> Result<Answer, Failure> {
        check_content_type(request.headers())?;
        let body = request::body(request, self.inner.config.max_body_bytes).await?;
        let CreateItems { items } = CreateItems::parse(&body)?;
        self.check_space()?;
        let thread = parse(id)?;
        let items = self.new_items(thread, items).await?;
        self.change(id, |_| Ok(Some(Change::ItemsAdded { items: items.clone() }))).await?;
        let mut shown = items;
        self.inner.threads.attach(thread, &mut shown).await?;
        Ok(respond::json(&List::new(shown, false)))
    }

    pub(in crate::http) async fn list_items(&self, id: &str, query: Option<&str>) -> Result<Answer, Failure> {
        let query = ListQuery::parse(query)?;
        let thread = parse(id)?;
        let known = self.settled(thread).await?;
        exists(&known)?;
        let mut items = known.items();
        self.inner.threads.attach(thread, &mut items).await?;
        Ok(respond::json(&lists::page(&items, &query)?))
    }

    pub(in crate::http) async fn get_item(&self, id: &str, item: &str) -> Result<Answer, Failure> {
        let thread = parse(id)?;
        let known = self.settled(thread).await?;
        exists(&known)?;
        let found = known.items().into_iter().find(|known| known.id() == item);
        let mut found = found.ok_or_else(|| Error::from(Missing::Item(item.to_owned())))?;
        self.inner.threads.attach(thread, std::slice::from_mut(&mut found)).await?;
        Ok(respond::json(&found))
    }

    pub(in crate::http) async fn delete_item(&self, id: &str, item: &str) -> Result<Answer, Failure> {
        let known = self
            .change(id, |thread| {
                let is_there = thread.items().iter().any(|known| known.id() == item);
                if !is_there {
                    return Err(Missing::Item(item.to_owned()).into());
                }
                Ok(Some(Change::ItemDeleted { item: item.to_owned() }))
            })
            .await?;
        conversation(&known)
    }

    /// Everything in a conversation as it happens, for `EventSource`.
    pub(in crate::http) async fn conversation_events(
        &self,
        id: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Answer, Failure> {
        let thread = parse(id)?;
        let start = match request::last_event_id(headers, query) {
            None => Start::Now,
            Some(last) => last.parse().map_err(|_| {
                let message = format!("Invalid 'Last-Event-ID': expected '<ordinal>.<sequence_number>', got '{last}'.");
                Failure::from(ApiError::client(400, message).with_param("Last-Event-ID"))
            })?,
        };
        let subscription = self.inner.threads.log().subscribe(crate::log::Subject::Transcript(thread)).await;
        let subscription = subscription.map_err(Error::from)?;
        let known = self.inner.threads.read(thread).await?;
        match known.thread.conversation() {
            Some(_) => Ok(conversation_stream::open(self, known.thread, subscription, start).await?),
            // It was there once: the client need not come back.
            None if known.thread.last_ordinal() > 0 && !matches!(start, Start::Now) => {
                Ok(respond::empty(StatusCode::NO_CONTENT))
            }
            None => Err(Error::from(Missing::Conversation(thread)).into()),
        }
    }

    /// A conversation as its clients know it. A reply that nobody says is taken up: it may be over.
    async fn settled(&self, thread: ThreadId) -> Result<Thread, Failure> {
        let known = self.inner.threads.look(thread).await?;
        let Some(running) = known.running().map(|entry| Arc::clone(&entry.accepted)) else { return Ok(known) };
        if self.inner.threads.feeds().get(running.reply).is_some() {
            return Ok(known);
        }
        self.inner.generator.adopt(running).await?;
        Ok(self.inner.threads.look(thread).await?)
    }

    /// Refuses a change for which there is no space, before anything is written of it.
    fn check_space(&self) -> Result<(), Failure> {
        Ok(self.inner.threads.log().admits().map_err(Error::from)?)
    }

    /// Items that a client adds, with ids of their own.
    async fn new_items(&self, thread: ThreadId, items: Vec<InputItem>) -> Result<Vec<Item>, Failure> {
        let group = ReplyId::random(thread);
        let mut new = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                InputItem::Item(mut item, _) => {
                    if item.id().is_empty() {
                        let id = group.input_item(item.prefix(), index);
                        item.set_id(id);
                    }
                    new.push(item);
                }
                InputItem::Reference { id } => {
                    let found = self.inner.threads.told(&id).await?;
                    let path = format!("items[{index}]");
                    new.push(found.ok_or_else(|| ApiError::reference_not_found(path, &id))?.0);
                }
            }
        }
        self.inner.threads.detach(thread, &mut new).await?;
        Ok(new)
    }

    async fn change(
        &self,
        id: &str,
        mut decide: impl FnMut(&Thread) -> replies::Result<Option<Change>>,
    ) -> Result<Thread, Failure> {
        let changed = self.inner.threads.change(parse(id)?, |thread| {
            exists(thread)?;
            decide(thread)
        });
        Ok(changed.await?.thread)
    }
}

fn parse(id: &str) -> Result<ThreadId, Failure> {
    Ok(ThreadId::from_conversation(id).map_err(|_| ApiError::conversation_not_found(id))?)
}

fn exists(thread: &Thread) -> replies::Result<&thread::Conversation> {
    thread.conversation().ok_or_else(|| Missing::Conversation(thread.id()).into())
}

fn conversation(thread: &Thread) -> Result<Answer, Failure> {
    let known = exists(thread)?;
    Ok(respond::json(&Conversation::new(thread.id(), known.created_at, &known.metadata)))
}
