//! Conversations and their items, as a client reads and changes them.

use std::sync::Arc;

use super::command::NewConversation;
use super::context::check_images;
use super::threads::Threads;
use super::threads::recent::Recent;
use super::timeline::{Start, Timeline};
use super::{Error, Missing, Replies, Result};
use crate::domain::caller::Caller;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::{InputItem, Item};
use crate::domain::params::Metadata;
use crate::domain::record::Change;
use crate::domain::thread::{Conversation, Thread};
use crate::log::Subject;

impl Replies {
    /// Creates a conversation.
    pub(crate) async fn create_conversation(
        &self,
        caller: &Caller,
        new: NewConversation,
    ) -> Result<(ThreadId, Conversation)> {
        self.check_space()?;
        let id = ThreadId::random();
        let items = self.new_items(caller, id, new.items).await?;
        let mut known = Threads::fresh(id);
        let change = Change::ConversationCreated { metadata: new.metadata, items, owner: caller.owner().clone() };
        if !self.threads.append(&mut known, change).await? {
            return Err(Error::Internal);
        }
        Ok((id, owned(&known.thread, caller)?.clone()))
    }

    /// A conversation.
    pub(crate) async fn conversation(&self, caller: &Caller, id: ThreadId) -> Result<Conversation> {
        let known = self.threads.read(id).await?;
        owned(&known.thread, caller).cloned()
    }

    /// Sets a conversation's metadata.
    pub(crate) async fn set_metadata(&self, caller: &Caller, id: ThreadId, metadata: Metadata) -> Result<Conversation> {
        self.check_space()?;
        let change = |_: &Thread| Ok(Some(Change::MetadataSet { metadata: metadata.clone() }));
        self.change(caller, id, change).await
    }

    /// Deletes a conversation; a reply that runs in it is stopped first.
    pub(crate) async fn delete_conversation(&self, caller: &Caller, id: ThreadId) -> Result<()> {
        let known = self.threads.read(id).await?;
        owned(&known.thread, caller)?;
        if let Some(running) = known.thread.running() {
            self.cancel(caller, running.accepted.reply).await?;
        }
        let threads = self.threads.clone();
        self.detached(async move { threads.delete_conversation(id).await }).await
    }

    /// Adds items to a conversation. Returns them as they are now.
    pub(crate) async fn add_items(&self, caller: &Caller, id: ThreadId, items: Vec<InputItem>) -> Result<Vec<Item>> {
        self.check_space()?;
        let mut items = self.new_items(caller, id, items).await?;
        self.change(caller, id, |_| Ok(Some(Change::ItemsAdded { items: items.clone() }))).await?;
        self.threads.attach(id, &mut items).await?;
        Ok(items)
    }

    /// The items of a conversation, oldest first. Those that are shown get their images by [`Replies::attach`].
    pub(crate) async fn items(&self, caller: &Caller, id: ThreadId) -> Result<Vec<Item>> {
        Ok(self.settled(caller, id).await?.items())
    }

    /// The last items of a long conversation, oldest first, and none of those before: up to its end, or at least up to
    /// this one; and whether they are all there are. `None`: that takes all items.
    pub(crate) async fn recent_items(
        &self,
        caller: &Caller,
        id: ThreadId,
        until: Option<&str>,
    ) -> Result<Option<(Vec<Item>, bool)>> {
        let Some(Recent { thread, is_whole }) = self.threads.look_recent(id, until).await? else { return Ok(None) };
        owned(&thread, caller)?;
        // Only the whole of a chat shows which of its replies are on the way to the newest.
        if thread.is_chat() && !is_whole {
            return Ok(None);
        }
        // One that nobody generates may be over.
        let feeds = self.threads.feeds();
        let is_adrift = thread.running().is_some_and(|running| feeds.get(running.accepted.reply).is_none());
        Ok((!is_adrift).then(|| (thread.items(), is_whole)))
    }

    /// Puts the images of a conversation's items in.
    pub(crate) async fn attach(&self, id: ThreadId, items: &mut [Item]) -> Result<()> {
        self.threads.attach(id, items).await
    }

    /// An item of a conversation.
    pub(crate) async fn item(&self, caller: &Caller, id: ThreadId, item: &str) -> Result<Item> {
        let items = self.settled(caller, id).await?.items();
        let mut found = items.into_iter().find(|known| known.id() == item).ok_or_else(|| missing(item))?;
        self.threads.attach(id, std::slice::from_mut(&mut found)).await?;
        Ok(found)
    }

