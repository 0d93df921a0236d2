//! A queue that is fair between those who wait: whoever asks for much waits behind their own requests, and not before
//! those of others. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Things that wait, by who wants them. Callers take turns; of one caller, the first comes first.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    callers: HashMap<Arc<str>, VecDeque<(u64, T)>>,
    /// Callers that have something here, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    len: usize,
    next: u64,
}

/// A place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuePosition {
    caller: Arc<str>,
    number: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { callers: HashMap::new(), turns: VecDeque::new(), len: 0, next: 0 }
    }
}

impl<T> FairQueue<T> {
    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a place.
    pub(crate) fn push(&mut self, caller: &str, waiter: T) -> QueuePosition {
        let caller: Arc<str> = match self.callers.get_key_value(caller) {
            Some((known, _)) => Arc::clone(known),
            None => caller.into(),
        };
        let number = self.next;
        self.next += 1;
        self.len += 1;
        let waiting = self.callers.entry(Arc::clone(&caller)).or_default();
        if waiting.is_empty() {
            self.turns.push_back(Arc::clone(&caller));
        }
        waiting.push_back((number, waiter));
        QueuePosition { caller, number }
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let waiting = self.callers.get_mut(&caller)?;
        let (_, waiter) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.callers.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        self.len -= 1;
        Some(waiter)
    }

    /// Gives up a place. `None`: its turn has come already.
    pub(crate) fn remove(&mut self, place: &QueuePosition) -> Option<T> {
        let waiting = self.callers.get_mut(&place.caller)?;
        let at = waiting.iter().position(|(number, _)| *number == place.number)?;
        let (_, waiter) = waiting.remove(at)?;
        if waiting.is_empty() {
            self.callers.remove(&place.caller);
            self.turns.retain(|caller| *caller != place.caller);
        }
        self.len -= 1;
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn callers_take_turns_and_each_is_served_in_order() {
        let mut queue = FairQueue::default();
        for number in 0..5 {
            queue.push("greedy", format!("greedy {number}"));
        }
        queue.push("modest", "modest 0".to_owned());
        queue.push("third", "third 0".to_owned());
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(
            order,
            ["greedy 0", "modest 0", "third 0", "greedy 1", "greedy 2", "greedy 3", "greedy 4"].map(str::to_owned)
        );
    }

    #[test]
    fn a_place_that_is_given_up_holds_nobody_up() {
        let mut queue = FairQueue::default();
        let first = queue.push("a", 1);
        queue.push("b", 2);
        assert_eq!((queue.remove(&first), queue.remove(&first), queue.len()), (Some(1), None, 1));
        assert_eq!((queue.pop(), queue.pop()), (Some(2), None));
        assert_eq!(queue.len(), 0);
    }

    proptest! {
        /// Nobody is lost, nobody is served twice, and nobody waits longer than one round of the others.
        #[test]
        fn everybody_is_served_once_and_in_fair_turns(
            acts in prop::collection::vec((0usize..4, 0u8..4), 0..200),
        ) {
            let (mut queue, mut places, mut waiting) = (FairQueue::default(), Vec::new(), Vec::<(usize, usize)>::new());
            for (number, (caller, act)) in acts.into_iter().enumerate() {
                match act {
                    0 | 1 => {
                        places.push((number, queue.push(&caller.to_string(), (caller, number))));
                        waiting.push((caller, number));
                    }
                    2 if !places.is_empty() => {
                        let (number, place) = places.remove(number % places.len());
                        let removed = queue.remove(&place);
                        let at = waiting.iter().position(|(_, waits)| *waits == number);
                        prop_assert_eq!(removed, at.map(|at| waiting.remove(at)));
                    }
                    _ => {
                        let served = queue.pop();
                        match served {
                            None => prop_assert!(waiting.is_empty()),
                            Some((caller, number)) => {
                                let first = waiting.iter().position(|(waits, _)| *waits == caller);
                                prop_assert_eq!(first.map(|at| waiting.remove(at)), Some((caller, number)));
                            }
                        }
                    }
                }
                prop_assert_eq!(queue.len(), waiting.len());
            }
            let callers: std::collections::HashSet<_> = waiting.iter().map(|(caller, _)| *caller).collect();
            let round: std::collections::HashSet<_> =
                (0..callers.len()).filter_map(|_| queue.pop()).map(|(caller, _)| caller).collect();
            prop_assert_eq!(round, callers);
        }
    }
}
