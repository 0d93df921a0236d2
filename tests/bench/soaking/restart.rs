//! The server is stopped in the middle of its work, by SIGKILL and SIGTERM in turns, and started again.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::report::Restart;
use crate::server::{Error, Server};
use crate::world::World;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Kill,
    Terminate,
}

/// Restarts the server at the times that are set.
pub(crate) async fn conduct(world: &World, server: &mut Server, restarts: &mut Vec<Restart>) {
    for (at, how) in world.options.restarts().into_iter().zip([How::Kill, How::Terminate].into_iter().cycle()) {
        tokio::select! {
            () = world.stop.cancelled() => return,
            () = tokio::time::sleep_until((world.began + at).into()) => {}
        }
        restarts.extend(once(world, server, how).await);
    }
}

/// Stops it and starts it again. `None`: it did not do so, which ends the run.
pub(crate) async fn once(world: &World, server: &mut Server, how: How) -> Option<Restart> {
    let open = || world.accepted.load(Relaxed).saturating_sub(world.ended.load(Relaxed));
    world.goes_away();
    let (running, at) = (open(), world.began.elapsed());
    let stopping = Instant::now();
    match restart(server, how).await {
        Ok(starting) => {
            world.is_back(server.pid());
            Some(Restart { at, how, running, took: stopping.elapsed(), start: starting })
        }
        Err(error) => {
            world.give_up(format!("a restart ({how:?}) at {:.1} s: {error}", at.as_secs_f64()));
            None
        }
    }
}

/// Gives how long the start took.
async fn restart(server: &mut Server, how: How) -> Result<Duration, Error> {
    match how {
        How::Kill => server.kill().await?,
        How::Terminate => server.terminate().await?,
    }
    let starting = Instant::now();
    server.start().await?;
    Ok(starting.elapsed())
}
