//! The summary that a reply begins with.

use super::*;
use crate::domain::layout::{OutputLayout, expand};
use crate::llm::call::Prefix;

fn compacting() -> Options {
    Options { compacting: true, ..Options::default() }
}

#[test]
fn a_summary_is_an_item_of_its_own_and_the_reply_goes_on_behind_it() {
    let mut reply = opened();
    let deltas = [thinks("hm"), writes("they "), calls(0, "f", "{}"), writes("launch"), stops(Stop)];
    let (mut events, finished) = attempt(compacting(), &reply, deltas, Some(true));
    assert_eq!(finished, Some(Finished::Compacted));
    assert_eq!(
        (events.first(), events.last()),
        (Some(&Event::ItemAdded(Opening::Compaction)), Some(&item_done(0, false)))
    );
    apply(&mut reply, &events);
    assert!(reply.is_compacted() && reply.text().is_empty() && Plan::of(&reply) == Plan::Start);

    let usage_of_summary = Some(Usage { input: 1, output: 7, total: 8, ..Usage::default() });
    let options = Options { usage_of_summary, ..Options::default() };
    let (more, finished) =
        attempt(options, &reply, [thinks("well"), writes("Tuesday"), used(2), stops(Stop)], Some(true));
    assert_eq!(
        (finished, more.first()),
        (Some(Finished::Ended), Some(&reasoning())),
        "its own thoughts are emitted at once"
    );
    let Some(Event::End(End { usage: Some(sum), .. })) = more.last() else { panic!("it ends") };
    assert_eq!((sum.input, sum.output, sum.total), (2, 9, 11));
    apply(&mut reply, &more);
    assert_eq!(reply.text(), "Tuesday");
    events = [Event::opening(false).to_vec(), events, more].concat();
    assert_eq!(expand(false, reply.content(), &OutputLayout::compact(&events)), Ok(events));
}

#[test]
fn a_summary_goes_on_where_it_was_broken_off_and_is_not_made_of_nothing() {
    let mut reply = opened();
    let (events, _) = attempt(compacting(), &reply, [writes("one two")], None);
    apply(&mut reply, &events);
    assert!(!reply.is_compacted());
    assert_eq!(Plan::of(&reply), Plan::Continue(Prefix { text: "one two".to_owned(), call: None }));
    let (events, finished) = attempt(compacting(), &reply, [writes(" three"), stops(Stop)], Some(true));
    apply(&mut reply, &events);
    assert_eq!((finished, reply.is_compacted()), (Some(Finished::Compacted), true));
    for deltas in
        [vec![stops(Stop)], vec![thinks("hm"), stops(Stop)], vec![writes("half"), stops(FinishReason::Broken)]]
    {
        let (_, finished) = attempt(compacting(), &opened(), deltas, Some(true));
        assert_eq!(finished, Some(Finished::Broken));
    }
}
