//! What is simulated for a seed: how many instances and clients, and how often what goes wrong.

use std::collections::{BTreeSet, HashMap};

use rejoinder::simulation::Fault;

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) instances: usize,
    pub(crate) clients: u64,
    pub(crate) turns: u64,
    pub(crate) rates: Vec<(Fault, f64)>,
    /// What a shrinker leaves out: faults by their number, and clients.
    pub(crate) spared: BTreeSet<u64>,
    pub(crate) absent: BTreeSet<u64>,
}

/// Each fault, and the most of how often it strikes where it could.
const MOST: &[(Fault, f64)] = &[
    (Fault::AnswerLost, 0.05),
    (Fault::WriteLate, 0.03),
    (Fault::ReadStale, 0.3),
    (Fault::ReadLost, 0.02),
    (Fault::RecordMissed, 0.2),
    (Fault::RecordLate, 0.2),
    (Fault::MessageLost, 0.05),
    (Fault::LeaderAway, 0.06),
    (Fault::Full, 0.05),
    (Fault::StoreAway, 0.08),
    (Fault::StoreSlow, 0.1),
    (Fault::StoreAnswerLost, 0.05),
    (Fault::Kill, 0.3),
    (Fault::Freeze, 0.2),
    (Fault::Cut, 0.2),
    (Fault::Terminate, 0.15),
    (Fault::Join, 0.1),
    (Fault::ModelRefuses, 0.1),
    (Fault::ModelBreaks, 0.3),
    (Fault::ModelRepeats, 0.3),
    (Fault::ModelSilent, 0.2),
    (Fault::ClientLeaves, 0.3),
    (Fault::ClientRetries, 0.2),
];

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let mut rates = Vec::new();
        for (fault, most) in MOST {
            // Most seeds have some kinds of trouble, and few have all.
            if random.u8(0..100) < 45 {
                rates.push((*fault, most * random.f64()));
            }
        }
        Self {
            seed,
            instances: random.usize(1..4),
            clients: random.u64(1..6),
            turns: random.u64(1..5),
            rates,
            spared: BTreeSet::new(),
            absent: BTreeSet::new(),
        }
    }

    /// One in which everything happens: so that what the program makes once for all is made before the first seed, which
    /// would differ from the same seed later.
    pub(crate) fn wild(seed: u64) -> Self {
        Self { instances: 3, clients: 6, turns: 4, rates: MOST.to_vec(), ..Self::of(seed) }
    }

    /// Whether something happens that may make a reply fail: elsewise it is continued until it is complete.
    pub(crate) fn may_fail(&self) -> bool {
        const REASONS: [Fault; 7] = [
            Fault::ModelRefuses,
            Fault::ModelBreaks,
            Fault::Kill,
            Fault::Terminate,
            Fault::WriteLate,
            Fault::Freeze,
            Fault::Cut,
        ];
        self.rates.iter().any(|(fault, rate)| *rate > 0.0 && REASONS.contains(fault))
    }

    /// The configuration of all instances.
    pub(crate) fn environment() -> HashMap<String, String> {
        let variables = [
            ("SECRET_KEY", "0123456789abcdef0123456789abcdef"),
            ("AUTH", "none"),
            ("REPLAY_WINDOW", "5m"),
            ("LOG_RETENTION", "10m"),
            ("REPLY_DEADLINE", "90s"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}
