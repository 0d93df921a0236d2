//! What is read back of replies that are over: at once, when the log has dropped them, and at the end of the run. Bounded:
//! of the whole run a sample is kept, which is fair to old and new ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::client::Header;
use crate::follow::{Follow, Place, Until};
use crate::options::Options;
use crate::reading::Reading;
use crate::response::{Items, Response};
use crate::tally::Check;
use crate::truth::{Truth, image};
use crate::uses::{READ_BACK, go_on, say_more};
use crate::world::{Over, Step, World};

/// Replies that wait to be read back. Beyond, further ones are not.
const MOST_WAITING: usize = 20_000;
/// Replies of the whole run that are looked at in the end.
const SAMPLE: usize = 1000;
/// Replies that are looked at at once.
const AT_ONCE: usize = 16;
/// Of so many replies from the store one is gone on with.
const GO_ON: u64 = 4;

/// What is known of something that is over.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Reply(Past),
    Deleted { id: String },
    Conversation { id: String, turns: Vec<Truth> },
}

/// A reply that is over.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) id: String,
    pub(crate) truth: Truth,
    /// The number of its last event, where somebody saw it.
    pub(crate) last: Option<u64>,
    /// How many words its model was given.
    pub(crate) heard: u64,
    /// It was cancelled after so many bytes.
    pub(crate) cancelled: Option<usize>,
    /// The image that was sent: its number and size.
    pub(crate) image: Option<(u64, usize)>,
}

/// What is to be looked at later.
#[derive(Debug)]
pub(crate) struct Later {
    delay: Duration,
    waiting: Mutex<VecDeque<(Instant, Kept)>>,
    sample: Mutex<Sample>,
}

/// A sample of all that was offered (reservoir sampling).
#[derive(Debug)]
struct Sample {
    kept: Vec<Kept>,
    offered: usize,
    random: Rng,
}

impl Later {
    pub(crate) fn new(options: &Options) -> Self {
        let sample = Sample { kept: Vec::new(), offered: 0, random: Rng::with_seed(options.seed) };
        Self { delay: options.expired(), waiting: Mutex::default(), sample: Mutex::new(sample) }
    }

    /// To be looked at when the log has dropped it.
    pub(crate) fn keep(&self, kept: Kept) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < MOST_WAITING {
            waiting.push_back((Instant::now() + self.delay, kept));
        }
    }

    /// Perhaps to be looked at in the end.
    pub(crate) fn offer(&self, kept: impl FnOnce() -> Kept) {
        let mut sample = self.sample.lock();
        sample.offered += 1;
        if sample.kept.len() < SAMPLE {
            sample.kept.push(kept());
            return;
        }
        let offered = sample.offered;
        let place = sample.random.usize(..offered);
        if let Some(slot) = sample.kept.get_mut(place) {
            *slot = kept();
        }
    }

    /// Looks at what the log has dropped, until the load is over and nothing waits.
    pub(crate) async fn run(world: Arc<World>) {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let next = world.later.waiting.lock().pop_front();
            let Some((due, kept)) = next else {
                if !world.is_loaded() && world.uses.is_empty() {
                    break;
                }
                tokio::select! {
                    () = world.stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(200)) => continue,
                }
            };
            tokio::select! {
                () = world.stop.cancelled() => break,
                () = tokio::time::sleep_until(due) => {}
            }
            let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else { break };
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let check = if matches!(kept, Kept::Deleted { .. }) { Check::Deleted } else { Check::FromStore };
                if look(&world, &kept, check).await.is_ok() {
                    // What was wrong is told.
                    let _ = more(&world, &kept).await;
                }
                drop(permit);
            });
        }
        // Those that are being looked at.
        let _ = at_once.acquire_many(u32::try_from(AT_ONCE).unwrap_or(1)).await;
    }

    /// Looks at the sample of the whole run.
    pub(crate) async fn look_at_sample(&self, world: &Arc<World>) {
        use futures_util::{StreamExt, stream};
        let kept = self.sample.lock().kept.clone();
        let looked = kept.into_iter().map(|kept| {
            let world = Arc::clone(world);
            async move {
                if !world.stop.is_cancelled() {
                    let _ = look(&world, &kept, Check::AtTheEnd).await;
                }
            }
        });
        stream::iter(looked).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// Goes on with something old: its context comes from the store.
async fn more(world: &Arc<World>, kept: &Kept) -> Step<()> {
    match kept {
        Kept::Reply(past) if past.cancelled.is_none() && (past.truth.number / READ_BACK).is_multiple_of(GO_ON) => {
            go_on(world, past).await.map(drop)
        }
        Kept::Conversation { id, turns } => say_more(world, id, turns).await,
        _ => Ok(()),
    }
}

/// Looks whether something is as it was.
pub(crate) async fn look(world: &World, kept: &Kept, check: Check) -> Step<()> {
    match kept {
        Kept::Reply(past) => past.look(world, check).await?,
        Kept::Deleted { id } => is_gone(world, id, check).await?,
        Kept::Conversation { id, turns } => items(world, id, turns, check).await?,
    }
    world.hold(check);
    Ok(())
}

/// A deleted reply is not found, whatever is asked of it.
pub(crate) async fn is_gone(world: &World, id: &str, check: Check) -> Step<()> {
    for path in ["", "?stream=true", "/input_items"] {
        let path = format!("/v1/responses/{id}{path}");
        let answer = world.call(Method::GET, &path, "", Header::None).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return Err(world.fail(check, &path, &format_args!("{}, and it was deleted", answer.status)));
        }
    }
    Ok(())
}

