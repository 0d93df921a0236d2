//! When each follower got each event of one reply, and how far the followers are apart. Pure.

use std::time::Duration;

use super::figures::Latencies;

/// The arrival times of all followers.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Vec<(usize, Vec<Option<Duration>>)>);

/// How far apart they are, over the events that came while everybody was there.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    /// Behind the follower that got the event first.
    pub(crate) behind_earliest: Latencies,
    /// Behind the follower that joined first; nothing where that one got it later.
    pub(crate) behind_one: Latencies,
    /// From one event's first arrival to the next one's: a server that holds everybody up shows here only.
    pub(crate) pace: Latencies,
    pub(crate) events: usize,
}

/// What comes this soon after the last one joined may still be catching up.
const CATCH_UP: Duration = Duration::from_millis(100);

impl Arrivals {
    /// Takes what the follower that joined as the `index`th saw.
    pub(crate) fn add(&mut self, index: usize, arrived: Vec<Option<Duration>>) {
        self.0.push((index, arrived));
    }

    pub(crate) fn delays(&self) -> Delays {
        let mut delays = Delays::default();
        let all_joined = self.0.iter().filter_map(|(_, arrived)| arrived.iter().flatten().min()).max();
        let Some(live_after) = all_joined.map(|joined| *joined + CATCH_UP) else { return delays };
        let one = self.0.iter().min_by_key(|(index, _)| *index).map_or(&[][..], |(_, arrived)| arrived);
        let events = self.0.iter().map(|(_, arrived)| arrived.len()).max().unwrap_or(0);
        let mut previous = None;
        for event in 0..events {
            let times = || self.0.iter().filter_map(|(_, arrived)| *arrived.get(event)?);
            let Some(earliest) = times().min().filter(|earliest| *earliest > live_after) else { continue };
            delays.events += 1;
            times().for_each(|time| delays.behind_earliest.record(time.saturating_sub(earliest)));
            if let Some(Some(reference)) = one.get(event) {
                times().for_each(|time| delays.behind_one.record(time.saturating_sub(*reference)));
            }
            if let Some(previous) = previous.replace(earliest) {
                delays.pace.record(earliest.saturating_sub(previous));
            }
        }
        delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ms: &[u64]) -> Vec<Option<Duration>> {
        ms.iter().map(|ms| Some(Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn delays_are_counted_from_the_earliest_and_from_one() {
        let mut arrivals = Arrivals::default();
        arrivals.add(1, times(&[0, 200, 220]));
        arrivals.add(0, times(&[1, 202, 221]));
        let delays = arrivals.delays();
        assert_eq!((delays.events, delays.behind_earliest.count(), delays.pace.count()), (2, 4, 1));
        assert!((delays.behind_earliest.quantile_ms(1.0) - 2.0).abs() < 0.01);
        assert!(delays.behind_one.quantile_ms(1.0) < 0.01, "the other one was always earlier");
        assert!((delays.pace.quantile_ms(1.0) - 20.0).abs() < 0.05);
    }

    #[test]
    fn what_came_before_everybody_was_there_does_not_count() {
        let mut arrivals = Arrivals::default();
        arrivals.add(0, times(&[0, 100, 200, 1000]));
        arrivals.add(1, times(&[500, 500, 500, 1003]));
        let delays = arrivals.delays();
        assert_eq!(delays.events, 1);
        assert!((delays.behind_earliest.quantile_ms(1.0) - 3.0).abs() < 0.01);
    }

    #[test]
    fn an_event_that_one_never_got_counts_for_the_others() {
        let mut arrivals = Arrivals::default();
        arrivals.add(0, vec![Some(Duration::ZERO), None, Some(Duration::from_millis(300))]);
        arrivals.add(1, times(&[0, 200]));
        assert_eq!(arrivals.delays().behind_earliest.count(), 2);
        assert_eq!(Arrivals::default().delays().events, 0);
    }
}
