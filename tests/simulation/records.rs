//! What the log stores, looked at record by record as it stands there: one writer in each epoch, one end, no gaps.

use std::collections::BTreeMap;

use serde_json::Value;

/// See the module.
#[derive(Default)]
pub(crate) struct Records {
    logs: BTreeMap<String, ReplyLog>,
    threads: BTreeMap<String, Thread>,
}

#[derive(Default)]
struct ReplyLog {
    epoch: u64,
    /// Who writes in this epoch.
    nonce: Option<u64>,
    /// The number of the next event. The first two are derived from the acceptance.
    next: Option<u64>,
    /// How it ended.
    end: Option<String>,
    is_handed_over: bool,
}

#[derive(Default)]
struct Thread {
    ordinal: u64,
    accepted: BTreeMap<String, u32>,
    /// The reply that is said in its conversation.
    running: Option<String>,
}

impl Records {
    /// Takes in a record; gives what is wrong with it.
    pub(crate) fn take(&mut self, subject: &str, is_reply_log: bool, record: &[u8]) -> Vec<String> {
        let Ok(record) = serde_json::from_slice::<Value>(record) else {
            return vec![format!("{subject}: a record that is not JSON")];
        };
        let wrong = if is_reply_log {
            self.logs.entry(subject.to_owned()).or_default().take(&record)
        } else {
            self.threads.entry(subject.to_owned()).or_default().take(&record)
        };
        wrong.into_iter().map(|wrong| format!("{subject}: {wrong}")).collect()
    }

    /// Replies that were accepted.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.threads.values().flat_map(|thread| thread.accepted.keys().cloned()).collect()
    }
}

/// The one field of an object that tells what it is.
fn kind(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(kind) => (kind, &Value::Null),
        Value::Object(fields) => fields.iter().next().map_or(("", &Value::Null), |(kind, value)| (kind, value)),
        _ => ("", &Value::Null),
    }
}

impl ReplyLog {
    fn take(&mut self, record: &Value) -> Option<String> {
        let (kind, entry) = kind(&record["entry"]);
        let (epoch, nonce) = (record["epoch"].as_u64().unwrap_or_default(), record["nonce"].as_u64());
        if let Some(end) = &self.end {
            // The end of a deleted reply gives way to a record without its text.
            return (kind != "deleted").then(|| format!("{kind} after its end, which was {end}"));
        }
        match kind {
            "claim" => {
                if epoch <= self.epoch {
                    return Some(format!("a claim of epoch {epoch} after {}", self.epoch));
                }
                (self.epoch, self.nonce, self.is_handed_over) = (epoch, nonce, false);
            }
            "events" | "handed_over" | "done" | "said" => {
                if self.is_handed_over {
                    return Some(format!("{kind} after it was handed over"));
                }
                if epoch != self.epoch.max(1) {
                    return Some(format!("{kind} of epoch {epoch} in epoch {}", self.epoch));
                }
                self.epoch = epoch;
                if *self.nonce.get_or_insert(nonce.unwrap_or_default()) != nonce.unwrap_or_default() {
                    return Some(format!("two writers in epoch {epoch}"));
                }
                self.is_handed_over = kind == "handed_over";
            }
            _ => {}
        }
        if kind == "events" {
            let (first, count) = (entry["first"].as_u64()?, entry["events"].as_array()?.len() as u64);
            if self.next.is_some_and(|next| next != first) {
                return Some(format!("events from {first} on instead of {:?}", self.next));
            }
            self.next = Some(first + count);
        }
        if ["done", "deleted", "void"].contains(&kind) {
            self.end = Some(kind.to_owned());
        }
        None
    }
}

impl Thread {
    fn take(&mut self, record: &Value) -> Option<String> {
        let ordinal = record["ordinal"].as_u64().unwrap_or_default();
        let before = std::mem::replace(&mut self.ordinal, ordinal);
        if ordinal != before + 1 {
            return Some(format!("ordinal {ordinal} after {before}"));
        }
        let (kind, change) = kind(&record["change"]);
        let reply = change["reply"].as_str().unwrap_or_default().to_owned();
        match kind {
            "accepted" => {
                let times = self.accepted.entry(reply.clone()).or_default();
                *times += 1;
                if *times > 1 {
                    return Some(format!("{reply} was accepted twice"));
                }
                if change["in_conversation"] == true
                    && let Some(running) = self.running.replace(reply.clone())
                {
                    return Some(format!("{reply} was accepted while {running} runs in the conversation"));
                }
            }
            "ended" | "reply_deleted" if self.running.as_ref() == Some(&reply) => self.running = None,
            _ => {}
        }
        None
    }
}
