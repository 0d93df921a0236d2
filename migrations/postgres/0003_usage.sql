-- What replies used, by whom they belong to (`tenant` or `tenant/user`), by day of UTC and by model. Counted when the end of
-- a reply comes here for the first time; it stays when the reply is deleted. Replies from before are not in it.
CREATE TABLE usage (
    owner     TEXT   COLLATE "C" NOT NULL,
    day       BIGINT NOT NULL, -- days since 1970-01-01
    model     TEXT   COLLATE "C" NOT NULL,
    replies   BIGINT NOT NULL,
    input     BIGINT NOT NULL, -- tokens
    cached    BIGINT NOT NULL, -- of these
    output    BIGINT NOT NULL,
    reasoning BIGINT NOT NULL, -- of these
    PRIMARY KEY (owner, day, model)
) WITH (fillfactor = 50);