    /// Deletes an item of a conversation, and erases its text. The speech of the reply that generated it is stopped first.
    pub(crate) async fn delete_item(&self, caller: &Caller, id: ThreadId, item: &str) -> Result<Conversation> {
        let mut thread = self.threads.read(id).await?.thread;
        owned(&thread, caller)?;
        if !thread.items().iter().any(|known| known.id() == item) {
            self.threads.write_ends(&thread).await?;
            thread = self.threads.read(id).await?.thread;
        }
        let of = ReplyId::of_output_item(item).ok().map(|(reply, _)| reply);
        if let Some(entry) = of.and_then(|reply| thread.reply(reply)).filter(|entry| entry.speaks()) {
            self.cancel(caller, entry.accepted.reply).await?;
        }
        let (threads, caller, item) = (self.threads.clone(), caller.clone(), item.to_owned());
        self.detached(async move {
            let check = |thread: &Thread| {
                owned(thread, &caller)?;
                let is_there = thread.items().iter().any(|known| known.id() == item);
                if is_there { Ok(()) } else { Err(missing(&item).into()) }
            };
            owned(&threads.delete_item(id, &item, check).await?, &caller).cloned()
        })
        .await
    }

    /// Everything in a conversation as it happens. `None`: it was deleted, and the client knew it once.
    pub(crate) async fn timeline(&self, caller: &Caller, id: ThreadId, start: Start) -> Result<Option<Timeline>> {
        // First the subscription, then what was before it.
        let subscription = self.threads.log().records().subscribe(Subject::Transcript(id)).await?;
        let known = self.threads.read(id).await?;
        match owned(&known.thread, caller) {
            Ok(_) => {
                let timeline = Timeline::open(self.clone(), caller.clone(), known.thread, subscription, start);
                timeline.await.map(Some)
            }
            Err(_) if start != Start::Now && is_gone(&known.thread, caller) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A conversation as its clients know it. A reply that nobody generates is taken over: it may be over.
    async fn settled(&self, caller: &Caller, id: ThreadId) -> Result<Thread> {
        let thread = self.threads.look(id).await?;
        owned(&thread, caller)?;
        let Some(running) = thread.running().map(|entry| Arc::clone(&entry.accepted)) else { return Ok(thread) };
        if self.threads.feeds().get(running.reply).is_some() {
            return Ok(thread);
        }
        let takeover = Arc::clone(&self.takeover);
        self.detached(async move { takeover.adopt(&running).await }).await?;
        self.threads.look(id).await
    }

    /// Refuses a change for which there is no space, before anything is written of it.
    fn check_space(&self) -> Result<()> {
        Ok(self.threads.log().admits()?)
    }

    /// Items that a client adds, with ids of their own.
    async fn new_items(&self, caller: &Caller, thread: ThreadId, mut items: Vec<InputItem>) -> Result<Vec<Item>> {
        self.acceptor.hear(caller, &mut items).await?;
        let group = ReplyId::random(thread);
        let mut new = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                InputItem::Item(mut item, _) => {
                    check_images(index, &item)?;
                    if item.id().is_empty() {
                        let id = group.input_item(item.prefix(), index);
                        item.set_id(id);
                    }
                    new.push(item);
                }
                InputItem::Reference { id } => match self.threads.context_entry(caller, &id).await? {
                    Some((item, _)) => new.push(item),
                    None => return Err(Missing::Reference { index, id }.into()),
                },
            }
        }
        self.threads.detach(thread, &mut new).await?;
        Ok(new)
    }

    async fn change(
        &self,
        caller: &Caller,
        id: ThreadId,
        decide: impl Fn(&Thread) -> Result<Option<Change>>,
    ) -> Result<Conversation> {
        let changed = self.threads.change(id, |thread| {
            owned(thread, caller)?;
            decide(thread)
        });
        owned(&changed.await?.thread, caller).cloned()
    }
}

/// The conversation of a thread, if it is this caller's.
fn owned<'a>(thread: &'a Thread, caller: &Caller) -> Result<&'a Conversation> {
    let conversation = thread.conversation().filter(|conversation| caller.may_reach(&conversation.owner));
    conversation.ok_or_else(|| Missing::Conversation(thread.id()).into())
}

/// Whether there was a conversation of this caller's that is deleted now.
fn is_gone(thread: &Thread, caller: &Caller) -> bool {
    thread.deleted_owner().is_some_and(|owner| caller.may_reach(owner))
}

fn missing(item: &str) -> Missing {
    Missing::Item(item.to_owned())
}
