//! Does to the servers what is planned, when it is due.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::judge::Fault;
use super::machine::Error;
use super::plan::Act;
use super::world::{World, count};

/// Does all of it.
pub(super) async fn run(world: &World, acts: &[(Duration, Act)]) -> Result<(), Error> {
    for (at, act) in acts {
        tokio::time::sleep_until((world.begun + *at).into()).await;
        world.say(&words(*act));
        perform(world, *act).await?;
    }
    world.site.all_ready().await
}

async fn perform(world: &World, act: Act) -> Result<(), Error> {
    let (site, counts) = (&world.site, &world.counts);
    if let Act::Kill(instance) | Act::Terminate(instance) | Act::Freeze(instance) = act
        && let Err(error) = site.check(instance).await
    {
        world.find("", "instances", Fault::Refused { doing: "running", why: error.to_string() });
        site.start(instance).await?;
    }
    world.acts.lock().push((Instant::now(), act));
    match act {
        Act::Kill(instance) => {
            count(&counts.kills);
            site.kill(instance).await;
        }
        Act::Terminate(instance) => {
            count(&counts.terminations);
            // Its end is waited for when it is to start again: other things happen meanwhile.
            site.signal(instance, Signal::TERM).await;
        }
        Act::Start(instance) => {
            count(&counts.restarts);
            if let Err(error) = site.ended(instance).await {
                world.find("", "instances", Fault::Refused { doing: "ending", why: error.to_string() });
            }
            site.start(instance).await?;
        }
        Act::Freeze(instance) => {
            count(&counts.freezes);
            site.signal(instance, Signal::STOP).await;
        }
        Act::Thaw(instance) => site.signal(instance, Signal::CONT).await,
        Act::KillNats => {
            count(&counts.nats_restarts);
            site.kill_nats().await;
        }
        Act::StartNats => site.start_nats().await?,
        Act::StopPostgres => {
            count(&counts.postgres_stops);
            site.stop_postgres().await;
        }
        Act::StartPostgres => site.start_postgres().await?,
    }
    Ok(())
}

fn words(act: Act) -> String {
    match act {
        Act::Kill(instance) => format!("kill -9 instance {instance}"),
        Act::Terminate(instance) => format!("SIGTERM instance {instance}"),
        Act::Start(instance) => format!("start instance {instance}"),
        Act::Freeze(instance) => format!("freeze instance {instance}"),
        Act::Thaw(instance) => format!("thaw instance {instance}"),
        Act::KillNats => "kill -9 NATS".to_owned(),
        Act::StartNats => "start NATS".to_owned(),
        Act::StopPostgres => "stop Postgres".to_owned(),
        Act::StartPostgres => "start Postgres".to_owned(),
    }
}
