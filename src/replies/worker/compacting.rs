//! A reply whose context is too long for its client begins with a summary of it, and goes on from there.

use std::sync::Arc;

use super::Worker;
use crate::domain::compaction::{Since, since_summary, summary_of};
use crate::domain::event::Usage;
use crate::domain::items::Item;
use crate::domain::params::Params;
use crate::domain::reply::Reply;
use crate::llm::call::ContextItem;

impl Worker {
    /// Whether the summary that the reply is to begin with has to be made yet.
    pub(super) fn compacts(&self, reply: &Reply) -> bool {
        self.accepted.params.compacts_with().is_some() && !reply.is_compacted()
    }

    /// The parameters of the call that makes the summary: there is nothing to call, and no form that it has to have.
    pub(super) fn for_summary(&self) -> Arc<Params> {
        Arc::new(Params {
            tools: Vec::new(),
            tool_choice: None,
            text: None,
            top_logprobs: None,
            max_output_tokens: None,
            ..(*self.accepted.params).clone()
        })
    }

    /// Asks for the summary at the end of what is to be summed up; once there is one, puts it in place of that.
    pub(super) fn sum_up(&self, context: &mut Vec<ContextItem>, reply: &Reply) {
        if self.accepted.params.compacts_with().is_none() {
            return;
        }
        let summary = reply.compaction().filter(|_| !self.compacting).and_then(summary_of);
        let is_there = summary.is_some();
        context.push(ContextItem { item: summary.unwrap_or_else(Item::asks_for_summary), provider_state: None });
        if is_there {
            since_summary(context, Since::OwnSummary, |entry| &entry.item);
        }
    }

    /// What the summary took: as its upstream counted it, or, where another instance made it, as its events tell.
    pub(super) fn usage_of_summary(&self) -> Option<Usage> {
        let tokens = self.generated.summary;
        let counted = (tokens > 0).then(|| Usage { output: tokens, total: tokens, ..Usage::default() });
        self.usage_of_summary.or(counted)
    }
}
