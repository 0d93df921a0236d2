//! `truncation: auto`: what is left out of a context that is too long.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::call::ContextItem;
use crate::domain::items::{Item, Part, Role};

/// The most calls for one context: whole, twice cut, and with the last turn alone.
const MOST_CALLS: u32 = 4;

/// What is taken of the share that an error names: tokens are not spread evenly.
const MARGIN: f64 = 0.9;

/// An image is about a thousand tokens, whatever its bytes are.
const IMAGE_BYTES: usize = 4096;

/// The most models of which it is remembered how much fits.
const MAX_REMEMBERED: usize = 1024;

/// Cuts one context until it fits.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    refused: u32,
}

/// How much fits a model's window, as it was found out by trying, in bytes of context.
#[derive(Debug, Default)]
pub(crate) struct Windows(Mutex<HashMap<String, Window>>);

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// The most that fitted.
    fits: usize,
    /// The least that did not.
    refused: usize,
}

impl Cuts {
    /// The context was refused with this message: leaves out as many of its oldest turns as seems right. `false`: nothing
    /// is left that may go, or it was tried often enough.
    pub(crate) fn cut(&mut self, context: &mut Vec<ContextItem>, message: &str) -> bool {
        self.refused += 1;
        let size = size(context);
        let share = match self.refused {
            1 => fitting_share(message, size).map_or(0.5, |share| share * MARGIN),
            2 => fitting_share(message, size).map_or(0.5, |share| share * MARGIN).min(0.5),
            _ => 0.0,
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate"
        )]
        let target = (size as f64 * share) as usize;
        self.refused < MOST_CALLS && drop_oldest_turns(context, target)
    }
}

impl Windows {
    /// Leaves out of a context that a model is known to refuse what makes it too long.
    pub(crate) fn cut(&self, model: &str, context: &mut Vec<ContextItem>) {
        let Some(window) = self.0.lock().get(model).copied() else { return };
        if size(context) >= window.refused {
            // Between what fits and what does not, a new try brings them closer; at last it is not worth a call.
            let middle = usize::midpoint(window.fits, window.refused);
            let is_close = window.refused - window.fits <= window.fits / 4;
            drop_oldest_turns(context, if is_close { window.fits } else { middle });
        }
    }

    /// A context of this size was taken.
    pub(crate) fn fitted(&self, model: &str, size: usize) {
        if let Some(window) = self.0.lock().get_mut(model) {
            window.fits = window.fits.max(size);
            // The window grew.
            window.refused = window.refused.max(size + 1);
        }
    }

    /// A context of this size was refused.
    pub(crate) fn refused(&self, model: &str, size: usize) {
        let mut windows = self.0.lock();
        if windows.len() >= MAX_REMEMBERED && !windows.contains_key(model) {
            return;
        }
        let window = windows.entry(model.to_owned()).or_insert(Window { fits: 0, refused: usize::MAX });
        window.refused = window.refused.min(size);
        // The window shrank.
        window.fits = window.fits.min(size / 2);
    }
}

/// The size of a context, as well as it can be estimated without the model's tokenizer: four bytes are about a token.
pub(crate) fn size(context: &[ContextItem]) -> usize {
    context.iter().map(|entry| item_size(&entry.item)).sum()
}

fn item_size(item: &Item) -> usize {
    match item {
        Item::Message(message) => {
            let size = |part: &Part| match part {
                Part::InputImage { .. } => IMAGE_BYTES,
                // A model receives its words.
                Part::InputAudio { .. } => part.text().len(),
                part => part.text_bytes(),
            };
            message.content.iter().map(size).sum()
        }
        item => item.text_bytes(),
    }
}

