use proptest::prelude::*;

use super::*;
use crate::domain::ids::{InstanceId, ReplyId};

fn reply() -> ReplyId {
    ReplyId::random(ThreadId::random())
}

fn link(sequence: u64) -> Link {
    Link { sequence, previous: Location { segment: 3, offset: 77 } }
}

fn bodies() -> Vec<Body> {
    let (reply, instance) = (reply(), InstanceId::random());
    vec![
        Body::Transcript { thread: reply.thread(), link: link(4), position: 9, lease: None },
        Body::Transcript { thread: reply.thread(), link: link(4), position: 9, lease: Some((reply, instance)) },
        Body::ReplyLog { reply, link: link(1) },
        Body::Snapshot { reply, previous: Location::NONE },
        Body::Hold { reply, instance },
        Body::Release { reply },
        Body::Erasing,
        Body::Erased { announced: Location { segment: 1, offset: 2 } },
        Body::Checkpoint,
    ]
}

/// The header and the payload of what was written.
fn read(frame: &[u8]) -> (Header, Bytes) {
    let header = Header::read(frame).expect("a header");
    assert_eq!(header.frame(), frame.len() as u64);
    let payload = Bytes::copy_from_slice(&frame[header.length()..]);
    (header, payload)
}

fn concluded(done: &[u8], ended: &[u8]) -> (ReplyId, Vec<u8>) {
    let reply = reply();
    let place = Concluding { reply, reply_log: link(5), transcript: link(2), position: 12 };
    let mut frame = Vec::new();
    write_conclusion(&mut frame, 1000, place, done, ended);
    (reply, frame)
}

/// A payload of a record, and one that is packed.
fn payloads() -> [String; 2] {
    ["{\"a\":1}".to_owned(), format!("{{\"a\":\"{}\"}}", "long ".repeat(300))]
}

#[test]
fn every_kind_of_record_reads_back() {
    for (body, written) in bodies().into_iter().flat_map(|body| payloads().map(|payload| (body.clone(), payload))) {
        let mut frame = Vec::new();
        write(&mut frame, 1000, body.clone(), written.as_bytes());
        let (header, payload) = read(&frame);
        assert_eq!((&header.body, header.at, header.erased), (&body, 1000, false));
        assert!(header.length() <= LONGEST_HEADER && header.is_intact(&payload));
        for (key, _) in header.links() {
            assert_eq!(header.record(&key, &payload), Ok(Some(Bytes::from(written.clone()))));
            assert!(frame.len() < 500, "what is long is packed");
        }
        if header.links().next().is_none() {
            assert_eq!(payload, written, "others read it as it is");
        }
        for cut in 0..header.length() {
            assert_eq!(Header::read(&frame[..cut]), Err(NoHeader::Incomplete), "{cut} bytes");
        }
    }
}

#[test]
fn a_flipped_bit_is_seen_wherever_it_is() {
    for (body, written) in bodies().into_iter().flat_map(|body| payloads().map(|payload| (body.clone(), payload))) {
        let mut frame = Vec::new();
        write(&mut frame, 1000, body.clone(), written.as_bytes());
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let is_mark = (2..4).contains(&(bit / 8));
            match Header::read(&flipped) {
                Err(_) => assert!(!is_mark),
                Ok(header) => {
                    let intact = header.is_intact(&Bytes::copy_from_slice(&flipped[header.length()..]));
                    assert_eq!(intact, is_mark, "bit {bit} of {body:?}");
                    assert!(!header.erased, "one bit erases nothing");
                }
            }
        }
    }
}

#[test]
fn both_records_of_a_conclusion_read_back_and_are_erased_each_for_itself() {
    for times in [40, 400] {
        conclude_and_erase(&"text ".repeat(times));
    }
}

fn conclude_and_erase(text: &str) {
    let shared = format!("\"reply\":\"{}\",{text}", ReplyId::random(ThreadId::random()));
    let (done, ended) = (
        format!("{{\"done\":{{{shared}}}}}"),
        format!("{{\"v\":1,\"ordinal\":2,\"at\":1700000000000,{{{shared}}}}}}}"),
    );
    let (reply, frame) = concluded(done.as_bytes(), ended.as_bytes());
    assert!(frame.len() < LONGEST_HEADER + shared.len() + 80, "what both have is there once: {}", frame.len());
    let (reply_log, transcript) = (Key::ReplyLog(reply), Key::Transcript(reply.thread()));
    let (header, payload) = read(&frame);
    assert_eq!(header.record(&reply_log, &payload).unwrap().unwrap(), done);
    assert_eq!(header.record(&transcript, &payload).unwrap().unwrap(), ended);

    for (first, second) in [(reply_log, transcript), (transcript, reply_log)] {
        let (mut header, _) = read(&frame);
        let mut erased = frame.clone();
        header.erase(&first, &mut erased);
        let (mut header, payload) = read(&erased);
        assert_eq!(header.record(&first, &payload), Ok(None));
        let written = if second == reply_log { &done } else { &ended };
        assert_eq!(header.record(&second, &payload).unwrap().unwrap(), *written);
        header.erase(&second, &mut erased);
        let (header, payload) = read(&erased);
        assert_eq!(header.record(&second, &payload), Ok(None));
        assert!(payload.iter().all(|byte| *byte == 0), "nothing of either is left");
    }
}

proptest! {
    #[test]
    fn any_two_records_of_a_conclusion_read_back(
        shared in "[a-z]{0,200}|[a-e ]{1500,2500}", before in "[a-z]{0,9}", between in "[a-z]{0,99}", after in "[a-z]{0,9}",
    ) {
        let (done, ended) = (format!("{before}{shared}{after}"), format!("{between}{shared}{before}"));
        let (reply, frame) = concluded(done.as_bytes(), ended.as_bytes());
        let (header, payload) = read(&frame);
        prop_assert!(header.is_intact(&payload));
        prop_assert_eq!(header.record(&Key::ReplyLog(reply), &payload).unwrap().unwrap(), done);
        prop_assert_eq!(header.record(&Key::Transcript(reply.thread()), &payload).unwrap().unwrap(), ended);
    }
}

#[test]
fn an_erased_record_keeps_its_place_and_can_be_linked_past_others() {
    let reply = reply();
    let mut frame = Vec::new();
    write(&mut frame, 1000, Body::ReplyLog { reply, link: link(8) }, b"secret");
    let (mut header, _) = read(&frame);
    header.erase(&Key::ReplyLog(reply), &mut frame);
    let (header, payload) = read(&frame);
    assert_eq!((header.record(&Key::ReplyLog(reply), &payload), payload), (Ok(None), Bytes::from_static(&[0; 6])));
    let elsewhere = Location { segment: 1, offset: 5 };
    let relinked = header.relinked(elsewhere);
    frame[..relinked.len()].copy_from_slice(&relinked);
    let (header, _) = read(&frame);
    assert_eq!(header.link(&Key::ReplyLog(reply)), Some(Link { sequence: 8, previous: elsewhere }));
    assert!(header.erased);
    assert_eq!(Header::read(&filler(100)).unwrap().frame(), 100);
}
