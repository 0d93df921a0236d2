//! A clock that wakes to the microsecond. Tokio's timers count in whole milliseconds, which would hide every latency
//! below one; a `timerfd` does not.

use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
mod precise {
    use super::{Duration, Instant};
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use std::os::fd::OwnedFd;
    use tokio::io::{Interest, unix::AsyncFd};

    /// Waits for moments.
    #[derive(Debug)]
    pub(crate) struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        /// # Errors
        /// When the process may open no more files.
        pub(crate) fn new() -> std::io::Result<Self> {
            let fd = rustix::time::timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?;
            #[expect(unsafe_code, reason = "tokio has no safe way left to watch a descriptor of one's own")]
            // SAFETY: the `OwnedFd` owns a valid descriptor, and is neither replaced nor closed while the `AsyncFd` lives.
            Ok(Self(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
        }

        /// Returns at `due`, at once when it has passed.
        pub(crate) async fn until(&self, due: Instant) -> std::io::Result<()> {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once_after(wait))?;
            let mut expirations = [0; 8];
            self.0.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut expirations)?)).await?;
            Ok(())
        }
    }

    fn once_after(wait: Duration) -> Itimerspec {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value =
            Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: wait.subsec_nanos().into() };
        Itimerspec { it_interval: never, it_value: value }
    }
}

#[cfg(not(target_os = "linux"))]
mod precise {
    use super::Instant;

    /// Waits for moments, to the millisecond: this system has no `timerfd`.
    #[derive(Debug)]
    pub(crate) struct Alarm;

    impl Alarm {
        pub(crate) fn new() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn until(&self, due: Instant) -> std::io::Result<()> {
            tokio::time::sleep_until(due.into()).await;
            Ok(())
        }
    }
}

pub(crate) use precise::Alarm;

/// When a client's messages are due. The clients start spread over the first interval, so that they come evenly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) start: Instant,
    pub(crate) every: Duration,
    pub(crate) lasting: Duration,
    pub(crate) clients: usize,
}

impl Schedule {
    /// When the `nth` message of a client is due; `None` when that is after the end.
    pub(crate) fn due(&self, client: usize, nth: u32) -> Option<Instant> {
        let after = self.offset(client) + self.every * nth;
        (after < self.lasting).then(|| self.start + after)
    }

    /// How many messages one client has to send.
    pub(crate) fn messages_of(&self, client: usize) -> u64 {
        let time_to_send = self.lasting.saturating_sub(self.offset(client));
        u64::try_from(time_to_send.as_nanos().div_ceil(self.every.as_nanos().max(1))).unwrap_or(u64::MAX)
    }

    fn offset(&self, client: usize) -> Duration {
        self.every.mul_f64(client as f64 / self.clients.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(clients: usize, every_ms: u64, lasting_ms: u64) -> Schedule {
        Schedule {
            start: Instant::now(),
            every: Duration::from_millis(every_ms),
            lasting: Duration::from_millis(lasting_ms),
            clients,
        }
    }

    #[test]
    fn clients_are_spread_over_the_interval() {
        let schedule = schedule(4, 200, 1000);
        let first: Vec<_> = (0..4).map(|c| schedule.due(c, 0).unwrap() - schedule.start).collect();
        assert_eq!(first, [0, 50, 100, 150].map(Duration::from_millis));
        assert_eq!(schedule.due(1, 2), Some(schedule.start + Duration::from_millis(450)));
    }

    #[test]
    fn the_count_of_messages_is_what_the_schedule_hands_out() {
        for (clients, every, lasting) in [(1, 200, 1000), (3, 70, 1000), (10, 1000, 300), (7, 33, 999)] {
            let schedule = schedule(clients, every, lasting);
            let handed_out: u64 =
                (0..clients).map(|c| (0..9999).take_while(|n| schedule.due(c, *n).is_some()).count() as u64).sum();
            let counted: u64 = (0..clients).map(|c| schedule.messages_of(c)).sum();
            assert_eq!(counted, handed_out, "{clients} clients every {every} ms for {lasting} ms");
        }
    }

    #[tokio::test]
    async fn an_alarm_does_not_ring_early_and_rings_again() {
        let alarm = Alarm::new().unwrap();
        for wait in [Duration::from_micros(300), Duration::ZERO, Duration::from_millis(2)] {
            let due = Instant::now() + wait;
            alarm.until(due).await.unwrap();
            assert!(Instant::now() >= due);
        }
    }
}
