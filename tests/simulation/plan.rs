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
    /// Replies that all clients together may have at once. `None`: any number.
    pub(crate) replies_at_once: Option<u64>,
    /// The longest message that the log takes. `None`: any.
    pub(crate) max_payload: Option<usize>,
    /// Whether somebody is told of the ends of replies.
    pub(crate) has_webhook: bool,
    /// Of a hundred instances so many are of a newer build.
    pub(crate) newer: u64,
    /// What a shrinker leaves out: faults by their number, and clients.
    pub(crate) spared: BTreeSet<u64>,
    pub(crate) absent: BTreeSet<u64>,
}

/// What webhooks are signed with.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

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
    (Fault::ClockLeaps, 0.2),
    (Fault::ModelRefuses, 0.1),
    (Fault::ModelBreaks, 0.3),
    (Fault::ModelRepeats, 0.3),
    (Fault::ModelSilent, 0.2),
    (Fault::WebhookFails, 0.15),
    (Fault::ClientLeaves, 0.3),
    (Fault::ClientGone, 0.1),
    (Fault::ClientRetries, 0.2),
];

/// Where these strike, no instance knows how many replies run: the log may store what was given up, and what others say is
/// not heard.
const UNCOUNTABLE: [Fault; 6] =
    [Fault::MessageLost, Fault::AnswerLost, Fault::WriteLate, Fault::LeaderAway, Fault::Full, Fault::ReadLost];

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
        let (instances, clients, turns) = (random.usize(1..4), random.u64(1..6), random.u64(1..5));
        let replies_at_once = (random.u8(0..100) < 25).then(|| random.u64(1..5));
        if replies_at_once.is_some() && random.u8(0..100) < 50 {
            // So that they can be counted.
            rates.retain(|(fault, _)| !UNCOUNTABLE.contains(fault));
        }
        Self {
            seed,
            instances,
            clients,
            turns,
            rates,
            replies_at_once,
            max_payload: (random.u8(0..100) < 20).then(|| random.usize(1_000..40_000)),
            has_webhook: random.u8(0..100) < 10,
            newer: if random.u8(0..100) < 30 { random.u64(20..80) } else { 0 },
            spared: BTreeSet::new(),
            absent: BTreeSet::new(),
        }
    }

    /// One in which everything happens: so that what the program makes once for all is made before the first seed, which
    /// would differ from the same seed later.
    pub(crate) fn wild(seed: u64) -> Self {
        let rates = MOST.to_vec();
        Self {
            instances: 3,
            clients: 6,
            turns: 4,
            rates,
            replies_at_once: Some(2),
            has_webhook: true,
            newer: 50,
            ..Self::of(seed)
        }
    }

    /// Whether this goes wrong now and then.
    fn has(&self, faults: &[Fault]) -> bool {
        self.rates.iter().any(|(fault, rate)| *rate > 0.0 && faults.contains(fault))
    }

    /// Whether something happens that may make a reply fail: elsewise it is continued until it is complete.
    pub(crate) fn may_fail(&self) -> bool {
        use Fault::{ClockLeaps, Cut, Freeze, Kill, ModelBreaks, ModelRefuses, Terminate, WriteLate};
        self.has(&[ModelRefuses, ModelBreaks, Kill, Terminate, WriteLate, Freeze, Cut, ClockLeaps])
    }

    /// Whether instances hear all that others say, while they are there.
    pub(crate) fn hears(&self) -> bool {
        !self.has(&[Fault::MessageLost])
    }

    /// How many replies may run at once where all instances know each other. `None`: any number, or they cannot know.
    pub(crate) fn bound(&self) -> Option<u64> {
        self.replies_at_once.filter(|_| !self.has(&UNCOUNTABLE))
    }

    /// Whether nothing stays behind in memory of what was killed.
    pub(crate) fn leaves_nothing(&self) -> bool {
        !self.has(&[Fault::Kill])
    }

    /// The configuration of all instances.
    pub(crate) fn environment(&self) -> HashMap<String, String> {
        let mut variables = vec![
            ("SECRET_KEY", "0123456789abcdef0123456789abcdef"),
            ("AUTH", "none"),
            ("REPLAY_WINDOW", "5m"),
            ("LOG_RETENTION", "10m"),
            ("REPLY_DEADLINE", "90s"),
        ];
        let file = self.file();
        if let Some(file) = &file {
            variables.extend([("REJOINDER_CONFIG", file.as_str()), ("HOOK_SECRET", SECRET)]);
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The file of limits and webhooks, if there are any. It is written where it is not there.
    fn file(&self) -> Option<String> {
        let limits =
            self.replies_at_once.map(|most| format!("[[tier]]\nname = \"default\"\nreplies_at_once = {most}\n"));
        let webhook = "[[webhook]]\nname = \"hook\"\nurl = \"https://hook.example/\"\nsecret = \"HOOK_SECRET\"\n";
        let text = limits.unwrap_or_default() + if self.has_webhook { webhook } else { "" };
        if text.is_empty() {
            return None;
        }
        let name = format!("rejoinder-simulation-{}{}", self.replies_at_once.unwrap_or(0), u8::from(self.has_webhook));
        let path = std::env::temp_dir().join(name).with_extension("toml");
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            std::fs::write(&path, text).expect("a file of limits and webhooks");
        }
        Some(path.to_string_lossy().into_owned())
    }
}
