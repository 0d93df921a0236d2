//! What people do with a server: each use is a story of one or several replies, from its first request to its last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;
use hyper::{Method, StatusCode};

use crate::client::Header;
use crate::follow::{Follow, ask};
use crate::later::{Kept, Past, is_gone, look};
use crate::tally::Check;
use crate::truth::Truth;
use crate::world::{Step, World};

mod conversation;
mod fresh;
mod image;
mod paced;
mod tree;

pub(crate) use conversation::say_more;
pub(crate) use tree::go_on;

/// A use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A reply that is streamed.
    Streamed,
    /// A reply in one piece.
    Whole,
    /// Turns of a conversation, with one who follows it.
    Conversation,
    /// Replies to replies, two of them at once.
    Tree,
    /// Images.
    Image,
    /// A paced reply with further followers.
    Followed,
    /// … whose client goes away, and asks again with the same key.
    Retried,
    /// … in the background.
    Background,
    /// … that is cancelled.
    Cancelled,
    /// … that is deleted while it runs.
    Deleted,
}

/// How often each use is made.
const MIX: [(Use, u32); 10] = [
    (Use::Streamed, 400),
    (Use::Whole, 100),
    (Use::Conversation, 50),
    (Use::Tree, 30),
    (Use::Image, 8),
    (Use::Followed, 50),
    (Use::Retried, 40),
    (Use::Background, 40),
    (Use::Cancelled, 20),
    (Use::Deleted, 20),
];

/// Of so many finished replies one is deleted, …
const DELETE: u64 = 10;
/// … one read back now and when the log has dropped it.
pub(crate) const READ_BACK: u64 = 20;
/// Of so many deleted ones one is looked for when the log has dropped it.
const KEEP_DELETED: u8 = 4;

impl Use {
    /// How many replies it has.
    pub(crate) fn replies(self) -> u8 {
        match self {
            Self::Conversation | Self::Tree => 4,
            Self::Image => 2,
            _ => 1,
        }
    }
}

/// Chooses a use.
pub(crate) fn choose(random: &mut Rng) -> Use {
    let all: u32 = MIX.iter().map(|(_, weight)| weight).sum();
    let mut place = random.u32(..all);
    for (next, weight) in MIX {
        if place < weight {
            return next;
        }
        place -= weight;
    }
    Use::Streamed
}

/// Makes it. What was wrong is told by then.
pub(crate) async fn make(world: &Arc<World>, what: Use, mut random: Rng) {
    let random = &mut random;
    let made = match what {
        Use::Streamed => fresh::streamed(world, random).await,
        Use::Whole => fresh::whole(world, random).await,
        Use::Conversation => conversation::talk(world, random).await,
        Use::Tree => tree::grow(world, random).await,
        Use::Image => image::show(world, random).await,
        Use::Followed => paced::followed(world, random).await,
        Use::Retried => paced::retried(world, random).await,
        Use::Background => paced::background(world, random).await,
        Use::Cancelled => paced::cancelled(world, random).await,
        Use::Deleted => paced::deleted(world, random).await,
    };
    // Every fault was told where it was found.
    drop(made);
}

/// A new text to be said, and said back.
fn say(world: &World, words: u16) -> (Truth, String) {
    let truth = Truth { number: world.number(), words };
    (truth, truth.text())
}

/// The body of a request for a streamed reply; `more` are further fields, with their comma.
fn body(model: &str, text: &str, more: &str) -> String {
    format!(r#"{{"model":"{model}","input":"{text}","stream":true{more}}}"#)
}

/// Asks for a reply and reads it to its end. `before` is how many words the model knows already.
async fn reply(world: &World, body: String, key: Option<&str>, truth: Truth, before: u64) -> Step<Past> {
    let text = truth.text();
    let mut follow = ask(world, body, key, &text).await?;
    follow.read_whole().await?;
    end(world, &follow, truth, before)
}

/// A reply that was read to its end. `before` is how many words its model knew already.
fn end(world: &World, follow: &Follow<'_>, truth: Truth, before: u64) -> Step<Past> {
    world.ended.fetch_add(1, Relaxed);
    world.hold(Check::Ending);
    let heard = before + u64::from(truth.words);
    let told = follow.reading.end.as_ref().and_then(|end| end.heard);
    if told != Some(heard) {
        let what = format!("it was given {told:?} words, of {heard}");
        return Err(world.fail(Check::Context, &follow.id, &what));
    }
    world.hold(Check::Context);
    Ok(Past { id: follow.id.clone(), truth, last: follow.reading.last(), heard, cancelled: None, image: None })
}

/// What becomes of a reply that is over: most are left alone, some deleted, some looked at now and later.
async fn leave(world: &World, past: Past) -> Step<()> {
    if past.truth.number.is_multiple_of(DELETE) {
        return delete(world, &past.id).await;
    }
    if past.truth.number % READ_BACK == 1 {
        look(world, &Kept::Reply(past.clone()), Check::ReadBack).await?;
        world.later.keep(Kept::Reply(past.clone()));
    }
    world.later.offer(|| Kept::Reply(past));
    Ok(())
}

/// Deletes a reply, after which it is not to be found.
async fn delete(world: &World, id: &str) -> Step<()> {
    let path = format!("/v1/responses/{id}");
    let was_away = world.is_away();
    let answer = world.call(Method::DELETE, &path, "", Header::None).await?;
    // A first try that was cut by a restart may have done it.
    let may_be_second = answer.status == StatusCode::NOT_FOUND && (was_away || world.is_away());
    if !answer.status.is_success() && !may_be_second {
        return Err(world.fail(Check::Deletions, &path, &format_args!("{}", answer.status)));
    }
    is_gone(world, id, Check::Deletions).await?;
    world.hold(Check::Deletions);
    let kept = || Kept::Deleted { id: id.to_owned() };
    if fastrand::u8(..KEEP_DELETED) == 0 {
        world.later.keep(kept());
    }
    world.later.offer(kept);
    Ok(())
}

/// A key that nobody else has.
fn key(world: &World, truth: Truth) -> String {
    format!("soak-{}-{}", world.options.seed, truth.number)
}
