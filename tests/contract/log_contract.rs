//! What every log keeps to. Each function takes an empty log; [`log_contract_tests!`] makes them tests of one.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
use rejoinder::log::{AppendError, Log, Subject};

/// Hands the names of all functions of the contract to another macro, after its arguments.
macro_rules! log_contract {
    ($with:ident! $($arguments:tt)*) => {
        $with! { $($arguments)*
            records_read_back_in_order
            a_subject_does_not_see_another
            an_append_under_a_stale_fence_writes_nothing
            of_two_writers_at_once_one_goes_on
            transcripts_have_one_order
            waiting_ends_with_the_next_record
            a_subscription_sees_what_is_stored_after_it
            a_subscription_does_not_see_what_a_fence_refused
            erased_records_are_gone_and_the_fence_stays
            an_erased_chain_keeps_its_places
            all_before_a_record_is_erased_and_the_rest_stays
            a_deletion_is_a_record_like_any_other
            a_snapshot_replaces_the_one_before
            a_ticket_is_held_until_it_is_released
            a_conclusion_ends_the_chain_and_perhaps_the_transcript
            a_conclusion_under_a_stale_fence_writes_nothing
            records_of_all_lengths_keep_their_order
            blobs_are_kept_per_thread
            a_record_of_any_length_is_a_record_like_any_other
            a_snapshot_of_any_length_replaces_the_one_before
            a_long_thread_reads_back_whole
        }
    };
}

/// Makes functions of the contract tests, on logs from `$fresh() -> (Log, impl Drop)`: all, or those after a colon.
macro_rules! log_contract_tests {
    ($fresh:path) => {
        log_contract! { log_contract_tests! $fresh: }
    };
    ($fresh:path: $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (log, _kept) = $fresh().await;
            $crate::log_contract::$name(log).await;
        }
    )*};
}

fn transcript() -> Subject {
    Subject::Transcript(ThreadId::random())
}

fn reply() -> ReplyId {
    ReplyId::random(ThreadId::random())
}

async fn write(log: &Log, subject: Subject, expected: u64, text: &str) -> u64 {
    log.records().append(subject, expected, Bytes::copy_from_slice(text.as_bytes())).await.expect("a record is stored")
}

async fn texts(log: &Log, subject: Subject) -> Vec<String> {
    let records = log.records().read(subject, 0).await.expect("the subject is read");
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// A subject reads so: at once, or, where there are replicas, when all have heard of what was erased.
async fn texts_become(log: &Log, subject: Subject, fits: impl Fn(&[String]) -> bool) {
    let within = if log.is_shared() { Duration::from_secs(10) } else { Duration::ZERO };
    crate::until("the subject reads as it should", within, async || {
        let found = texts(log, subject).await;
        if fits(&found) { Ok(()) } else { Err(format!("{} records", found.len())) }
    })
    .await;
}

pub(crate) async fn records_read_back_in_order(log: Log) {
    for subject in [transcript(), Subject::ReplyLog(reply())] {
        assert_eq!(texts(&log, subject).await, Vec::<String>::new());
        let first = write(&log, subject, 0, "a").await;
        let second = write(&log, subject, first, "b").await;
        assert!(second > first && first > 0);
        assert_eq!(texts(&log, subject).await, ["a", "b"]);
        let rest = log.records().read(subject, first).await.unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].sequence, &rest[0].payload[..]), (second, &b"b"[..]));
        assert!(rest[0].at > 1_600_000_000_000, "records carry the time in milliseconds");
    }
}

pub(crate) async fn a_subject_does_not_see_another(log: Log) {
    let thread = ThreadId::random();
    let (one, other) = (ReplyId::random(thread), ReplyId::random(thread));
    write(&log, Subject::ReplyLog(one), 0, "one").await;
    write(&log, Subject::ReplyLog(other), 0, "other").await;
    write(&log, Subject::Transcript(thread), 0, "thread").await;
    assert_eq!(texts(&log, Subject::ReplyLog(one)).await, ["one"]);
    assert_eq!(texts(&log, Subject::ReplyLog(other)).await, ["other"]);
    assert_eq!(texts(&log, Subject::Transcript(thread)).await, ["thread"]);
}

