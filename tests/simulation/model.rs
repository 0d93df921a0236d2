//! The model server of the simulation. What it says is a function of the prompt alone, so that whoever knows the prompt knows
//! the reply: each word stands in it once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rejoinder::simulated::{Asked, Model, Play, Step};
use rejoinder::simulation::{Dice, Fault};
use serde_json::Value;

use crate::checker::Checker;

/// Plays all model servers.
pub(crate) struct Player {
    pub(crate) dice: Arc<Dice>,
    pub(crate) checker: Arc<Checker>,
}

/// What is said in answer to a prompt.
pub(crate) fn answer_to(prompt: &str) -> String {
    let sum = prompt.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    // Some are long enough for snapshots.
    let words = if sum % 8 == 0 { 150 + sum % 100 } else { 2 + sum % 30 };
    let name: String = prompt.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    (0..words).map(|word| format!("{name}w{word}")).collect::<Vec<_>>().join(" ")
}

/// The text of a message.
pub(crate) fn text_of(item: &Value) -> Option<(String, String)> {
    let role = item["role"].as_str()?;
    let parts = item["content"].as_array()?;
    Some((role.to_owned(), parts.iter().filter_map(|part| part["text"].as_str()).collect()))
}

impl Model for Player {
    fn play(&self, asked: Asked) -> Play {
        let said: Vec<_> = asked.context.iter().filter_map(text_of).collect();
        let prompt = said.iter().rev().find(|(role, _)| role == "user").map_or("", |(_, text)| text).to_owned();
        self.checker.called(&prompt, &said, &asked.prefix);
        let answer = answer_to(&prompt);
        let rest = answer.strip_prefix(&asked.prefix).unwrap_or_default().to_owned();
        let repeats = !asked.prefix.is_empty() && self.dice.strikes(Fault::ModelRepeats);
        let mut steps = VecDeque::new();
        if self.dice.strikes(Fault::ModelRefuses) {
            steps.push_back(Step::Break);
            return Play { repeats, steps };
        }
        steps.push_back(Step::Wait(self.dice.millis(1..300)));
        if asked.prefix.is_empty() && self.dice.percent(20) {
            steps.push_back(Step::Thought("hm".to_owned()));
        }
        if repeats {
            let again: Vec<_> = asked.prefix.rsplit(' ').take(6).collect();
            let again: Vec<_> = again.into_iter().rev().collect();
            steps.push_back(Step::Text(again.join(" ")));
        }
        let pace = self.dice.number(1..120);
        for piece in rest.split_inclusive(' ') {
            steps.push_back(Step::Text(piece.to_owned()));
            if self.dice.percent(70) {
                steps.push_back(Step::Wait(Duration::from_millis(pace)));
            }
        }
        self.spoil(&mut steps);
        Play { repeats, steps }
    }
}

impl Player {
    /// Breaks off somewhere, or falls silent.
    fn spoil(&self, steps: &mut VecDeque<Step>) {
        let somewhere = |steps: &VecDeque<Step>| usize::try_from(self.dice.number(1..steps.len() as u64 + 1));
        if self.dice.strikes(Fault::ModelSilent) {
            let at = somewhere(steps).unwrap_or(1);
            steps.insert(at, Step::Wait(self.dice.millis(1_000..20_000)));
        }
        if self.dice.strikes(Fault::ModelBreaks) {
            let at = somewhere(steps).unwrap_or(1);
            steps.truncate(at);
            steps.push_back(Step::Break);
        }
    }
}