/// Which share of the context would fit, by the refusal: `request (9000 tokens) exceeds the available context size
/// (4096 tokens)`. If it names only the limit, four bytes count as a token.
fn fitting_share(message: &str, size: usize) -> Option<f64> {
    let digits = |c: char| !c.is_ascii_digit() && c != ',';
    let numbers = message.split(digits).filter_map(|number| number.replace(',', "").parse::<u32>().ok());
    let numbers: Vec<u32> = numbers.filter(|number| *number >= 64).collect();
    let given = *numbers.iter().max()?;
    let is_part = |part: u32| numbers.contains(&(given - part));
    let limit = numbers.iter().copied().filter(|number| *number < given && !is_part(*number)).max();
    // One number alone may be a status.
    if limit.is_none() && !message.contains("token") {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let share = limit.map_or(f64::from(given) * 4.0 / size as f64, |limit| f64::from(limit) / f64::from(given));
    (share < 1.0).then_some(share)
}

/// Drops the oldest turns, at least one, until no more is left than `target`: the input and all output of a turn,
/// function calls with their outputs. The operator's text stays, and so does the last turn. Returns `false` if
/// nothing is left that may go.
pub(crate) fn drop_oldest_turns(context: &mut Vec<ContextItem>, target: usize) -> bool {
    let Some(first) = context.iter().position(|entry| !is_operator(&entry.item)) else { return false };
    let mut left = size(context);
    let mut next = None;
    let mut counted = first;
    for begin in turns(context, first) {
        let dropped = context[counted..begin].iter().filter(|entry| !is_operator(&entry.item));
        left -= dropped.map(|entry| item_size(&entry.item)).sum::<usize>();
        (next, counted) = (Some(begin), begin);
        if left <= target {
            break;
        }
    }
    let Some(next) = next else { return false };
    let mut index = 0;
    let mut unanswered = HashSet::new();
    context.retain(|entry| {
        let within = (first..next).contains(&index);
        index += 1;
        match &entry.item {
            item if is_operator(item) => true,
            Item::FunctionCall(call) if within => {
                unanswered.insert(call.call_id.clone());
                false
            }
            // The first output after its call, wherever it stands.
            Item::FunctionCallOutput(output) => !unanswered.remove(&output.call_id) && !within,
            _ => !within,
        }
    });
    true
}

/// The starts of the turns after the one that begins at `first`: a person's message after somebody else's.
fn turns(context: &[ContextItem], first: usize) -> impl Iterator<Item = usize> {
    let mut answered = false;
    context.iter().enumerate().skip(first).filter_map(move |(index, entry)| {
        let begins = is_user(&entry.item) && answered;
        answered = !begins && (answered || !is_user(&entry.item) && !is_operator(&entry.item));
        begins.then_some(index)
    })
}

fn is_operator(item: &Item) -> bool {
    matches!(item, Item::Message(message) if matches!(message.role, Role::System | Role::Developer))
}

fn is_user(item: &Item) -> bool {
    matches!(item, Item::Message(message) if message.role == Role::User)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::testing::{answer, assistant, calls, system, user};

    fn remaining(context: Vec<ContextItem>) -> (bool, Vec<String>) {
        let mut context = context;
        let dropped = drop_oldest_turns(&mut context, usize::MAX);
        let texts = context.iter().map(|entry| match &entry.item {
            Item::Message(message) => message.content[0].text().to_owned(),
            item => item.call_id().unwrap_or_default().to_owned(),
        });
        (dropped, texts.collect())
    }

    #[test]
    fn the_oldest_turn_goes_and_the_operator_stays() {
        let context = vec![system("s"), user("1"), user("1b"), assistant("2"), user("3"), assistant("4"), user("5")];
        assert_eq!(remaining(context), (true, ["s", "3", "4", "5"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_last_input_never_goes() {
        assert_eq!(
            remaining(vec![system("s"), user("1"), user("2")]),
            (false, ["s", "1", "2"].map(str::to_owned).to_vec())
        );
        assert!(!remaining(vec![system("s")]).0);
        assert!(!remaining(vec![]).0);
        let calling = vec![user("1"), calls("a", "f", "{}"), answer("a", "x")];
        assert_eq!(remaining(calling), (false, ["1", "a", "a"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn calls_go_with_their_outputs_wherever_these_stand() {
        let context = vec![
            user("1"),
            calls("a", "f", "{}"),
            answer("a", "x"),
            calls("b", "f", "{}"),
            user("2"),
            answer("b", "y"),
            calls("a", "f", "{}"),
            answer("a", "z"),
        ];
        assert_eq!(remaining(context), (true, ["2", "a", "a"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn as_many_turns_go_as_the_target_asks_for_and_the_last_stays() {
        let turns = |count| (0..count).flat_map(|_| [user("12345"), assistant("12345")]).collect::<Vec<_>>();
        for (target, left) in [(1000, 190), (100, 100), (95, 90), (0, 10)] {
            let mut context = turns(20);
            assert!(drop_oldest_turns(&mut context, target));
            assert_eq!(size(&context), left, "{target}");
        }
    }

    #[test]
    fn a_refusal_shows_which_share_fits() {
        for (message, share) in [
            (
                "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
                Some(4096.0 / 9000.0),
            ),
            (
                "maximum context length is 4096 tokens. However, you requested 5,000 tokens (4500 in the messages, 500 in the completion)",
                Some(0.8192),
            ),
            ("prompt is too long: 210000 tokens > 200000 maximum", Some(20.0 / 21.0)),
            ("This model's maximum context length is 4096 tokens.", Some(0.4096)),
            ("the request exceeds the available context size", None),
            ("HTTP 400", None),
        ] {
            let found = fitting_share(message, 40_000);
            assert!(
                found.is_some() == share.is_some() && (found.unwrap_or(0.0) - share.unwrap_or(0.0)).abs() < 1e-9,
                "{message}: {found:?}"
            );
        }
    }

    #[test]
    fn no_context_is_tried_more_than_four_times_and_the_last_turn_is_among_them() {
        let mut context: Vec<_> = (0..100).flat_map(|_| [user("12345"), assistant("12345")]).collect();
        let mut cuts = Cuts::default();
        let mut sizes = vec![size(&context)];
        while cuts.cut(&mut context, "too long") {
            sizes.push(size(&context));
        }
        assert_eq!(sizes, [1000, 500, 250, 10]);
    }

    #[test]
    fn what_fits_is_remembered_and_found_more_exactly_each_time() {
        let windows = Windows::default();
        let mut calls = Vec::new();
        for _ in 0..12 {
            let mut context: Vec<_> = (0..100).flat_map(|_| [user("12345"), assistant("12345")]).collect();
            let mut cuts = Cuts::default();
            windows.cut("m", &mut context);
            let mut count = 1;
            while size(&context) > 100 {
                windows.refused("m", size(&context));
                count += 1;
                assert!(cuts.cut(&mut context, "too long"));
            }
            windows.fitted("m", size(&context));
            calls.push((count, size(&context)));
        }
        assert_eq!(calls[0], (4, 10));
        assert!(calls.iter().all(|(count, _)| *count <= 4), "{calls:?}");
        assert!(calls.last().is_some_and(|(count, size)| *count == 1 && *size >= 70), "{calls:?}");
    }
}
