use serde_json::json;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Entry {
    id: String,
}

impl Listed for Entry {
    fn id(&self) -> &str {
        &self.id
    }
}

fn entries() -> Vec<Entry> {
    (0..5).map(|number| Entry { id: number.to_string() }).collect()
}

/// The ids of a page, and whether there are more.
fn listed(limit: usize, order: Order, after: Option<&str>) -> (String, bool) {
    let query = ListQuery { limit, order, after: after.map(str::to_owned), include: Vec::new() };
    let entries = entries();
    let page = page(&entries, &query).expect("a page");
    (page.data().iter().copied().map(Listed::id).collect(), page.has_more())
}

#[test]
fn pages_follow_each_other_in_either_order() {
    assert_eq!(listed(2, Order::Descending, None), ("43".to_owned(), true));
    assert_eq!(listed(2, Order::Descending, Some("3")), ("21".to_owned(), true));
    assert_eq!(listed(2, Order::Descending, Some("1")), ("0".to_owned(), false));
    assert_eq!(listed(2, Order::Descending, Some("0")), (String::new(), false));
    assert_eq!(listed(2, Order::Ascending, Some("2")), ("34".to_owned(), false));
    assert_eq!(listed(9, Order::Ascending, None), ("01234".to_owned(), false));
    assert_eq!(listed(5, Order::Ascending, None), ("01234".to_owned(), false));
}

#[test]
fn a_page_names_its_first_and_its_last_entry() {
    let entries = entries();
    let list = List::new(vec![&entries[1], &entries[0]], true);
    let expected = json!({"object": "list", "data": [{"id": "1"}, {"id": "0"}], "first_id": "1", "last_id": "0", "has_more": true});
    assert_eq!(serde_json::to_value(list).expect("JSON"), expected);
    let empty = json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false});
    assert_eq!(serde_json::to_value(List::<Entry>::new(Vec::new(), false)).expect("JSON"), empty);
}

#[test]
fn a_page_after_an_entry_that_is_not_there_is_refused() {
    let query = ListQuery { after: Some("msg_9".to_owned()), ..ListQuery::default() };
    let error = page(&entries(), &query).expect_err("not there");
    assert_eq!((error.status, error.param.as_deref()), (400, Some("after")));
    assert_eq!(error.message, "Item with id 'msg_9' not found.");
}
