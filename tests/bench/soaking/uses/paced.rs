//! Replies that take their time, so that some are running whenever the server goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;
use hyper::Method;

use super::{body, delete, end, key, leave, say};
use crate::client::Header;
use crate::follow::{Follow, Place, Until, ask};
use crate::later::{Kept, Past, look};
use crate::reading::Reading;
use crate::response::Response;
use crate::tally::Check;
use crate::truth::Truth;
use crate::world::{Step, World};

const MODEL: &str = "echo-20ms";
/// 0.6 s: shorter than `REPLY_DEADLINE` by the time that a restart may take.
const WORDS: u16 = 30;
/// Between two looks at a reply in the background.
const POLL: Duration = Duration::from_millis(150);

/// Two more follow: one from the middle, one as a browser.
pub(super) async fn followed(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, WORDS);
    let mut first = ask(world, body(MODEL, &text, ""), None, &text).await?;
    first.read(Until::Events(random.u64(1..20))).await?;
    let mut late = Follow::new(world, &first.id, Place::Responses, first.reading.clone(), None);
    let mut browser = Follow::new(world, &first.id, Place::EventSource, Reading::new(&text), None);
    let (whole, one, two) = tokio::join!(first.read_whole(), late.read_whole(), browser.read_whole());
    whole?;
    let past = end(world, &first, truth, 0)?;
    one?;
    two?;
    if late.reading.next != first.reading.next || browser.reading.next != first.reading.next {
        return Err(world.fail(Check::Followers, &first.id, &"not all saw as many events"));
    }
    world.hold(Check::Followers);
    leave(world, past).await
}

/// The client goes away, and asks again: with the same key it gets the same reply, running or over.
pub(super) async fn retried(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, WORDS);
    let (key, body) = (key(world, truth), body(MODEL, &text, ""));
    let mut first = ask(world, body.clone(), Some(&key), &text).await?;
    first.read(Until::Events(random.u64(1..20))).await?;
    first.leave();
    let mut again = join(world, &body, &key, &text, &first.id).await?;
    again.read_whole().await?;
    let past = end(world, &again, truth, 0)?;
    let mut over = join(world, &body, &key, &text, &first.id).await?;
    over.read_whole().await?;
    // The first client comes back to what it missed.
    first.read_whole().await?;
    world.hold(Check::Retries);
    leave(world, past).await
}

async fn join<'a>(world: &'a World, body: &str, key: &str, text: &'a str, id: &str) -> Step<Follow<'a>> {
    let stream = world.open(Method::POST, "/v1/responses", body.to_owned().into(), Header::IdempotencyKey(key)).await?;
    if stream.reply.as_deref() != Some(id) {
        return Err(world.fail(Check::Retries, id, &format_args!("the same key gave {:?}", stream.reply)));
    }
    Ok(Follow::new(world, id, Place::Responses, Reading::new(text), Some(stream)))
}

/// Asked for and left alone; then followed, or looked at now and then.
pub(super) async fn background(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, WORDS);
    // Streamed, so that its head tells the id; the stream is left at once.
    let mut follow = ask(world, body(MODEL, &text, r#","background":true"#), None, &text).await?;
    follow.leave();
    if random.bool() {
        poll(world, &follow.id).await?;
    }
    follow.read_whole().await?;
    let past = end(world, &follow, truth, 0)?;
    leave(world, past).await
}

async fn poll(world: &World, id: &str) -> Step<()> {
    let path = format!("/v1/responses/{id}");
    loop {
        let answer = world.call_ok(Method::GET, &path, "", Header::None).await?;
        let response = serde_json::from_slice::<Response<'_>>(&answer.body);
        if response.map_err(|error| world.fail(Check::Ending, id, &error))?.is_over() {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(super) async fn cancelled(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, WORDS);
    let mut follow = ask(world, body(MODEL, &text, ""), None, &text).await?;
    follow.read(Until::Events(random.u64(1..20))).await?;
    world.call_ok(Method::POST, &format!("/v1/responses/{}/cancel", follow.id), "", Header::None).await?;
    follow.read(Until::End).await?;
    let past = stopped(world, &follow, truth)?;
    let kept = Kept::Reply(past);
    look(world, &kept, Check::ReadBack).await?;
    if random.u8(..10) == 0 {
        world.later.keep(kept.clone());
    }
    world.later.offer(|| kept);
    Ok(())
}

/// It ended as cancelled, or had just ended by itself.
fn stopped(world: &World, follow: &Follow<'_>, truth: Truth) -> Step<Past> {
    let status = follow.reading.end.as_ref().map(|end| end.status.as_str());
    let cancelled = match status {
        Some("cancelled") => Some(follow.reading.text().len()),
        _ if follow.reading.is_whole() => None,
        _ => return Err(world.fail(Check::Stops, &follow.id, &format_args!("it ended as {status:?}"))),
    };
    world.hold(Check::Stops);
    world.hold(Check::Ending);
    world.ended.fetch_add(1, Relaxed);
    let (id, last) = (follow.id.clone(), follow.reading.last());
    Ok(Past { id, truth, last, heard: u64::from(truth.words), cancelled, image: None })
}

/// Deleted while it runs: whoever follows it sees a cancelled end.
pub(super) async fn deleted(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, WORDS);
    let mut follow = ask(world, body(MODEL, &text, ""), None, &text).await?;
    follow.read(Until::Events(random.u64(1..20))).await?;
    delete(world, &follow.id).await?;
    if follow.read_on().await? {
        return stopped(world, &follow, truth).map(drop);
    }
    // A restart cut the stream, and the reply is gone: its end cannot be seen any more.
    world.ended.fetch_add(1, Relaxed);
    Ok(())
}
