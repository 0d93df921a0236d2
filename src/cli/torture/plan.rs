//! The plan of a run: the messages, the followers, what is stopped and deleted, and which faults are injected into the
//! servers, and when. A function of the seed. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;

use super::checker::Fate;
use super::script::{INSTRUCTED, PREFILLED};
use super::truth::prompt;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) seed: u64,
    pub(super) lasting: Duration,
    pub(super) replies: usize,
    pub(super) followers: usize,
    pub(super) instances: usize,
}

/// A client that sends a message, waits for the reply, and sends the next.
#[derive(Debug, Clone)]
pub(super) struct Talker {
    pub(super) begins: Duration,
    /// In a conversation; otherwise by `previous_response_id`.
    pub(super) in_conversation: bool,
    pub(super) turns: Vec<Turn>,
}

/// One reply.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) prompt: String,
    pub(super) model: &'static str,
    pub(super) instance: usize,
    pub(super) fate: Fate,
    /// It is stopped or deleted when so many events were seen; a late deletion comes after the end.
    pub(super) after_events: usize,
    /// Asked for again under the same key, on another instance: at once, or later.
    pub(super) again: Option<Again>,
    pub(super) followers: Vec<Follower>,
    /// For its own choices.
    pub(super) seed: u64,
}

/// When a request is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    AtOnce,
    Later,
}

/// A follower of a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    /// For its own choices: where it goes, and when it leaves.
    pub(super) seed: u64,
    /// Reads `/events` as a browser does; otherwise as an SDK.
    pub(super) is_browser: bool,
    /// Stays on one instance as long as it can, and so sees takeovers.
    pub(super) stays: bool,
    pub(super) joins_after: Duration,
    /// An instance on which it never is.
    pub(super) avoids: Option<usize>,
}

/// What is done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// `kill -9`
    Kill(usize),
    /// Asked to end (SIGTERM), and waited for.
    Terminate(usize),
    /// After a kill or an end.
    Start(usize),
    /// SIGSTOP
    Freeze(usize),
    /// SIGCONT
    Thaw(usize),
    KillNats,
    StartNats,
    StopPostgres,
    StartPostgres,
}

/// The clients and their messages.
pub(super) fn talkers(size: &Size) -> Vec<Talker> {
    let mut random = Rng::with_seed(size.seed);
    let mut talkers = Vec::new();
    let mut left = size.replies;
    while left > 0 {
        let turns = random.usize(1..=6).min(left);
        left -= turns;
        // Spread over most of the time: some are always beginning, and some ending.
        let begins = size.lasting.mul_f64(0.75 * random.f64());
        let name = talkers.len();
        let turns = (0..turns).map(|turn| self::turn(size, &mut random, &format!("s{}-{name}-{turn}", size.seed)));
        talkers.push(Talker { begins, turns: turns.collect(), in_conversation: random.u8(..3) > 0 });
    }
    talkers
}

fn turn(size: &Size, random: &mut Rng, about: &str) -> Turn {
    let fate = match random.u8(..10) {
        0 | 1 => Fate::Cancelled,
        2 => Fate::Deleted,
        _ => Fate::Whole,
    };
    let again = match random.u8(..6) {
        0 => Some(Again::AtOnce),
        1 => Some(Again::Later),
        _ => None,
    };
    let follower = |number: usize, random: &mut Rng| Follower {
        seed: random.u64(..),
        is_browser: random.bool(),
        stays: number == 0,
        joins_after: Duration::from_millis(if number == 0 { 0 } else { random.u64(..2500) }),
        avoids: None,
    };
    Turn {
        prompt: prompt(random.usize(5..120), about),
        model: if random.u8(..4) == 0 { INSTRUCTED } else { PREFILLED },
        instance: random.usize(..size.instances),
        fate,
        after_events: [0, 3, random.usize(3..80), usize::MAX][random.usize(..4)],
        again,
        followers: (0..size.followers).map(|number| follower(number, random)).collect(),
        seed: random.u64(..),
    }
}