/// A conversation holds what was said in it.
pub(crate) async fn items(world: &World, id: &str, turns: &[Truth], check: Check) -> Step<()> {
    let path = format!("/v1/conversations/{id}/items?order=asc&limit=100");
    let answer = get(world, &path, check).await?;
    let items: Items = serde_json::from_slice(&answer).map_err(|error| world.fail(check, &path, &error))?;
    // Each text twice: what was asked, and what `echo` said to it.
    let expected = turns.iter().flat_map(|turn| [turn.text(), turn.text()]);
    if !items.data.iter().map(crate::response::Item::text).eq(expected) {
        let what = format!("{} items of {} turns, or other texts", items.data.len(), turns.len());
        return Err(world.fail(check, &path, &what));
    }
    Ok(())
}

async fn get(world: &World, path: &str, check: Check) -> Step<bytes::Bytes> {
    let answer = world.call(Method::GET, path, "", Header::None).await?;
    let status = answer.status;
    answer.ok().map_err(|error| world.fail(check, path, &format_args!("{status} {error}")))
}

impl Past {
    async fn look(&self, world: &World, check: Check) -> Step<()> {
        let wrong = |what: &str| -> Over { world.fail(check, &self.id, &what) };
        let text = self.truth.text();
        let text = &text[..self.cancelled.unwrap_or(text.len())];
        let status = if self.cancelled.is_some() { "cancelled" } else { "completed" };

        let answer = get(world, &format!("/v1/responses/{}", self.id), check).await?;
        let response: Response<'_> = serde_json::from_slice(&answer).map_err(|error| wrong(&error.to_string()))?;
        if response.status != status || response.text() != text || response.id != self.id {
            return Err(wrong(&format!("{} with {} bytes of text", response.status, response.text().len())));
        }

        let mut follow = Follow::new(world, &self.id, Place::Responses, Reading::new(text), None);
        follow.read(Until::End).await?;
        let reading = &follow.reading;
        let is_same = reading.text() == text && self.last.is_none_or(|last| reading.last() == Some(last));
        if !is_same || reading.end.as_ref().is_none_or(|end| end.status != status) {
            let (next, end) = (reading.next, reading.end.as_ref().map(|end| &end.status));
            let what =
                format!("streamed again it has {next} events, and the last was {:?}; it ended as {end:?}", self.last);
            return Err(wrong(&what));
        }

        let path = format!("/v1/responses/{}/input_items?order=asc", self.id);
        let answer = get(world, &path, check).await?;
        let items: Items = serde_json::from_slice(&answer).map_err(|error| wrong(&error.to_string()))?;
        if items.data.last().is_none_or(|item| item.text() != self.truth.text()) {
            return Err(wrong("its input is another"));
        }
        let images: Vec<_> = items.data.iter().flat_map(crate::response::Item::images).collect();
        match self.image {
            Some((number, bytes)) if images != [image(number, bytes)] => {
                Err(world.fail(Check::Images, &self.id, &format_args!("{} images, or another", images.len())))
            }
            Some(_) => {
                world.hold(Check::Images);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