pub(crate) async fn an_append_under_a_stale_fence_writes_nothing(log: Log) {
    for subject in [transcript(), Subject::ReplyLog(reply())] {
        let first = write(&log, subject, 0, "a").await;
        for wrong in [0, first + 1, first + 1000] {
            let refused = log.records().append(subject, wrong, Bytes::from_static(b"late")).await.unwrap_err();
            assert!(matches!(refused, AppendError::Conflict { last, .. } if last == first), "{refused:?}");
        }
        assert_eq!(texts(&log, subject).await, ["a"]);
    }
}

pub(crate) async fn of_two_writers_at_once_one_goes_on(log: Log) {
    let subject = Subject::ReplyLog(reply());
    let mut last = 0;
    for round in 0..50 {
        let writers = (0..4).map(|writer| {
            let (log, text) = (log.clone(), format!("{round}.{writer}"));
            tokio::spawn(async move { log.records().append(subject, last, Bytes::from(text)).await })
        });
        let mut winners = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            winners.extend(writer.await.unwrap().ok());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        last = winners[0];
    }
    assert_eq!(texts(&log, subject).await.len(), 50);
}

pub(crate) async fn transcripts_have_one_order(log: Log) {
    let subjects: Vec<_> = (0..5).map(|_| transcript()).collect();
    for (index, subject) in subjects.iter().enumerate() {
        let first = write(&log, *subject, 0, &format!("{index} first")).await;
        write(&log, *subject, first, &format!("{index} second")).await;
    }
    write(&log, Subject::ReplyLog(reply()), 0, "not a transcript").await;
    let mut all = Vec::new();
    for shard in 0..log.records().shards() {
        let mut seen = Vec::new();
        let mut after = 0;
        loop {
            let page = log.records().scan(shard, after, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3 && page.iter().all(|scanned| scanned.position > after));
            after = last.position;
            seen.extend(page);
        }
        assert_eq!(after, log.records().last_position(shard));
        assert!(seen.is_sorted_by(|a, b| a.position < b.position));
        all.extend(seen);
    }
    let seen = all;
    assert_eq!(seen.len(), 10);
    let order = |number: usize| -> Vec<_> {
        let of = seen.iter().filter(|scanned| Subject::Transcript(scanned.thread) == subjects[number]);
        of.map(|scanned| String::from_utf8_lossy(&scanned.record.payload).into_owned()).collect()
    };
    for number in 0..subjects.len() {
        assert_eq!(
            order(number),
            [format!("{number} first"), format!("{number} second")],
            "all of a thread in one shard"
        );
    }
    let third = seen.iter().find(|scanned| &scanned.record.payload[..] == b"3 second").unwrap();
    assert_eq!(Subject::Transcript(third.thread), subjects[3]);
}

pub(crate) async fn waiting_ends_with_the_next_record(log: Log) {
    let waiters = (0..log.records().shards()).map(|shard| {
        let log = log.clone();
        Box::pin(async move { log.records().wait_after(shard, 0).await })
    });
    let waiter = tokio::spawn(futures_util::future::select_all(waiters.collect::<Vec<_>>()));
    write(&log, transcript(), 0, "a").await;
    let ((), shard, _) = tokio::time::timeout(Duration::from_secs(5), waiter).await.expect("the wait ends").unwrap();
    log.records().wait_after(shard.try_into().unwrap(), 0).await;
}

pub(crate) async fn a_subscription_sees_what_is_stored_after_it(log: Log) {
    let subject = transcript();
    let first = write(&log, subject, 0, "before").await;
    let mut one = log.records().subscribe(subject).await.unwrap();
    let mut other = log.records().subscribe(subject).await.unwrap();
    write(&log, transcript(), 0, "elsewhere").await;
    let second = write(&log, subject, first, "after").await;
    for subscription in [&mut one, &mut other] {
        let seen = subscription.next().await.expect("a record");
        assert_eq!((seen.sequence, &seen.payload[..]), (second, &b"after"[..]));
        assert_eq!(log.records().read(subject, first).await.unwrap(), [seen], "what is seen is stored");
    }
}

