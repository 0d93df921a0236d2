//! What has to hold when all is quiet.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::{Checker, Deletion, Reply, text_of_output};
use crate::fleet::{Fleet, Instance};
use crate::http::{Answer, Ask, Reader, ask};
use crate::model::answer_to;
use crate::run::tasks;

/// How long everything has to come to its end.
const QUIET: Duration = Duration::from_mins(2);

/// Some tasks come and go: an instance asks another whether it lives, one of them delivers webhooks.
const SLACK: usize = 8;

/// How long webhooks have.
const TOLD: Duration = Duration::from_mins(40);

/// See the module.
pub(crate) struct FinalLook {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) checker: Arc<Checker>,
    /// Nothing happened that would make a reply fail.
    pub(crate) may_fail: bool,
    /// Tasks that there were before the first instance, and those of an instance that has nothing to do. `None`: what was
    /// killed still has some.
    pub(crate) tasks: Option<(usize, usize)>,
}

impl FinalLook {
    pub(crate) async fn look(&self) {
        self.wait_quiet().await;
        self.look_for_left_behind();
        self.look_at_replies().await;
        // What was met only now comes to its end, too.
        self.wait_quiet().await;
        self.look_for_deleted();
        self.look_at_store();
        self.look_at_conversations().await;
        self.wait_quiet().await;
    }

