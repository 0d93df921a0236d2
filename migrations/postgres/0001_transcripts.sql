-- What was said, as the transcripts of the log tell it. Written by the projection only, and again from the log
-- whenever there is doubt: no row is ever the only truth while the log keeps its record.

-- How far the projection got, in each of the log's shards.
CREATE TABLE positions (
    shard       BIGINT NOT NULL PRIMARY KEY,
    identity    TEXT   NOT NULL, -- of the log that the position means something in
    position    BIGINT NOT NULL,
    last_record TEXT   NOT NULL  -- a digest of the record at the position
);

-- A reply: what was asked and what was said. Its id begins with its thread, so that the primary key finds the
-- replies of a thread as well; for that it is ordered by its bytes, whatever the database's language is.
CREATE TABLE replies (
    id              TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    ordinal         BIGINT  NOT NULL, -- of its record `accepted`
    ended_ordinal   BIGINT,           -- of its record `ended`; null while it runs
    previous        TEXT,
    in_conversation BOOLEAN NOT NULL,
    created_at      BIGINT  NOT NULL, -- Unix seconds
    ended_at        BIGINT,
    status          TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    accepted        TEXT    NOT NULL, -- the record, JSON as the log holds it; empty once the reply is deleted
    ended           TEXT,
    deleted         BOOLEAN NOT NULL DEFAULT FALSE
-- Most replies end in a later batch than they were accepted in. With room left on its page a row grows where it is, and
-- no index has to be told.
) WITH (fillfactor = 50);

-- All other records of the transcripts. Those that do not count (a second end of a reply) stand here without their
-- content: a thread is known up to the highest ordinal that any row has.
CREATE TABLE changes (
    thread  TEXT   COLLATE "C" NOT NULL,
    ordinal BIGINT NOT NULL,
    kind    TEXT   NOT NULL,
    record  TEXT   NOT NULL, -- JSON as the log holds it, without the text of what was deleted
    PRIMARY KEY (thread, ordinal)
);

-- Long inputs that records refer to as `blob:<hash in hex>`.
CREATE TABLE blobs (
    thread  TEXT  COLLATE "C" NOT NULL,
    hash    BYTEA NOT NULL, -- SHA-256 of the content
    content BYTEA NOT NULL,
    PRIMARY KEY (thread, hash)
);
-- Images are compressed already.
ALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;
