//! Whether and when an upstream is called again for a reply. Pure: knows neither the upstreams nor a clock.

use std::time::Duration;

use crate::llm::delta::UpstreamErrorKind as Kind;
use crate::llm::slot::Next;

/// Calls in a row that brought nothing, after which a reply fails, if there is one server to call …
const TRIES_ALONE: u32 = 3;

/// … or that brought thoughts and nothing else: these cannot be continued, and are paid for anew each time.
const TRIES_THINKING: u32 = 3;

/// … and for each, if there are more.
const TRIES_EACH: u32 = 2;

/// Calls for one reply, whatever they brought.
const MOST_CALLS: u32 = 50;

/// The first pause before the same server is called again. Each is four times the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest that a server may ask us to wait: one that asks for more is not worth waiting for, and not called
/// sooner.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// How the calls for one reply went.
#[derive(Debug, Default)]
pub(super) struct Retries {
    calls: u32,
    /// Calls in a row that brought nothing.
    in_vain: u32,
    /// Calls that brought only thoughts.
    thought: u32,
}

/// A call that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// The server's place in the list.
    pub(super) server: Option<usize>,
    /// Whether it brought something before it failed.
    pub(super) progressed: bool,
    /// Whether it brought thoughts, and nothing else.
    pub(super) thought: bool,
}

impl Retries {
    /// How long to pause before the next call. `None`: there is none. `next`: the server that would be called; `left`:
    /// the time until the reply has to be over; `chance`: a random number from 0 to 1, so that not all come back at
    /// once.
    pub(super) fn again(
        &mut self,
        failure: Failure,
        next: Option<Next>,
        left: Duration,
        chance: f64,
    ) -> Option<Duration> {
        self.calls += 1;
        self.thought += u32::from(failure.thought);
        self.in_vain = if failure.progressed { 1 } else { self.in_vain + 1 };
        let next = next?;
        let most = if next.of > 1 { TRIES_EACH * u32::try_from(next.of).unwrap_or(1) } else { TRIES_ALONE };
        if self.calls >= MOST_CALLS || self.thought >= TRIES_THINKING || self.in_vain >= most.max(TRIES_ALONE) {
            return None;
        }
        let is_other = next.is_well && failure.server.is_some_and(|failed| failed != next.server);
        match failure.kind {
            Kind::Retry { .. } | Kind::Credentials if is_other && next.failed == 0 => Some(Duration::ZERO),
            // What one server asks for does not bind another.
            Kind::Retry { after: Some(after) } if !is_other => (after <= LONGEST_WAIT.min(left)).then_some(after),
            Kind::Retry { .. } => {
                let pause = FIRST_PAUSE * 4u32.saturating_pow(self.in_vain.saturating_sub(1));
                Some(pause.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0))
            }
            Kind::Credentials | Kind::PrefillRejected | Kind::ContextLength | Kind::Request => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn failed(kind: Kind) -> Failure {
        Failure { kind, server: Some(0), progressed: false, thought: false }
    }

    const RETRY: Kind = Kind::Retry { after: None };

    const ALONE: Option<Next> = Some(Next { server: 0, failed: 1, is_well: true, of: 1 });
    const OTHER: Option<Next> = Some(Next { server: 1, failed: 0, is_well: true, of: 2 });

    fn millis(pauses: impl IntoIterator<Item = Option<Duration>>) -> Vec<Option<u128>> {
        pauses.into_iter().map(|pause| pause.map(|pause| pause.as_millis())).collect()
    }

    #[test]
    fn one_server_is_called_three_times_with_growing_pauses_that_differ() {
        for (chance, pauses) in [(0.0, [150, 600]), (1.0, [250, 1000])] {
            let mut retries = Retries::default();
            let pauses = [Some(pauses[0]), Some(pauses[1]), None];
            assert_eq!(millis((0..3).map(|_| retries.again(failed(RETRY), ALONE, HOUR, chance))), pauses);
        }
    }

    #[test]
    fn another_server_that_is_well_is_called_at_once_and_each_twice_at_most() {
        let mut retries = Retries::default();
        let again = Some(Next { failed: 1, ..OTHER.unwrap() });
        assert_eq!(retries.again(failed(RETRY), OTHER, HOUR, 0.5), Some(Duration::ZERO));
        assert_eq!(millis([retries.again(failed(RETRY), again, HOUR, 0.5)]), [Some(800)], "all have failed once");
        assert!(retries.again(failed(RETRY), again, HOUR, 0.5).is_some());
        assert_eq!(retries.again(failed(RETRY), again, HOUR, 0.5), None);
    }

    #[test]
    fn the_time_that_a_server_asks_for_is_waited_or_it_is_not_called_again() {
        let after = |seconds| failed(Kind::Retry { after: Some(Duration::from_secs(seconds)) });
        for (seconds, left, pause) in [(7, HOUR, Some(7)), (7, Duration::from_secs(5), None), (600, HOUR, None)] {
            let pause = pause.map(Duration::from_secs);
            assert_eq!(Retries::default().again(after(seconds), ALONE, left, 0.5), pause);
        }
        assert_eq!(Retries::default().again(after(7), OTHER, HOUR, 0.5), Some(Duration::ZERO), "another need not wait");
    }

    #[test]
    fn a_bad_request_fails_at_once_and_a_key_is_wrong_with_one_server_only() {
        for kind in [Kind::Request, Kind::ContextLength, Kind::PrefillRejected] {
            assert_eq!(Retries::default().again(failed(kind), OTHER, HOUR, 0.5), None);
        }
        assert_eq!(Retries::default().again(failed(Kind::Credentials), OTHER, HOUR, 0.5), Some(Duration::ZERO));
        assert_eq!(Retries::default().again(failed(Kind::Credentials), ALONE, HOUR, 0.5), None);
    }

    #[test]
    fn a_server_that_makes_progress_is_called_again_up_to_a_bound() {
        let mut retries = Retries::default();
        let got_on = Failure { progressed: true, ..failed(RETRY) };
        let calls = (0..100).take_while(|_| retries.again(got_on, ALONE, HOUR, 0.5).is_some()).count();
        assert_eq!(calls, 49);
    }

    #[test]
    fn thoughts_alone_are_no_progress_however_many_servers_there_are() {
        let mut retries = Retries::default();
        let thought = Failure { thought: true, ..failed(RETRY) };
        let many = Some(Next { of: 5, ..OTHER.unwrap() });
        let calls = (0..100).take_while(|_| retries.again(thought, many, HOUR, 0.5).is_some()).count();
        assert_eq!(calls, 2);
    }

    #[test]
    fn nobody_to_call_is_the_end() {
        assert_eq!(Retries::default().again(failed(RETRY), None, HOUR, 0.5), None);
    }
}