/// What befalls the servers, in order of time. At the end everything runs.
pub(super) fn acts(size: &Size, has_nats: bool, has_postgres: bool) -> Vec<(Duration, Act)> {
    let mut random = Rng::with_seed(size.seed ^ 0xac75);
    let mut busy = Busy { instances: vec![Duration::ZERO; size.instances], ..Busy::default() };
    let mut acts = Vec::new();
    let mut now = Duration::from_secs(2);
    let mut kinds = VecDeque::from(['k', 'f', 'k', 't', 'n', 'k', 'f', 'p', 'k', 'f']);
    kinds.rotate_left(random.usize(..kinds.len()));
    while now < size.lasting {
        let instance = random.usize(..size.instances);
        // The one that waited longest and can be done now.
        for turn in 0..kinds.len() {
            let takes_it = |busy: &Busy, random: &mut Rng| busy.takes(instance, now, random);
            let Some((down, begins, ends)) = (match kinds[turn] {
                'n' if has_nats && busy.nats <= now => Some((random.u64(200..2500), Act::KillNats, Act::StartNats)),
                'p' if has_postgres && busy.postgres <= now => {
                    let down = (size.lasting / 5).clamp(Duration::from_secs(2), Duration::from_secs(20));
                    let down = u64::try_from(down.as_millis()).unwrap_or(u64::MAX);
                    Some((down, Act::StopPostgres, Act::StartPostgres))
                }
                'n' | 'p' => None,
                _ if !takes_it(&busy, &mut random) => None,
                't' => Some((random.u64(5500..8000), Act::Terminate(instance), Act::Start(instance))),
                'f' => Some((random.u64(300..6000), Act::Freeze(instance), Act::Thaw(instance))),
                _ => Some((random.u64(100..3500), Act::Kill(instance), Act::Start(instance))),
            }) else {
                continue;
            };
            let until = now + millis(down);
            if until >= size.lasting {
                continue;
            }
            match begins {
                Act::KillNats => busy.nats = until + Duration::from_secs(8),
                Act::StopPostgres => busy.postgres = now + 2 * millis(down),
                // A moment to come up again.
                _ => busy.instances[instance] = until + millis(500),
            }
            acts.extend([(now, begins), (until, ends)]);
            let done = kinds.remove(turn).expect("it is there");
            kinds.push_back(done);
            break;
        }
        now += millis(random.u64(600..2600));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

/// A measurement: all replies are generated on one instance, which is killed; later as many more on one that is frozen.
pub(super) fn takeovers(size: &Size) -> (Vec<Talker>, Vec<(Duration, Act)>) {
    const ROUND: Duration = Duration::from_secs(30);
    // The instances checker each other when they have known each other for a while.
    const BEGIN: Duration = Duration::from_secs(4);
    const BLOW: Duration = Duration::from_secs(9);
    let mut random = Rng::with_seed(size.seed);
    let other = 1 % size.instances;
    let mut talkers = Vec::new();
    for (round, instance) in [0, other].into_iter().enumerate() {
        for number in 0..size.replies {
            let follower = |number: usize| Follower {
                seed: number as u64,
                is_browser: number % 2 == 1,
                stays: true,
                joins_after: Duration::ZERO,
                avoids: Some(instance),
            };
            let turn = Turn {
                prompt: prompt(120, &format!("takeover {}-{round}-{number}", size.seed)),
                model: PREFILLED,
                instance,
                fate: Fate::Whole,
                after_events: usize::MAX,
                again: None,
                followers: (0..size.followers).map(|one| follower(number + one)).collect(),
                seed: random.u64(..),
            };
            let begins = ROUND * u32::from(round > 0) + BEGIN + Duration::from_secs(2).mul_f64(random.f64());
            talkers.push(Talker { begins, in_conversation: false, turns: vec![turn] });
        }
    }
    let acts = vec![
        (BLOW, Act::Kill(0)),
        (ROUND.mul_f64(0.8), Act::Start(0)),
        (ROUND + BLOW, Act::Freeze(other)),
        (ROUND + BLOW + Duration::from_secs(10), Act::Thaw(other)),
    ];
    (talkers, acts)
}

/// Until when something is down.
#[derive(Default)]
struct Busy {
    instances: Vec<Duration>,
    nats: Duration,
    postgres: Duration,
}

impl Busy {
    /// Whether something may befall an instance now. That none is left is rare.
    fn takes(&self, instance: usize, now: Duration, random: &mut Rng) -> bool {
        let up = self.instances.iter().filter(|until| **until <= now).count();
        self.instances[instance] <= now && (up > 1 || self.instances.len() == 1 || random.u8(..4) == 0)
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn size(seed: u64) -> Size {
        Size { seed, lasting: Duration::from_mins(1), replies: 200, followers: 3, instances: 3 }
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(acts(&size(1), true, true), acts(&size(1), true, true));
        assert_ne!(acts(&size(1), true, true), acts(&size(2), true, true));
        assert_eq!(format!("{:?}", talkers(&size(1))), format!("{:?}", talkers(&size(1))));
    }

    #[test]
    fn all_replies_are_planned_and_no_two_prompts_are_alike() {
        let turns: Vec<_> = talkers(&size(3)).into_iter().flat_map(|talker| talker.turns).collect();
        let prompts: HashSet<_> = turns.iter().map(|turn| &turn.prompt).collect();
        assert_eq!((turns.len(), prompts.len()), (200, 200));
        for fate in [Fate::Whole, Fate::Cancelled, Fate::Deleted] {
            assert!(turns.iter().any(|turn| turn.fate == fate), "{fate:?}");
        }
        assert!(turns.iter().all(|turn| turn.followers.len() == 3 && turn.instance < 3));
    }

    #[test]
    fn what_goes_down_comes_up_and_everything_befalls() {
        for seed in 0..200 {
            let (mut down, mut nats, mut postgres) = ([None; 3], true, true);
            let mut kinds = HashSet::new();
            for (at, act) in acts(&size(seed), true, true) {
                assert!(at < Duration::from_mins(1));
                kinds.insert(std::mem::discriminant(&act));
                match act {
                    Act::Kill(one) | Act::Terminate(one) => assert_eq!(down[one].replace('k'), None, "seed {seed}"),
                    Act::Freeze(one) => assert_eq!(down[one].replace('f'), None, "seed {seed}"),
                    Act::Start(one) => assert_eq!(down[one].take(), Some('k'), "seed {seed}"),
                    Act::Thaw(one) => assert_eq!(down[one].take(), Some('f'), "seed {seed}"),
                    Act::KillNats => assert!(std::mem::replace(&mut nats, false)),
                    Act::StartNats => assert!(!std::mem::replace(&mut nats, true)),
                    Act::StopPostgres => assert!(std::mem::replace(&mut postgres, false)),
                    Act::StartPostgres => assert!(!std::mem::replace(&mut postgres, true)),
                }
            }
            assert!(down == [None; 3] && nats && postgres, "seed {seed}");
            assert_eq!(kinds.len(), 9, "seed {seed}");
        }
    }

    #[test]
    fn a_log_of_its_own_is_not_taken_away() {
        for seed in 0..200 {
            let acts = acts(&Size { instances: 1, lasting: Duration::from_secs(20), ..size(seed) }, false, false);
            assert!(acts.iter().any(|(_, act)| matches!(act, Act::Kill(0))), "seed {seed}");
            assert!(!acts.iter().any(|(_, act)| matches!(act, Act::KillNats | Act::StopPostgres | Act::Kill(1..))));
        }
    }
}
