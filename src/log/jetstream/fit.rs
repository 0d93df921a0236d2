//! Whether a stream that was made by other means is as it is wanted, and where it is not, whether the log can live on
//! it. Pure.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::streams::SHARDS;

/// Where a stream is not as it is wanted.
pub(super) fn differences(found: &Config, wanted: &Config) -> Vec<String> {
    let mut differing = Vec::new();
    let mut compare = |what: &str, is: String, wanted: String| {
        if is != wanted {
            differing.push(format!("{what} is {is} instead of {wanted}"));
        }
    };
    let unlimited = |number: i64| if number <= 0 { "unlimited".to_owned() } else { number.to_string() };
    compare("subjects", found.subjects.join(" "), wanted.subjects.join(" "));
    compare("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
    compare("max_bytes", unlimited(found.max_bytes), unlimited(wanted.max_bytes));
    compare("num_replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
    let per_subject = |config: &Config| unlimited(config.max_messages_per_subject);
    compare("max_msgs_per_subject", per_subject(found), per_subject(wanted));
    let discard = |config: &Config| format!("{:?}", config.discard).to_lowercase();
    compare("discard", discard(found), discard(wanted));
    let shards = |config: &Config| config.metadata.get(SHARDS).map_or("none", String::as_str).to_owned();
    compare(SHARDS, shards(found), shards(wanted));
    differing.extend(faults(found, wanted));
    differing
}

/// The faults of a stream that the log cannot live with. Its retention and its size are the operator's choice.
pub(super) fn faults(found: &Config, wanted: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    for subject in &wanted.subjects {
        if !found.subjects.iter().any(|pattern| covers(pattern, subject)) {
            faults.push(format!("it does not take the subjects {subject}"));
        }
    }
    let is_limited = found.max_bytes > 0 || found.max_messages > 0;
    let wrong = [
        (found.storage != StorageType::File, "storage is not file"),
        (found.retention != RetentionPolicy::Limits, "retention is not limits"),
        (
            is_limited && found.discard != DiscardPolicy::New,
            "discard is not new: what is old would be lost when it is full",
        ),
        (
            wanted.republish.is_some() && found.republish != wanted.republish,
            "republish is not from > to rejoinder.stored.>",
        ),
        (!found.allow_direct, "allow_direct is off"),
        (wanted.allow_rollup && !found.allow_rollup, "allow_rollup_hdrs is off"),
        (found.deny_delete, "deny_delete is on: nothing could be erased"),
        (found.deny_purge, "deny_purge is on: nothing could be erased"),
        (found.max_message_size > 0, "max_msg_size is set"),
        (found.no_ack, "no_ack is on"),
        (found.sealed, "it is sealed"),
        (found.mirror.is_some(), "it is a mirror"),
        (found.subject_transform.is_some(), "it transforms subjects"),
    ];
    faults.extend(wrong.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, fault)| fault.to_owned()));
    faults
}

/// Whether every subject of `subjects` is one of `pattern`.
fn covers(pattern: &str, subjects: &str) -> bool {
    let mut subjects = subjects.split('.');
    for part in pattern.split('.') {
        match (part, subjects.next()) {
            (">", Some(_)) => return true,
            ("*", Some(given)) if given != ">" => {}
            (part, Some(given)) if part == given => {}
            _ => return false,
        }
    }
    subjects.next().is_none()
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::Republish;

    use super::*;

    fn wanted() -> Config {
        let republish = Republish { source: ">".into(), destination: "rejoinder.stored.>".into(), headers_only: false };
        Config {
            subjects: vec!["rejoinder.transcript.0.*".to_owned()],
            discard: DiscardPolicy::New,
            allow_direct: true,
            republish: Some(republish),
            num_replicas: 1,
            ..Config::default()
        }
    }

    #[test]
    fn retention_may_differ_and_what_the_log_lives_on_may_not() {
        let other = Config { max_bytes: 1 << 30, num_replicas: 3, max_messages: -1, ..wanted() };
        assert_eq!(differences(&wanted(), &wanted()), Vec::<String>::new());
        assert_eq!(differences(&other, &wanted()).len(), 2);
        assert_eq!(faults(&other, &wanted()), Vec::<String>::new());
        for (found, fault) in [
            (Config { subjects: vec!["rejoinder.chain.0.*.*".to_owned()], ..wanted() }, "does not take"),
            (Config { republish: None, ..wanted() }, "republish"),
            (Config { allow_direct: false, ..wanted() }, "allow_direct"),
            (Config { storage: StorageType::Memory, ..wanted() }, "storage"),
            (Config { deny_purge: true, ..wanted() }, "erased"),
            (Config { discard: DiscardPolicy::Old, max_bytes: 1, ..wanted() }, "discard"),
        ] {
            let faults = faults(&found, &wanted());
            assert!(faults.iter().any(|words| words.contains(fault)), "{fault}: {faults:?}");
            assert!(!differences(&found, &wanted()).is_empty(), "{fault}");
        }
    }

    #[test]
    fn a_pattern_covers_what_is_narrower() {
        for (pattern, subjects, does) in [
            ("a.*", "a.*", true),
            ("a.>", "a.*", true),
            ("a.>", "a.b.>", true),
            (">", "a.*", true),
            ("a.*.*", "a.0.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.*.*", false),
            ("a.b", "a.*", false),
            ("a.b.*", "a.*", false),
        ] {
            assert_eq!(covers(pattern, subjects), does, "{pattern} and {subjects}");
        }
    }
}
