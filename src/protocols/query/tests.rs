use super::*;

fn refused(result: Result<impl std::fmt::Debug, ApiError>) -> (String, Option<String>) {
    let error = result.expect_err("refused");
    assert_eq!(error.status, 400);
    (error.message, error.param)
}

#[test]
fn a_list_is_asked_for() {
    assert_eq!(ListQuery::parse(None), Ok(ListQuery::default()));
    let include = vec!["a.b".to_owned(), "c d".to_owned(), "e".to_owned()];
    assert_eq!(
        ListQuery::parse(Some(
            "limit=100&order=asc&after=msg%5F1&include[]=a.b&include%5B%5D=c+d&include=e&new=1&&flag"
        )),
        Ok(ListQuery { limit: 100, order: Order::Ascending, after: Some("msg_1".to_owned()), include })
    );
}

#[test]
fn a_reply_is_asked_for() {
    assert_eq!(RetrieveQuery::parse(Some("")), Ok(RetrieveQuery::default()));
    let expected = RetrieveQuery { stream: true, starting_after: Some(7), include: vec![] };
    assert_eq!(RetrieveQuery::parse(Some("stream=true&starting_after=7&include_obfuscation=false")), Ok(expected));
}

#[test]
fn a_wrong_query_is_refused_by_name() {
    let message = |query: &str| {
        let (message, param) = refused(ListQuery::parse(Some(query)));
        assert_eq!(param.as_deref(), query.split('=').next());
        message
    };
    assert_eq!(
        message("limit=0"),
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."
    );
    assert_eq!(
        message("limit=-5"),
        "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got -5 instead."
    );
    assert_eq!(
        message("limit=101"),
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."
    );
    assert_eq!(message("limit=ten"), "Invalid type for 'limit': expected an integer, but got a string instead.");
    assert_eq!(message("limit="), "Invalid type for 'limit': expected an integer, but got a string instead.");
    assert_eq!(message("order=up"), "Invalid value: 'up'. Supported values are: 'asc' and 'desc'.");
    assert_eq!(message("after=%ff"), "Invalid 'after': it is not valid UTF-8 after percent-decoding.");
}

#[test]
fn a_position_that_is_no_number_is_refused() {
    let message = |query: &str| {
        let (message, param) = refused(RetrieveQuery::parse(Some(query)));
        assert_eq!(param.as_deref(), query.split('=').next());
        message
    };
    assert_eq!(
        message("starting_after=-1"),
        "Invalid 'starting_after': integer below minimum value. Expected a value >= 0, but got -1 instead."
    );
    assert_eq!(
        message("starting_after=99999999999999999999"),
        "Invalid 'starting_after': integer above maximum value. \
         Expected a value <= 18446744073709551615, but got 99999999999999999999 instead."
    );
    assert_eq!(
        message("starting_after=1.5"),
        "Invalid type for 'starting_after': expected an integer, but got a string instead."
    );
    assert_eq!(message("stream=yes"), "Invalid type for 'stream': expected a boolean, but got a string instead.");
}

#[test]
fn a_segment_is_decoded() {
    assert_eq!(segment("response_id", "resp%5F1+"), Ok("resp_1+".into()));
    let (message, param) = refused(segment("response_id", "resp_%C3%28"));
    assert_eq!(message, "Invalid 'response_id': it is not valid UTF-8 after percent-decoding.");
    assert_eq!(param.as_deref(), Some("response_id"));
}

#[test]
fn conversations_are_asked_for_by_what_their_metadata_say() {
    let read = |query: &str| ConversationsQuery::parse(Some(query)).map(|query| query.metadata);
    let wanted = Metadata::from([("topic".to_owned(), "tea & milk".to_owned()), ("x".to_owned(), String::new())]);
    assert_eq!(read("metadata[topic]=tea+%26%20milk&metadata%5Bx%5D=&limit=3&metadatas=1").unwrap(), wanted);
    for wrong in ["metadata=x", "metadata[a]=1&metadata[a]=2", "metadata[a][b]=1", "metadata[a=1"] {
        assert_eq!(read(wrong).unwrap_err().status, 400, "{wrong}");
    }
}
