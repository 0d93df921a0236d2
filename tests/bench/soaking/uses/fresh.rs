//! Single replies, at full speed: most of the load.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use fastrand::Rng;
use hyper::Method;

use super::{body, leave, reply, say};
use crate::client::{Answer, Header};
use crate::later::Past;
use crate::response::Response;
use crate::tally::Check;
use crate::world::{Over, Step, World};

/// Words of a reply: 20 on average.
const WORDS: std::ops::RangeInclusive<u16> = 8..=32;

pub(super) async fn streamed(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, random.u16(WORDS));
    let asked = Instant::now();
    let past = reply(world, body("echo", &text, ""), None, truth, 0).await?;
    if !world.is_away() && world.began.elapsed() > world.options.lasting / 2 {
        let micros = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
        world.times.lock().saturating_record(micros);
    }
    leave(world, past).await
}

pub(super) async fn whole(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    const PATH: &str = "/v1/responses";
    let (truth, text) = say(world, random.u16(WORDS));
    let body = format!(r#"{{"model":"echo","input":"{text}"}}"#);
    let answer = match world.client.call(Method::POST, PATH, body, Header::None).await.and_then(Answer::ok) {
        Ok(answer) => answer,
        Err(_) if world.is_away() => {
            // Nobody can tell whether it was accepted.
            world.unanswered.fetch_add(1, Relaxed);
            return Err(Over);
        }
        Err(error) => return Err(world.fail(Check::Refusals, "POST /v1/responses", &error)),
    };
    world.hold(Check::Refusals);
    world.accepted.fetch_add(1, Relaxed);
    let response: Response<'_> =
        serde_json::from_slice(&answer).map_err(|error| world.fail(Check::Ending, PATH, &error))?;
    if response.status != "completed" || response.text() != text {
        let what = format!("{} with {} bytes of text", response.status, response.text().len());
        return Err(world.fail(Check::Text, &response.id, &what));
    }
    world.hold(Check::Text);
    world.ended.fetch_add(1, Relaxed);
    world.hold(Check::Ending);
    // How many events it had nobody has seen.
    let past = Past {
        id: response.id.into_owned(),
        truth,
        last: None,
        heard: u64::from(truth.words),
        cancelled: None,
        image: None,
    };
    leave(world, past).await
}