pub(crate) async fn a_subscription_does_not_see_what_a_fence_refused(log: Log) {
    let subject = Subject::ReplyLog(reply());
    let mut subscription = log.records().subscribe(subject).await.unwrap();
    let first = write(&log, subject, 0, "a").await;
    log.records().append(subject, 0, Bytes::from_static(b"zombie")).await.unwrap_err();
    write(&log, subject, first, "b").await;
    assert_eq!(&subscription.next().await.unwrap().payload[..], b"a");
    assert_eq!(&subscription.next().await.unwrap().payload[..], b"b");
}

pub(crate) async fn erased_records_are_gone_and_the_fence_stays(log: Log) {
    let subject = transcript();
    let first = write(&log, subject, 0, "secret").await;
    let second = write(&log, subject, first, "also secret").await;
    let third = write(&log, subject, second, "deleted").await;
    log.records().erase(subject, vec![first, second]).await.unwrap();
    texts_become(&log, subject, |texts| texts == ["deleted"]).await;
    let mut scanned = Vec::new();
    for shard in 0..log.records().shards() {
        scanned.extend(log.records().scan(shard, 0, 10).await.unwrap());
    }
    assert!(scanned.iter().all(|scanned| !scanned.record.payload.ends_with(b"secret")));
    assert!(log.records().append(subject, 0, Bytes::from_static(b"x")).await.is_err());
    write(&log, subject, third, "goes on").await;
    log.records().erase(subject, vec![first, second]).await.expect("erasing again changes nothing");
    assert_eq!(texts(&log, subject).await, ["deleted", "goes on"]);
}

pub(crate) async fn an_erased_chain_keeps_its_places(log: Log) {
    let subject = Subject::ReplyLog(reply());
    let first = write(&log, subject, 0, "secret").await;
    let second = write(&log, subject, first, "deleted").await;
    log.records().erase(subject, vec![first]).await.unwrap();
    texts_become(&log, subject, |texts| !texts.contains(&"secret".to_owned())).await;
    assert!(log.records().append(subject, 0, Bytes::from_static(b"x")).await.is_err());
    write(&log, subject, second, "goes on").await;
}

pub(crate) async fn all_before_a_record_is_erased_and_the_rest_stays(log: Log) {
    for subject in [transcript(), Subject::ReplyLog(reply())] {
        let (mut last, mut sequences) = (0, Vec::new());
        for number in 0..20 {
            last = write(&log, subject, last, &format!("secret {number}")).await;
            sequences.push(last);
        }
        log.records().erase_before(subject, sequences[0]).await.unwrap();
        assert_eq!(texts(&log, subject).await.len(), 20, "nothing is before the first");
        log.records().erase_before(subject, sequences[17]).await.unwrap();
        assert_eq!(texts(&log, subject).await, ["secret 17", "secret 18", "secret 19"]);
        let read = log.records().read(subject, 0).await.unwrap();
        assert_eq!(read.iter().map(|record| record.sequence).collect::<Vec<_>>(), sequences[17..]);
        assert!(log.records().append(subject, sequences[16], Bytes::from_static(b"x")).await.is_err());
        last = write(&log, subject, last, "goes on").await;
        log.records().erase_before(subject, sequences[17]).await.expect("erasing again changes nothing");
        log.records().erase_before(subject, last).await.unwrap();
        assert_eq!(texts(&log, subject).await, ["goes on"]);
        assert_eq!(log.records().last(subject).await.unwrap().unwrap().sequence, last);
    }
}

pub(crate) async fn a_deletion_is_a_record_like_any_other(log: Log) {
    for subject in [transcript(), Subject::ReplyLog(reply())] {
        let first = write(&log, subject, 0, "a").await;
        let deleted = log.records().append_deletion(subject, first, Bytes::from_static(b"deleted")).await.unwrap();
        let refused = log.records().append_deletion(subject, first, Bytes::from_static(b"late")).await;
        assert!(matches!(refused, Err(AppendError::Conflict { last, .. }) if last == deleted), "{refused:?}");
        assert_eq!(texts(&log, subject).await, ["a", "deleted"]);
    }
}

