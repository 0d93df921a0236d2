//! The way to the best of several services that can do the same.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::choose::{Candidate, choose};
use super::gate::{MaxWait, Refused};
use super::{Permit, Service};

/// How often those who wait look whether they wait before the right door.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A service that can do what is asked for, and how often it has failed in this matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    /// The service.
    pub(crate) service: &'a Service,
    /// How often it has failed.
    pub(crate) failed: u32,
}

/// Waits for the right to call the best of these services: the first that is well and has room, else the first of them
/// that gets room. Which one it is, and the right. `options` is not empty.
pub(crate) async fn permit(
    options: &[Choice<'_>],
    caller: &str,
    max_wait: MaxWait,
) -> Result<(usize, Permit), Refused> {
    let begun = Instant::now();
    loop {
        let chosen = chosen(options);
        for &index in &chosen {
            if let Some(permit) = options[index].service.try_permit() {
                return Ok((index, permit));
            }
        }
        let max_wait = match max_wait {
            MaxWait::For(time) => MaxWait::For(time.saturating_sub(begun.elapsed())),
            MaxWait::Unlimited => MaxWait::Unlimited,
        };
        let wait = async |index: usize| (index, options[index].service.permit(caller, max_wait).await);
        let mut waits: FuturesUnordered<_> = chosen.iter().map(|index| wait(*index)).collect();
        loop {
            tokio::select! {
                passed = waits.next() => match passed {
                    Some((index, Ok(permit))) => return Ok((index, permit)),
                    Some((_, Err(refused))) if waits.is_empty() => return Err(refused),
                    Some((_, Err(_))) => {}
                    None => return Err(Refused::Full),
                },
                // The one that is waited for may have failed meanwhile, or another may be back.
                () = sleep(LOOK_AGAIN) => if self::chosen(options) != chosen { break },
            }
        }
    }
}

fn chosen(options: &[Choice<'_>]) -> Vec<usize> {
    let candidate = |option: &Choice<'_>| Candidate { standing: option.service.standing(), failed: option.failed };
    choose(&options.iter().map(candidate).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Config, Fault, TEXT, Unobserved};
    use super::*;
    use crate::config::Limits;

    const TEN: MaxWait = MaxWait::For(Duration::from_secs(10));

    fn service(name: &str) -> Service {
        Service::build(Config {
            name: name.to_owned(),
            capability: TEXT,
            base_url: "http://127.0.0.1:9/v1".parse().unwrap(),
            keys: Vec::new(),
            connect: Duration::from_secs(3),
            limits: Limits { max_in_flight: 1, max_queued: 1, queue_timeout: Duration::from_secs(10) },
            ca_file: None,
            observer: Arc::new(Unobserved),
        })
        .unwrap()
    }

    fn choices<const N: usize>(services: &[Service; N]) -> [Choice<'_>; N] {
        std::array::from_fn(|index| Choice { service: &services[index], failed: 0 })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_with_room_is_taken_and_else_the_first_that_gets_room() {
        let services = [service("a"), service("b")];
        let (first, held) = permit(&choices(&services), "me", TEN).await.unwrap();
        let (second, freed) = permit(&choices(&services), "me", TEN).await.unwrap();
        assert_eq!((first, second), (0, 1));
        let waiting = tokio::spawn({
            let services = services.clone();
            async move { permit(&choices(&services), "me", TEN).await.map(|(index, _)| index) }
        });
        while services[1].status().traffic.queued == 0 {
            tokio::task::yield_now().await;
        }
        drop(freed);
        assert_eq!(waiting.await.unwrap(), Ok(1));
        assert_eq!(services[0].status().traffic.queued, 0, "nobody waits in two places at the end");
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_service_that_fails_meanwhile_goes_to_the_next() {
        let services = [service("a"), service("b")];
        for _ in 0..super::super::breaker::IN_A_ROW {
            services[1].try_permit().unwrap().failed(&Fault::unavailable("gone"));
        }
        let _held = services[0].try_permit().unwrap();
        let waiting = tokio::spawn({
            let services = services.clone();
            async move { permit(&choices(&services), "me", TEN).await.map(|(index, _)| index) }
        });
        // The other one may be tried again before anybody gets tired of waiting.
        assert_eq!(waiting.await.unwrap(), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_request_times_out_when_every_upstream_is_full() {
        let services = [service("a"), service("b")];
        let _held = services.clone().map(|service| service.try_permit().unwrap());
        let begun = Instant::now();
        assert_eq!(permit(&choices(&services), "me", TEN).await.err(), Some(Refused::Late));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }
}
