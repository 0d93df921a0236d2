//! Statements that write many rows at once. Their sizes are powers of two, so that any number of rows takes a few
//! statements, all of which stay prepared.

use std::fmt::Write as _;
use std::sync::Arc;

/// Rows in the largest statement: 2^7. (`SQLite` takes 32,766 parameters; beyond about 100 rows nothing is gained.)
const SIZES: usize = 8;

/// What is there grows.
const ADD: &str = "ON CONFLICT (owner, day, model) DO UPDATE SET replies = replies + excluded.replies, \
     input = input + excluded.input, cached = cached + excluded.cached, output = output + excluded.output, \
     reasoning = reasoning + excluded.reasoning";

/// The multi-row statements of the store.
#[derive(Debug)]
pub(super) struct Statements {
    /// Replies that were accepted, and perhaps ended.
    pub(super) replies: Multi,
    /// Ends of replies that are there.
    pub(super) ends: Multi,
    /// Other changes.
    pub(super) changes: Multi,
    /// Records of replies that do not count.
    pub(super) superseded: Multi,
    /// What ends of replies add to what was used.
    pub(super) used: Multi,
    /// What was used that no record tells of.
    pub(super) unrecorded: Multi,
    /// Conversations, and that something happened in them.
    pub(super) conversations: Multi,
    /// That something happened in conversations that are there.
    pub(super) touches: Multi,
}

/// One statement in several sizes.
#[derive(Debug)]
pub(super) struct Multi {
    sizes: [Arc<str>; SIZES],
}

impl Statements {
    pub(super) fn new() -> Self {
        Self {
            // A reply that is there keeps what it has, and gains its end. One that was deleted stays so.
            replies: Multi::new(
                "INSERT INTO replies (id, thread, ordinal, previous, in_conversation, created_at, model, accepted, owner, \
                 status, ended_ordinal, ended_at, ended) VALUES ",
                13,
                " ON CONFLICT (id) DO UPDATE SET ended_ordinal = excluded.ended_ordinal, \
                 ended_at = excluded.ended_at, ended = excluded.ended, status = excluded.status \
                 WHERE NOT replies.deleted AND replies.ended_ordinal IS NULL AND excluded.ended_ordinal IS NOT NULL",
            ),
            ends: Multi::new(
                "UPDATE replies SET status = column2, ended_ordinal = column3, ended_at = column4, ended = column5 \
                 FROM (VALUES ",
                5,
                ") WHERE id = column1 AND ended_ordinal IS NULL AND NOT deleted",
            ),
            changes: Multi::new(
                "INSERT INTO changes (thread, ordinal, kind, record, owner) VALUES ",
                5,
                " ON CONFLICT DO NOTHING",
            ),
            superseded: Multi::new(
                "INSERT INTO changes (thread, ordinal, kind, record) \
                 SELECT column1, column2, 'superseded', '' FROM (VALUES ",
                3,
                ") WHERE NOT EXISTS (SELECT 1 FROM replies \
                 WHERE id = column3 AND (ordinal = column2 OR ended_ordinal = column2)) ON CONFLICT DO NOTHING",
            ),
            // To be run before the ends are written: those count that the others of this list will write.
            used: Multi::new(
                "INSERT INTO usage (owner, day, model, replies, input, cached, output, reasoning) \
                 SELECT coalesce(r.owner, column2), column4, coalesce(r.model, column3), \
                 count(*), sum(column5), sum(column6), sum(column7), sum(column8) FROM (VALUES ",
                8,
                &format!(
                    ") LEFT JOIN replies AS r ON r.id = column1 WHERE coalesce(r.owner, column2) IS NOT NULL \
                     AND (r.id IS NULL OR r.ended_ordinal IS NULL AND NOT r.deleted) GROUP BY 1, 2, 3 {ADD}"
                ),
            ),
            unrecorded: Multi::new(
                "INSERT INTO usage (owner, day, model, replies, input, cached, output, reasoning) VALUES ",
                8,
                &format!(" {ADD}"),
            ),
            conversations: Multi::new(
                "INSERT INTO conversations (thread, owner, active_at, first_reply) VALUES ",
                4,
                " ON CONFLICT (thread) DO UPDATE SET active_at = max(active_at, excluded.active_at), \
                 first_reply = coalesce(first_reply, excluded.first_reply)",
            ),
            touches: Multi::new(
                "UPDATE conversations SET active_at = max(active_at, column2) FROM (VALUES ",
                2,
                ") WHERE thread = column1",
            ),
        }
    }
}

impl Multi {
    fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let statement = |size: usize| {
            let mut sql = String::from(head);
            for index in 0..1 << size {
                let separator = if index == 0 { "" } else { ", " };
                let _ = write!(sql, "{separator}{row}");
            }
            sql.push_str(tail);
            Arc::from(sql)
        };
        Self { sizes: std::array::from_fn(statement) }
    }

    /// The rows in groups, each with the statement that writes it.
    pub(super) fn groups<'a, T>(&'a self, mut rows: &'a [T]) -> impl Iterator<Item = (Arc<str>, &'a [T])> {
        std::iter::from_fn(move || {
            let size = (rows.len().checked_ilog2()? as usize).min(SIZES - 1);
            let (group, rest) = rows.split_at(1 << size);
            rows = rest;
            Some((Arc::clone(&self.sizes[size]), group))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_split_into_groups_that_have_a_statement() {
        let multi = Multi::new("X ", 2, " Y");
        for count in [0, 1, 2, 3, 100, 127, 128, 512, 700] {
            let rows: Vec<usize> = (0..count).collect();
            let groups: Vec<_> = multi.groups(&rows).collect();
            assert!(groups.len() <= SIZES + count / 128);
            assert_eq!(groups.iter().flat_map(|(_, group)| group.iter().copied()).collect::<Vec<_>>(), rows);
            for (sql, group) in groups {
                assert_eq!(sql.matches("(?, ?)").count(), group.len());
                assert!(sql.starts_with("X (?") && sql.ends_with("?) Y"));
            }
        }
    }
}