pub(crate) async fn a_snapshot_replaces_the_one_before(log: Log) {
    let reply = reply();
    assert_eq!(log.snapshots().get(reply).await.unwrap(), None);
    let one = log.snapshots().put(reply, 0, Bytes::from_static(b"one")).await.unwrap();
    let two = log.snapshots().put(reply, one, Bytes::from_static(b"two")).await.unwrap();
    let kept = log.snapshots().get(reply).await.unwrap().expect("a snapshot");
    assert_eq!((kept.sequence, &kept.payload[..]), (two, &b"two"[..]));
    log.snapshots().erase(reply).await.unwrap();
    assert_eq!(log.snapshots().get(reply).await.unwrap(), None);
}

pub(crate) async fn a_snapshot_that_is_sealed_is_not_written_again_by_who_was_late(log: Log) {
    let reply = reply();
    let first = log.snapshots().put(reply, 0, Bytes::from_static(b"secret")).await.unwrap();
    log.snapshots().seal(reply).await.unwrap();
    for expected in [0, first] {
        assert!(log.snapshots().put(reply, expected, Bytes::from_static(b"secret")).await.is_err());
    }
    assert_eq!(log.snapshots().get(reply).await.unwrap().expect("a seal").payload, Bytes::new());
}

pub(crate) async fn a_ticket_is_held_until_it_is_released(log: Log) {
    let instance = InstanceId::random();
    let (one, other) = (reply(), reply());
    log.leases().acquire(instance, one).await.unwrap();
    log.leases().acquire(instance, other).await.unwrap();
    log.leases().release(one);
    // Nobody waits for a release; what is written after it has it before.
    let heir = InstanceId::random();
    log.leases().acquire(heir, other).await.unwrap();
    let tickets = log.leases().of(|_| true).await.unwrap();
    assert!(tickets.contains(&(heir, other)) && tickets.iter().all(|(_, reply)| *reply != one), "{tickets:?}");
}

pub(crate) async fn a_conclusion_ends_the_chain_and_perhaps_the_transcript(log: Log) {
    // In the second, somebody else has written into the thread meanwhile.
    for between in [false, true] {
        let (instance, reply) = (InstanceId::random(), reply());
        let (transcript, chain) = (Subject::Transcript(reply.thread()), Subject::ReplyLog(reply));
        let accepted = log.records().accept(instance, reply, None, "accepted".into()).await.unwrap();
        let said = log.records().begin(chain, "said".into()).await.unwrap();
        if between {
            write(&log, transcript, accepted, "changed").await;
        }
        let ended = Some((accepted, "ended".into()));
        let concluded = log.records().conclude(reply, Some(said), "done".into(), ended).await.unwrap();
        assert!(concluded.sequence > said);
        assert_eq!(texts(&log, chain).await, ["said", "done"]);
        let is_there = texts(&log, transcript).await.last().unwrap() == "ended";
        assert_eq!(is_there, concluded.in_transcript);
        assert!(!(between && concluded.in_transcript));
        let is_held = log.leases().of(|_| true).await.unwrap().contains(&(instance, reply));
        assert_ne!(is_held, concluded.in_transcript, "a ticket goes with the end");
    }
}

pub(crate) async fn a_conclusion_under_a_stale_fence_writes_nothing(log: Log) {
    let (instance, reply) = (InstanceId::random(), reply());
    let accepted = log.records().accept(instance, reply, None, "accepted".into()).await.unwrap();
    let said = log.records().begin(Subject::ReplyLog(reply), "said".into()).await.unwrap();
    write(&log, Subject::ReplyLog(reply), said, "claimed").await;
    let ended = Some((accepted, "ended".into()));
    let refused = log.records().conclude(reply, Some(said), "done".into(), ended).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    assert_eq!(texts(&log, Subject::ReplyLog(reply)).await, ["said", "claimed"]);
    assert_eq!(texts(&log, Subject::Transcript(reply.thread())).await, ["accepted"]);
    assert_eq!(log.leases().of(|_| true).await.unwrap(), [(instance, reply)]);
}

