//! Images of more than 64 KiB, which are kept apart from the log's records: some are each one's own, some sent by many.

use std::sync::Arc;

use fastrand::Rng;

use super::{end, leave, reply, say};
use crate::follow::ask;
use crate::later::{Kept, look};
use crate::tally::Check;
use crate::truth::image;
use crate::world::{Step, World};

const SIZES: [usize; 3] = [72 << 10, 96 << 10, 160 << 10];
/// Images that many send.
const SHARED: u64 = 4;

pub(super) async fn show(world: &Arc<World>, random: &mut Rng) -> Step<()> {
    let (truth, text) = say(world, 12);
    // Shared ones have numbers of their own, at the other end.
    let shared = random.bool().then(|| u64::MAX - random.u64(..SHARED));
    let shown = (shared.unwrap_or(truth.number), SIZES[random.usize(..SIZES.len())]);
    let body = format!(
        r#"{{"model":"echo","stream":true,"input":[{{"role":"user","content":[{{"type":"input_image","image_url":"{}"}}]}},{{"role":"user","content":"{text}"}}]}}"#,
        image(shown.0, shown.1)
    );
    let mut follow = ask(world, body, None, &text).await?;
    follow.read_whole().await?;
    let mut past = end(world, &follow, truth, 0)?;
    past.image = Some(shown);
    let kept = Kept::Reply(past.clone());
    look(world, &kept, Check::ReadBack).await?;
    // The image is a part of the context of the next turn.
    let (truth, text) = say(world, 12);
    let next = super::body("echo", &text, &format!(r#","previous_response_id":"{}""#, past.id));
    reply(world, next, None, truth, past.heard + u64::from(past.truth.words)).await?;
    if random.bool() {
        world.later.keep(kept);
        return Ok(());
    }
    // Others that sent the same image keep it.
    leave(world, past).await
}