    /// Nothing runs, is followed, subscribed to, or held.
    async fn wait_quiet(&self) {
        let over = Instant::now() + QUIET;
        loop {
            let mut left = self.fleet.holds();
            let subscriptions = self.fleet.world.cluster.subscriptions();
            if subscriptions > 0 {
                left.push(format!("{subscriptions} subscriptions"));
            }
            let leases = self.fleet.world.cluster.leases();
            if let Some((before, per_instance)) = self.tasks {
                let (now, most) = (tasks(), before + per_instance * self.fleet.alive().len() + SLACK);
                if now > most {
                    left.push(format!("{} tasks", now - most));
                }
            }
            left.extend(leases.iter().map(|(instance, reply)| format!("the lease of {reply} by {instance}")));
            if left.is_empty() {
                return;
            }
            if Instant::now() > over {
                return self.checker.violation(format!("when all is quiet there is still: {}", left.join(", ")));
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// What was accepted, and had a lease, is brought to its end, also where nobody asks for it.
    fn look_for_left_behind(&self) {
        let known = self.checker.replies();
        for id in self.checker.open() {
            let is_known = known.get(&id).is_some_and(|reply| reply.is_accepted && reply.deletion == Deletion::None);
            let was_leased = id.parse().is_ok_and(|reply| self.fleet.world.cluster.was_leased(reply));
            if is_known && was_leased {
                self.checker.violation(format!("{id} is left behind: it had a lease, and nobody goes on with it"));
            }
        }
    }

    /// Somebody was told of each end. What failed is tried again after minutes.
    pub(crate) async fn look_at_webhooks(&self) {
        let over = Instant::now() + TOLD;
        while !self.checker.not_notified().is_empty() {
            if Instant::now() > over {
                let left = self.checker.not_notified();
                return self.checker.violation(format!("nobody was told of the ends of {}", left.join(", ")));
            }
            sleep(Duration::from_secs(5)).await;
        }
    }

    /// Every reply that was accepted is there, over, as it was seen, at every instance; every deleted one is not.
    async fn look_at_replies(&self) {
        let known = self.checker.replies();
        for id in self.checker.accepted_in_log() {
            let reply = known.get(&id).cloned().unwrap_or_default();
            for instance in self.fleet.alive() {
                self.look_at_reply(&instance, &id, &reply).await;
            }
        }
        for (id, _) in known.iter().filter(|(_, reply)| reply.is_accepted) {
            if !self.checker.accepted_in_log().contains(id) {
                self.checker.violation(format!("{id} was accepted, and the log does not know of it"));
            }
        }
    }

    async fn look_at_reply(&self, instance: &Arc<Instance>, id: &str, reply: &Reply) {
        let number = instance.number;
        let over = Instant::now() + QUIET;
        // One that nobody was told of, and whose lease was lost with its owner, is gone on with when it is met.
        let response = loop {
            let Ok(answer) = ask(instance, &Ask::get(format!("/v1/responses/{id}"))).await else {
                return self.checker.violation(format!("{id} is not shown by instance {number}"));
            };
            let status = answer.status.as_u16();
            let response = answer.json().await.unwrap_or_default();
            match (status, reply.deletion) {
                (404, Deletion::Asked | Deletion::Done) => return,
                (200, Deletion::None | Deletion::Asked) => {}
                (status, deletion) => {
                    let what = format!("{id} at instance {number}: {status} {response} (deletion: {deletion:?})");
                    return self.checker.violation(what);
                }
            }
            let status = response["status"].as_str().unwrap_or_default();
            if ["completed", "incomplete", "failed", "cancelled"].contains(&status) {
                break response;
            }
            if Instant::now() > over {
                return self.checker.violation(format!("{id} never ends: instance {number} says {status}"));
            }
            sleep(Duration::from_secs(1)).await;
        };
        if response["status"] == "failed" && !self.may_fail {
            self.checker.violation(format!("{id} failed without a reason: {}", response["error"]));
        }
        self.checker.saw_whole(id, &response, reply);
        if response["status"] == "completed" && !reply.prompt.is_empty() {
            let (text, whole) = (text_of_output(&response), answer_to(&reply.prompt));
            if text != whole {
                self.checker.violation(format!("{id} is completed and says {text:?} instead of {whole:?}"));
            }
        }
        self.replay(instance, id).await;
    }

    /// All events of a reply again, which have to be those that were seen.
    async fn replay(&self, instance: &Arc<Instance>, id: &str) {
        let Ok(stream) = ask(instance, &Ask::get(format!("/v1/responses/{id}?stream=true"))).await else { return };
        // One that does not end has been told of.
        let Ok(events) = tokio::time::timeout(QUIET, events(stream)).await else { return };
        let mut last = None;
        for event in &events {
            last = self.checker.saw(id, event, last);
        }
        if !events.last().is_some_and(Checker::is_terminal) {
            self.checker.violation(format!("{id} is told again without its end, by instance {}", instance.number));
        }
        let known = self.checker.events(id);
        if events.len() != known {
            self.checker.violation(format!("{id}: {} events are told again of {known}", events.len()));
        }
    }

    /// Nothing of what was deleted stands anywhere.
    fn look_for_deleted(&self) {
        for (id, reply) in self.checker.replies() {
            if reply.deletion != Deletion::Done || reply.prompt.is_empty() {
                continue;
            }
            // Answers hold the prompt's own letters, too.
            let secret = &reply.prompt.as_bytes()[..reply.prompt.len().min(60)];
            let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
            if self.fleet.world.cluster.contents().iter().any(|record| holds(record)) {
                self.checker.violation(format!("{id} was deleted, and the log has its text"));
            }
            if self.fleet.world.database.contents().iter().any(|(_, record)| holds(record.as_bytes())) {
                self.checker.violation(format!("{id} was deleted, and the store has its text"));
            }
        }
    }

    /// Each reply is in the store once, as it was seen.
    fn look_at_store(&self) {
        let contents = self.fleet.world.database.contents();
        for (id, reply) in self.checker.replies() {
            if !reply.is_accepted || reply.deletion != Deletion::None {
                continue;
            }
            let ends: Vec<_> =
                contents.iter().filter(|(place, record)| *place == id && record.contains("\"ended\":{")).collect();
            if ends.len() != 1 {
                self.checker.violation(format!("{id} is in the store with {} ends", ends.len()));
            }
            if let Some((_, record)) = ends.first() {
                let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
                let text = text_of_output(&record["change"]["ended"]["said"]);
                if !text.starts_with(&reply.text) {
                    self.checker.violation(format!("{id}: {:?} was seen, and the store has {text:?}", reply.text));
                }
            }
        }
    }

    /// No conversation is locked.
    async fn look_at_conversations(&self) {
        let conversations: std::collections::BTreeSet<String> =
            self.checker.replies().into_values().filter_map(|reply| reply.conversation).collect();
        for conversation in conversations.into_iter().filter(|id| !self.checker.has_deleted_conversation(id)) {
            let body = serde_json::json!({"model": "simulated", "input": "last", "conversation": conversation});
            let over = Instant::now() + QUIET;
            loop {
                let Some(instance) = self.fleet.any() else { return };
                let Ok(answer) = ask(&instance, &Ask::post("/v1/responses", body.clone())).await else {
                    return self.checker.violation(format!("{conversation} takes no turn: no answer"));
                };
                let status = answer.status;
                let body = answer.json().await.unwrap_or_default();
                if status == 429 && Instant::now() < over {
                    sleep(Duration::from_millis(300)).await;
                    continue;
                }
                if status != 200 || body["status"] != "completed" {
                    self.checker.violation(format!("{conversation} takes no turn: {status} {body}"));
                }
                break;
            }
        }
    }
}

/// All events of a stream.
async fn events(mut stream: Answer) -> Vec<serde_json::Value> {
    let (mut reader, mut events) = (Reader::default(), Vec::new());
    while let Ok(Some(bytes)) = stream.next().await {
        let sent = reader.feed(&bytes).into_iter().filter(|sent| sent.data != "[DONE]");
        events.extend(sent.filter_map(|sent| serde_json::from_str(&sent.data).ok()));
    }
    events
}
