//! Turns of a conversation, and one who follows all of it as a browser does.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use fastrand::Rng;
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{body, key, reply, say};
use crate::client::{Answer, Header, Stream};
use crate::later::{Kept, items};
use crate::reading::Reading;
use crate::sse::{Frame, Scanner};
use crate::tally::Check;
use crate::truth::Truth;
use crate::world::{Over, Step, World};

const WORDS: std::ops::RangeInclusive<u16> = 5..=15;
const TURNS: usize = 4;
/// Of so many conversations one is followed, …
const FOLLOWED: u8 = 2;
/// … one deleted …
const DELETED: u8 = 4;
/// … and one looked at later.
const KEPT: u8 = 4;

pub(super) async fn talk(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let id = create(world).await?;
    let turns: Vec<_> = (0..TURNS).map(|_| say(world, random.u16(WORDS)).0).collect();
    let browser = if random.u8(..FOLLOWED) == 0 { Some(open(world, &id, None).await?) } else { None };
    let following = async {
        match browser {
            Some(stream) => follow(world, &id, &turns, stream).await,
            None => Ok(()),
        }
    };
    let (said, seen) = tokio::join!(turns_of(world, &id, &turns), following);
    said?;
    seen?;
    items(world, &id, &turns, Check::Conversations).await?;
    world.hold(Check::Conversations);
    match random.u8(..DELETED.max(KEPT)) {
        0 => delete(world, &id).await?,
        1 => world.later.keep(Kept::Conversation { id, turns }),
        _ => world.later.offer(|| Kept::Conversation { id, turns }),
    }
    Ok(())
}

/// One more turn of an old conversation. Its model has to be given all of it.
pub(crate) async fn say_more(world: &Arc<World>, id: &str, turns: &[Truth]) -> Step<()> {
    let before = turns.iter().map(|turn| 2 * u64::from(turn.words)).sum();
    turn(world, id, "echo", say(world, 10).0, before).await
}

async fn turns_of(world: &Arc<World>, id: &str, turns: &[Truth]) -> Step<()> {
    let mut before = 0;
    for (number, truth) in turns.iter().enumerate() {
        // One takes its time, so that restarts meet conversations in the middle of a reply.
        let model = if number == 1 { "echo-20ms" } else { "echo" };
        turn(world, id, model, *truth, before).await?;
        before += 2 * u64::from(truth.words);
    }
    Ok(())
}

/// With a key: a turn whose answer was lost would lock the conversation against its repetition.
async fn turn(world: &Arc<World>, id: &str, model: &str, truth: Truth, before: u64) -> Step<()> {
    let body = body(model, &truth.text(), &format!(r#","conversation":"{id}""#));
    reply(world, body, Some(&key(world, truth)), truth, before).await?;
    Ok(())
}

async fn create(world: &World) -> Step<String> {
    const PATH: &str = "/v1/conversations";
    let body = r#"{"metadata":{"of":"soak"}}"#;
    let made = world.client.call(Method::POST, PATH, body, Header::None).await.and_then(Answer::ok);
    match made {
        Ok(made) => {
            world.hold(Check::Refusals);
            let made: Value =
                serde_json::from_slice(&made).map_err(|error| world.fail(Check::Conversations, PATH, &error))?;
            Ok(made["id"].as_str().unwrap_or_default().to_owned())
        }
        Err(_) if world.is_away() => {
            world.unanswered.fetch_add(1, Relaxed);
            Err(Over)
        }
        Err(error) => Err(world.fail(Check::Refusals, PATH, &error)),
    }
}

async fn delete(world: &World, id: &str) -> Step<()> {
    let path = format!("/v1/conversations/{id}");
    world.call(Method::DELETE, &path, "", Header::None).await?;
    let answer = world.call(Method::GET, &path, "", Header::None).await?;
    if answer.status != StatusCode::NOT_FOUND {
        return Err(world.fail(Check::Deletions, &path, &format_args!("{}, and it was deleted", answer.status)));
    }
    world.hold(Check::Deletions);
    Ok(())
}

async fn open(world: &World, id: &str, last: Option<&str>) -> Step<Stream> {
    let header = last.map_or(Header::None, Header::LastEventId);
    world.open(Method::GET, &format!("/v1/conversations/{id}/events"), Bytes::new(), header).await
}

/// Follows a conversation until all turns have ended, over cuts.
async fn follow(world: &World, id: &str, turns: &[Truth], mut stream: Stream) -> Step<()> {
    let texts: Vec<_> = turns.iter().map(|turn| turn.text()).collect();
    let mut readings: Vec<_> = texts.iter().map(|text| Reading::new(text)).collect();
    let mut last = None;
    let fail = |what: &str| world.fail(Check::Followers, id, &what);
    loop {
        let mut scanner = Scanner::default();
        while let Ok(Some(chunk)) = stream.chunk().await {
            let mut fault = None;
            let fed = scanner.feed(&chunk, |frame| {
                if fault.is_none() {
                    fault = take(frame, &mut readings, &mut last).err();
                }
            });
            if let Some(what) = fault.or(fed.err()) {
                return Err(fail(&what));
            }
            if readings.iter().all(Reading::is_whole) {
                world.hold(Check::Followers);
                return Ok(());
            }
        }
        if !world.is_away() {
            return Err(world.fail(Check::Streams, id, &"the conversation's events were cut"));
        }
        // Who has seen nothing yet has no place to come back to: what is over by then is not told.
        let Some(last) = &last else { return Ok(()) };
        stream = open(world, id, Some(last)).await?;
    }
}

fn take(frame: Frame<'_>, readings: &mut [Reading<'_>], last: &mut Option<String>) -> Result<(), String> {
    // What was asked is told without an id.
    if frame.id.is_empty() {
        return Ok(());
    }
    *last = Some(frame.id.to_owned());
    let Some(reading) = readings.iter_mut().find(|reading| !reading.is_whole()) else {
        return Err(format!("an event after the last turn: {}", frame.data));
    };
    reading.take(frame).map_err(|(_, what)| what)
}
