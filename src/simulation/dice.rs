//! Every choice of a simulation, from one seed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use parking_lot::Mutex;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The log stored a record, and its acknowledgement is lost.
    AnswerLost,
    /// The log stores a record after whoever sent it gave up waiting.
    WriteLate,
    /// A replica of the log answers that has not heard of the last writes.
    ReadStale,
    /// A read of the log is not answered.
    ReadLost,
    /// A subscription misses a record.
    RecordMissed,
    /// A subscription hears of a record late.
    RecordLate,
    /// A heartbeat, or a message of one instance to another, is lost.
    MessageLost,
    /// The log has no leader for some seconds.
    LeaderAway,
    /// The log has no space for some seconds.
    Full,
    /// The store does not answer for some seconds.
    StoreAway,
    /// The store is slow.
    StoreSlow,
    /// The store committed, and its answer is lost.
    StoreAnswerLost,
    /// An instance is killed, and another started later.
    Kill,
    /// An instance stands still for a while, and goes on.
    Freeze,
    /// An instance does not reach the log, nor the others it.
    Cut,
    /// An instance is asked to end.
    Terminate,
    /// An instance joins.
    Join,
    /// The wall clock of an instance leaps, forward or back.
    ClockLeaps,
    /// A model server refuses a call.
    ModelRefuses,
    /// A model server breaks off.
    ModelBreaks,
    /// A model server says again what was said.
    ModelRepeats,
    /// A model server falls silent.
    ModelSilent,
    /// Whoever is told by a webhook refuses, or does not answer.
    WebhookFails,
    /// A client goes away, and comes back somewhere.
    ClientLeaves,
    /// A client goes away for good.
    ClientGone,
    /// A client sends a request again.
    ClientRetries,
}

/// How many kinds there are.
pub const KINDS: usize = Fault::ClientRetries as usize + 1;

impl Fault {
    /// All kinds, in their order.
    pub const ALL: [Self; KINDS] = [
        Self::AnswerLost,
        Self::WriteLate,
        Self::ReadStale,
        Self::ReadLost,
        Self::RecordMissed,
        Self::RecordLate,
        Self::MessageLost,
        Self::LeaderAway,
        Self::Full,
        Self::StoreAway,
        Self::StoreSlow,
        Self::StoreAnswerLost,
        Self::Kill,
        Self::Freeze,
        Self::Cut,
        Self::Terminate,
        Self::Join,
        Self::ClockLeaps,
        Self::ModelRefuses,
        Self::ModelBreaks,
        Self::ModelRepeats,
        Self::ModelSilent,
        Self::WebhookFails,
        Self::ClientLeaves,
        Self::ClientGone,
        Self::ClientRetries,
    ];
}

/// The dice of one simulation.
pub struct Dice {
    state: Mutex<State>,
}

/// Is told of every fault that is made: its number, and which.
type Observer = Box<dyn FnMut(u64, Fault) + Send>;

struct State {
    random: fastrand::Rng,
    rates: [f64; KINDS],
    /// Faults that would be made and are not, by their number: to find out which of them matter.
    spared: BTreeSet<u64>,
    struck: u64,
    made: [u64; KINDS],
    observer: Option<Observer>,
}

impl Dice {
    /// Dice of a seed, that make faults at these rates. Those whose numbers are `spared` are not made.
    pub fn new(seed: u64, rates: &[(Fault, f64)], spared: BTreeSet<u64>) -> Self {
        let mut all = [0.0; KINDS];
        for (fault, rate) in rates {
            all[*fault as usize] = *rate;
        }
        let random = fastrand::Rng::with_seed(seed);
        Self { state: Mutex::new(State { random, rates: all, spared, struck: 0, made: [0; KINDS], observer: None }) }
    }

    /// Dice without faults.
    pub fn kind() -> Self {
        Self::new(0, &[], BTreeSet::new())
    }

    /// Has somebody be told of every fault.
    pub fn observe(&self, observer: impl FnMut(u64, Fault) + Send + 'static) {
        self.state.lock().observer = Some(Box::new(observer));
    }

    /// Whether this goes wrong now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let mut state = self.state.lock();
        let rate = state.rates[fault as usize];
        if rate <= 0.0 || state.random.f64() >= rate {
            return false;
        }
        state.struck += 1;
        let number = state.struck;
        if state.spared.contains(&number) {
            return false;
        }
        state.made[fault as usize] += 1;
        if let Some(observer) = &mut state.observer {
            observer(number, fault);
        }
        true
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.state.lock().rates = [0.0; KINDS];
    }

    /// A number of a range that is not empty.
    pub fn number(&self, range: Range<u64>) -> u64 {
        self.state.lock().random.u64(range)
    }

    /// A time of so many milliseconds.
    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// Whether something happens of which there are so many in a hundred.
    pub fn percent(&self, percent: u64) -> bool {
        self.number(0..100) < percent
    }

    /// How many faults would have been made, those that were spared among them.
    pub fn struck(&self) -> u64 {
        self.state.lock().struck
    }

    /// How many faults of each kind were made, in their order.
    pub fn made(&self) -> [u64; KINDS] {
        self.state.lock().made
    }
}
