//! What a reply used, when it is over: told to the limits of its caller, and noted where no record tells of it.

use super::worker::Worker;
use crate::domain::event::Usage;
use crate::domain::record::Ended;
use crate::domain::tokens;
use crate::domain::usage::{DailyUsage, Day, Used};
use crate::limits::Reservation;
use crate::log::now_ms;

impl Worker {
    /// A reply has ended.
    pub(super) async fn settle(&mut self, ended: &Ended) {
        let told = ended.end().and_then(|end| end.usage);
        let used = match told {
            Some(usage) => Used::of_reply(usage),
            None => self.estimate().await,
        };
        if !self.accepted.params.store {
            self.note(used);
        } else if told.is_none() {
            // The end counts as a reply, and tells of no tokens.
            self.note(Used { replies: 0, ..used });
        }
        self.give_back(used);
    }

    /// A reply was deleted while it ran: its end is in no record.
    pub(super) async fn settle_deleted(&mut self) {
        let used = self.estimate().await;
        self.note(used);
        self.give_back(used);
    }

    fn give_back(&mut self, used: Used) {
        match self.reserved.take() {
            Some(reserved) => reserved.settle(used.tokens()),
            // It was accepted elsewhere.
            None => self.workers.limits.charge(&self.accepted.owner, used.tokens()),
        }
    }

    fn note(&self, used: Used) {
        if used != Used::default() {
            let (owner, model) = (self.accepted.owner.clone(), self.accepted.params.model.clone());
            self.workers.limits.note_unrecorded(DailyUsage { owner, day: Day::of(now_ms() / 1000), model, used });
        }
    }

    /// What it used as far as is known here: what its model server told before, else what it was asked with and what its
    /// events tell. One of which nothing was generated cost nothing.
    async fn estimate(&self) -> Used {
        if let Some(usage) = self.usage {
            return Used::of_reply(usage);
        }
        let output = self.appender.generated().await.all;
        let accepted = &self.accepted;
        let input = tokens::of_params(&accepted.params) + tokens::of_items(&accepted.input);
        let input = self.reserved.as_ref().map_or(0, Reservation::input).max(input);
        Used::of_reply(Usage { input: if output == 0 { 0 } else { input }, output, ..Usage::default() })
    }
}
