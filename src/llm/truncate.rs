//! `truncation: auto`: what is left out of a context that is too long.

use std::collections::HashSet;

use super::call::ContextItem;
use crate::domain::items::{Item, Role};

/// Leaves out the oldest turn: what was asked and everything that was answered, function calls with their outputs.
/// What the operator says stays, and so does the last turn. `false` when nothing is left that may go.
pub(crate) fn drop_oldest_turn(context: &mut Vec<ContextItem>) -> bool {
    let Some(first) = context.iter().position(|entry| !is_operator(&entry.item)) else { return false };
    let Some(next) = next_turn(context, first) else { return false };
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

/// Where the turn after the one that begins at `first` begins: with a person who speaks after someone else did.
fn next_turn(context: &[ContextItem], first: usize) -> Option<usize> {
    let mut answered = false;
    context.iter().enumerate().skip(first).find_map(|(index, entry)| {
        let begins = is_user(&entry.item) && answered;
        answered |= !is_user(&entry.item) && !is_operator(&entry.item);
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

    fn kept(context: Vec<ContextItem>) -> (bool, Vec<String>) {
        let mut context = context;
        let dropped = drop_oldest_turn(&mut context);
        let texts = context.iter().map(|entry| match &entry.item {
            Item::Message(message) => message.content[0].text().to_owned(),
            item => item.call_id().unwrap_or_default().to_owned(),
        });
        (dropped, texts.collect())
    }

    #[test]
    fn the_oldest_turn_goes_and_the_operator_stays() {
        let context = vec![system("s"), user("1"), user("1b"), assistant("2"), user("3"), assistant("4"), user("5")];
        assert_eq!(kept(context), (true, ["s", "3", "4", "5"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn the_last_input_never_goes() {
        assert_eq!(kept(vec![system("s"), user("1"), user("2")]), (false, ["s", "1", "2"].map(str::to_owned).to_vec()));
        assert!(!kept(vec![system("s")]).0);
        assert!(!kept(vec![]).0);
        let calling = vec![user("1"), calls("a", "f", "{}"), answer("a", "x")];
        assert_eq!(kept(calling), (false, ["1", "a", "a"].map(str::to_owned).to_vec()));
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
        assert_eq!(kept(context), (true, ["2", "a", "a"].map(str::to_owned).to_vec()));
    }
}
