//! Does to the servers what is planned, when it is due.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::checker::Fault;
use super::cluster::{Cluster, count};
use super::host::Error;
use super::plan::Act;

/// Does all of it.
pub(super) async fn run(cluster: &Cluster, acts: &[(Duration, Act)]) -> Result<(), Error> {
    for (at, act) in acts {
        tokio::time::sleep_until((cluster.begun + *at).into()).await;
        cluster.log(&words(*act));
        perform(cluster, *act).await?;
    }
    cluster.deployment.all_ready().await
}

async fn perform(cluster: &Cluster, act: Act) -> Result<(), Error> {
    let (deployment, counts) = (&cluster.deployment, &cluster.counts);
    if let Act::Kill(instance) | Act::Terminate(instance) | Act::Freeze(instance) = act
        && let Err(error) = deployment.check(instance).await
    {
        cluster.find("", "instances", Fault::Refused { doing: "running", why: error.to_string() });
        deployment.start(instance).await?;
    }
    cluster.acts.lock().push((Instant::now(), act));
    match act {
        Act::Kill(instance) => {
            count(&counts.kills);
            deployment.kill(instance).await;
        }
        Act::Terminate(instance) => {
            count(&counts.terminations);
            // Its end is waited for when it is to start again: other things happen meanwhile.
            deployment.signal(instance, Signal::TERM).await;
        }
        Act::Start(instance) => {
            count(&counts.restarts);
            if let Err(error) = deployment.ended(instance).await {
                cluster.find("", "instances", Fault::Refused { doing: "ending", why: error.to_string() });
            }
            deployment.start(instance).await?;
        }
        Act::Freeze(instance) => {
            count(&counts.freezes);
            deployment.signal(instance, Signal::STOP).await;
        }
        Act::Thaw(instance) => deployment.signal(instance, Signal::CONT).await,
        Act::KillNats => {
            count(&counts.nats_restarts);
            deployment.kill_nats().await;
        }
        Act::StartNats => deployment.start_nats().await?,
        Act::StopPostgres => {
            count(&counts.postgres_stops);
            deployment.stop_postgres().await;
        }
        Act::StartPostgres => deployment.start_postgres().await?,
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
