//! What a reply used, when it is over: reported to the limits of its caller, and noted if no record holds it.

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
        let reported = ended.end().and_then(|end| end.usage);
        let used = match reported {
            Some(usage) => Used::of_reply(usage),
            None => self.estimate().await,
        };
        if !self.accepted.params.store {
            self.note(used);
        } else if reported.is_none() {
            // The end counts as a reply, and has no tokens.
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

    /// What it used as far as is known here: what its model server reported before, else its input and what its
    /// events. A reply without output cost nothing.
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