pub(crate) async fn records_of_all_lengths_keep_their_order(log: Log) {
    let subject = Subject::ReplyLog(reply());
    let lengths = [1, 100_000, 10, 20_000, 500_000, 16_384, 16_385, 3];
    let mut last = 0;
    for length in lengths {
        last = write(&log, subject, last, &"x".repeat(length)).await;
    }
    let read: Vec<_> = texts(&log, subject).await.iter().map(String::len).collect();
    assert_eq!(read, lengths);
}

/// Longer than a message of NATS may be, by default and at most, and not a multiple of anything.
const LENGTHS: [usize; 4] = [40_001, 700_001, 1_300_001, 9_000_001];

/// A text of this length that is nowhere like itself.
fn long(length: usize) -> Bytes {
    let mut text = Vec::with_capacity(length + 8);
    for number in (0_u64..).take_while(|number| *number <= length as u64 / 8) {
        text.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    text.truncate(length);
    text.into()
}

pub(crate) async fn a_record_of_any_length_is_a_record_like_any_other(log: Log) {
    for subject in [transcript(), Subject::ReplyLog(reply())] {
        let mut subscription = log.records().subscribe(subject).await.unwrap();
        let mut last = write(&log, subject, 0, "first").await;
        assert_eq!(subscription.next().await.unwrap().payload, "first");
        let mut sequences = Vec::new();
        for length in LENGTHS {
            let stale = log.records().append(subject, last + 7, long(length)).await.unwrap_err();
            assert!(matches!(stale, AppendError::Conflict { last: seen, .. } if seen == last), "{stale:?}");
            last = log.records().append(subject, last, long(length)).await.expect("a long record is stored");
            sequences.push(last);
            let lived = subscription.next().await.unwrap();
            assert!(lived.sequence == last && lived.payload == long(length), "{length}: {}", lived.payload.len());
            assert!(log.records().last(subject).await.unwrap().unwrap().payload == long(length));
        }
        let end = write(&log, subject, last, "end").await;
        let read = log.records().read(subject, 0).await.unwrap();
        let lengths: Vec<_> = read.iter().map(|record| record.payload.len()).collect();
        assert_eq!(lengths, [5, LENGTHS[0], LENGTHS[1], LENGTHS[2], LENGTHS[3], 3]);
        assert!(
            read.iter()
                .zip(LENGTHS)
                .skip(1)
                .all(|(record, _)| record.payload.len() < 6 || record.payload == long(record.payload.len()))
        );
        if let Subject::Transcript(thread) = subject {
            let mut scanned = Vec::new();
            let shard = (0..log.records().shards()).find(|shard| log.records().last_position(*shard) > 0).unwrap();
            while scanned.len() < 6 {
                let after = scanned.last().map_or(0, |last: &rejoinder::log::Scanned| last.position);
                let some = log.records().scan(shard, after, 100).await.unwrap();
                let bytes: usize = some.iter().map(|one| one.record.payload.len()).sum();
                assert!(bytes < (8 << 20) + LENGTHS[3], "a scan has a bound in bytes: {bytes}");
                assert!(!some.is_empty() && some.iter().all(|one| one.thread == thread));
                scanned.extend(some);
            }
            let same = scanned.iter().zip(&read).all(|(one, record)| one.record.payload == record.payload);
            assert!(same && scanned.len() == 6);
            log.records().erase(subject, sequences).await.unwrap();
        } else {
            log.records().erase_before(subject, end).await.unwrap();
        }
        let left = log.records().read(subject, 0).await.unwrap();
        assert_eq!(left.last().map(|last| last.sequence), Some(end));
        assert!(left.iter().all(|record| record.payload.len() < 6));
    }
}

pub(crate) async fn a_snapshot_of_any_length_replaces_the_one_before(log: Log) {
    let reply = reply();
    let mut last = 0;
    for length in LENGTHS {
        last = log.snapshots().put(reply, last, long(length)).await.unwrap();
        assert!(log.snapshots().get(reply).await.unwrap().unwrap().payload == long(length));
    }
    log.snapshots().erase(reply).await.unwrap();
    assert!(log.snapshots().get(reply).await.unwrap().is_none());
}

pub(crate) async fn a_long_thread_reads_back_whole(log: Log) {
    let (subject, other) = (transcript(), transcript());
    let (mut last, mut elsewhere, mut all) = (0, 0, Vec::new());
    for number in 0..200 {
        last = write(&log, subject, last, &number.to_string()).await;
        elsewhere = write(&log, other, elsewhere, "between").await;
        all.push((last, number.to_string()));
    }
    assert_eq!(texts(&log, subject).await, all.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>());
    for from in [0, 1, 63, 64, 65, 130, 199] {
        let rest = log.records().read(subject, all[from].0).await.unwrap();
        let wanted: Vec<_> = all[from + 1..].iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(rest.iter().map(|record| record.sequence).collect::<Vec<_>>(), wanted, "after {from}");
    }
    // The places of erased records are no gap to stop at.
    log.records().erase(subject, all[100..170].iter().map(|(sequence, _)| *sequence).collect()).await.unwrap();
    texts_become(&log, subject, |texts| texts.len() == 130).await;
}

pub(crate) async fn blobs_are_kept_per_thread(log: Log) {
    let (one, other) = (ThreadId::random(), ThreadId::random());
    let hash = [7; 32];
    log.blobs().put(one, hash, Bytes::from(vec![1; 300_000])).await.unwrap();
    assert_eq!(log.blobs().get(one, hash).await.unwrap().map(|blob| blob.len()), Some(300_000));
    assert_eq!(log.blobs().get(other, hash).await.unwrap(), None);
    log.blobs().erase(one, HashSet::from([hash])).await.unwrap();
    assert_eq!(log.blobs().get(one, hash).await.unwrap(), None);
}

pub(crate) async fn what_the_store_does_not_have_does_not_expire(log: Log) {
    let subject = transcript();
    write(&log, subject, 0, "a").await;
    write(&log, transcript(), 0, "the last one").await;
    log.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
    assert_eq!(texts(&log, subject).await, ["a"]);
}

pub(crate) async fn old_records_expire_and_the_order_goes_on(log: Log) {
    let (old, kept) = (transcript(), transcript());
    let first = write(&log, old, 0, "a").await;
    write(&log, old, first, "b").await;
    write(&log, kept, 0, "the last one").await;
    let position = log.records().last_position(0);
    log.records().projected(0, position);
    wait_for_the_next_millisecond().await;
    log.expire(Duration::ZERO, Duration::ZERO).await.unwrap();
    assert_eq!(texts(&log, old).await, Vec::<String>::new());
    // An empty subject begins anew; the order of all does not.
    write(&log, old, 0, "c").await;
    assert_eq!(texts(&log, old).await, ["c"]);
    assert!(log.records().last_position(0) > position);
}

pub(crate) async fn a_chain_expires_unless_a_ticket_holds_it(log: Log) {
    let (over, running) = (reply(), reply());
    for reply in [over, running] {
        let first = write(&log, Subject::ReplyLog(reply), 0, "a").await;
        write(&log, Subject::ReplyLog(reply), first, "b").await;
    }
    log.leases().acquire(InstanceId::random(), running).await.unwrap();
    wait_for_the_next_millisecond().await;
    log.expire(Duration::from_hours(1), Duration::from_hours(1)).await.unwrap();
    assert_eq!(texts(&log, Subject::ReplyLog(over)).await.len(), 2, "it is not old");
    log.expire(Duration::from_hours(1), Duration::ZERO).await.unwrap();
    assert_eq!(texts(&log, Subject::ReplyLog(over)).await, Vec::<String>::new());
    assert_eq!(texts(&log, Subject::ReplyLog(running)).await, ["a", "b"]);
}

/// Ages are counted in milliseconds: what was written in this one is not old yet.
pub(crate) async fn wait_for_the_next_millisecond() {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let begun = now();
    while now() <= begun + 1 {
        tokio::task::yield_now().await;
    }
}
