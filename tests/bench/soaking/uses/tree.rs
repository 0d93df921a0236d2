//! Replies to replies, without a conversation: branches run side by side, each with its own path of ancestors.

use std::sync::Arc;

use fastrand::Rng;

use super::{body, leave, reply, say};
use crate::later::Past;
use crate::world::{Step, World};

const WORDS: std::ops::RangeInclusive<u16> = 5..=20;

pub(super) async fn grow(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, random.u16(WORDS));
    let root = reply(world, body("echo", &text, ""), None, truth, 0).await?;
    let (left, right) = tokio::join!(go_on(world, &root), go_on(world, &root));
    let (left, right) = (left?, right?);
    let twig = go_on(world, &left).await?;
    for past in [right, twig] {
        leave(world, past).await?;
    }
    Ok(())
}

/// One more reply, to one that is over. Its model has to be given all that was said on the way there.
pub(crate) async fn go_on(world: &Arc<World>, past: &Past) -> Step<Past> {
    let (truth, text) = say(world, 10);
    let body = body("echo", &text, &format!(r#","previous_response_id":"{}""#, past.id));
    // What `past` was given, and what it said to that: its own input once more.
    reply(world, body, None, truth, past.heard + u64::from(past.truth.words)).await
}
