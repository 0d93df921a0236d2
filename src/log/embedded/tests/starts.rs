//! Starts on what is left of a log: without indexes, with a damaged checkpoint, without its newest segments.

use bytes::Bytes;

use super::super::Embedded;
use super::{crashed, directory, indexed, open, segments};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::Subject;

fn text(number: u64) -> Bytes {
    format!(r#"{{"number":{number},"text":"some words that fill a segment after a while"}}"#).into()
}

/// A reply that ended and one that runs, in several segments each.
async fn written(log: &Embedded) -> [ReplyId; 2] {
    let replies = [0, 1].map(|_| ReplyId::random(ThreadId::random()));
    for reply in replies {
        log.accept(InstanceId::from_number(3), reply, None, text(0)).await.unwrap();
    }
    for number in 0..20 {
        for reply in replies {
            log.append(Subject::ReplyLog(reply), number, text(number)).await.unwrap();
            log.append(Subject::Transcript(reply.thread()), number + 1, text(number)).await.unwrap();
        }
    }
    log.conclude(replies[0], Some(20), text(20), Some((21, text(21)))).await.unwrap();
    indexed(log).await;
    replies
}

/// The sequences of a subject.
async fn sequences(log: &Embedded, subject: Subject) -> Vec<u64> {
    log.read(subject, 0).await.unwrap().iter().map(|record| record.sequence).collect()
}

async fn is_whole(log: &Embedded, [ended, running]: [ReplyId; 2]) {
    let up_to = |last| (1..=last).collect::<Vec<u64>>();
    assert_eq!(sequences(log, Subject::ReplyLog(ended)).await, up_to(21));
    assert_eq!(sequences(log, Subject::Transcript(ended.thread())).await, up_to(22));
    assert_eq!(sequences(log, Subject::ReplyLog(running)).await, up_to(20));
    assert_eq!(sequences(log, Subject::Transcript(running.thread())).await, up_to(21));
    assert_eq!(log.tickets(), [(InstanceId::from_number(3), running)]);
    assert_eq!(log.scan(0, 1000).await.unwrap().len(), 43);
    assert_eq!(log.last_position(), 43);
}

#[tokio::test]
async fn indexes_that_are_missing_or_damaged_are_made_again() {
    let directory = directory();
    let log = open(directory.path()).unwrap();
    let replies = written(&log).await;
    let copy = crashed(directory.path());
    let indexes: Vec<_> = ['t', 'c'].into_iter().flat_map(|family| segments(copy.path(), family, "idx")).collect();
    assert!(indexes.len() > 6, "there are many");
    for (number, index) in indexes.iter().enumerate() {
        match number % 3 {
            0 => std::fs::remove_file(index).unwrap(),
            1 => std::fs::write(index, "").unwrap(),
            _ => std::fs::write(index, "no index").unwrap(),
        }
    }
    let log = open(copy.path()).unwrap();
    indexed(&log).await;
    is_whole(&log, replies).await;
    assert_eq!(log.usage().damaged, 0, "nothing is lost");
    // Those that were missing at once, the damaged ones where they were wanted.
    assert!(indexes.iter().step_by(3).all(|index| std::fs::metadata(index).unwrap().len() > 64));
}

#[tokio::test]
async fn a_damaged_checkpoint_is_taken_from_the_segments_before() {
    let directory = directory();
    let log = open(directory.path()).unwrap();
    let replies = written(&log).await;
    let copy = crashed(directory.path());
    for segment in &segments(copy.path(), 't', "seg")[1..] {
        let mut content = std::fs::read(segment).unwrap();
        content[30] ^= 1;
        std::fs::write(segment, content).unwrap();
    }
    std::fs::remove_file(copy.path().join("log/format")).unwrap();
    let identity = log.identity();
    let log = open(copy.path()).unwrap();
    assert_eq!(log.identity(), identity, "the first segment has its name");
    is_whole(&log, replies).await;
}

#[tokio::test]
async fn a_log_without_its_newest_segments_goes_on_where_it_ends() {
    let directory = directory();
    let log = open(directory.path()).unwrap();
    let [ended, running] = written(&log).await;
    let copy = crashed(directory.path());
    for family in ['t', 'c'] {
        std::fs::remove_file(segments(copy.path(), family, "seg").pop().unwrap()).unwrap();
    }
    let log = open(copy.path()).unwrap();
    let subjects = [ended, running].map(|reply| [Subject::ReplyLog(reply), Subject::Transcript(reply.thread())]);
    for subject in subjects.into_iter().flatten() {
        let known = sequences(&log, subject).await;
        let last = *known.last().unwrap();
        assert_eq!(known, (1..=last).collect::<Vec<_>>(), "{subject:?}");
        for number in 0..20 {
            log.append(subject, last + number, text(number)).await.unwrap();
        }
    }
    let positions = log.scan(0, 1000).await.unwrap();
    assert!(positions.is_sorted_by(|one, next| one.position + 1 == next.position));
    indexed(&log).await;
    let again = crashed(copy.path());
    let again = open(again.path()).unwrap();
    for subject in subjects.into_iter().flatten() {
        assert_eq!(sequences(&again, subject).await, sequences(&log, subject).await, "{subject:?}");
    }
}

#[tokio::test]
async fn after_a_start_the_end_of_a_chain_is_found_in_a_segment_that_was_full_before() {
    let directory = directory();
    let log = open(directory.path()).unwrap();
    let reply = ReplyId::random(ThreadId::random());
    let accepted = log.accept(InstanceId::from_number(3), reply, None, text(0)).await.unwrap();
    log.begin(Subject::ReplyLog(reply), text(1)).await.unwrap();
    log.conclude(reply, Some(1), text(2), Some((accepted, text(3)))).await.unwrap();
    let elsewhere = Subject::Transcript(ThreadId::random());
    for number in 0..20 {
        log.append(elsewhere, number, text(number)).await.unwrap();
    }
    indexed(&log).await;
    let again = crashed(directory.path());
    let log = open(again.path()).unwrap();
    assert_eq!(sequences(&log, Subject::ReplyLog(reply)).await, [1, 2]);
    assert!(log.append(Subject::ReplyLog(reply), 1, text(4)).await.is_err(), "its fence is where it was");
}
