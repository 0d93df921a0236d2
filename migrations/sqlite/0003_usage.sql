-- What replies used, by whom they belong to (`tenant` or `tenant/user`), by day of UTC and by model. Counted when the end of
-- a reply comes here for the first time; it stays when the reply is deleted. Replies from before are not in it.
CREATE TABLE usage (
    owner     TEXT    NOT NULL,
    day       INTEGER NOT NULL, -- days since 1970-01-01
    model     TEXT    NOT NULL,
    replies   INTEGER NOT NULL,
    input     INTEGER NOT NULL, -- tokens
    cached    INTEGER NOT NULL, -- of these
    output    INTEGER NOT NULL,
    reasoning INTEGER NOT NULL, -- of these
    PRIMARY KEY (owner, day, model)
) WITHOUT ROWID;
