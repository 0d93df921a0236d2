-- Where ends of replies are posted to, and what of that is still to be done. What is here holds ids, and no text of a reply.
CREATE TABLE webhook_endpoints (
    id               TEXT    NOT NULL PRIMARY KEY,
    owner            TEXT    NOT NULL,
    whole_tenant     INTEGER NOT NULL, -- also for replies of all users of its tenant
    created_at       INTEGER NOT NULL, -- times are milliseconds of Unix time
    updated_at       INTEGER NOT NULL,
    version          INTEGER NOT NULL, -- counts changes: of two at once, one is made again
    name             TEXT    NOT NULL,
    url              TEXT    NOT NULL,
    event_types      TEXT    NOT NULL, -- with commas between
    secret           TEXT    NOT NULL,
    old_secret       TEXT,             -- signs beside the other until …
    old_secret_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhook_endpoints_by_owner ON webhook_endpoints (owner, id);

-- How endpoints answered, those of the configuration's file among them.
CREATE TABLE webhook_states (
    endpoint      TEXT    NOT NULL PRIMARY KEY,
    delivered     INTEGER NOT NULL,
    failing_since INTEGER,
    answered_at   INTEGER,
    answer        TEXT,             -- a status, or why there was none
    ended_at      INTEGER           -- it said that it is gone for good
) WITHOUT ROWID;

-- Events that an endpoint did not take yet, or that were given up.
CREATE TABLE webhook_deliveries (
    endpoint   TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    reply      TEXT    NOT NULL,
    event_type TEXT    NOT NULL,
    created_at INTEGER NOT NULL,    -- when the reply ended
    queued_at  INTEGER NOT NULL,    -- since when it is tried
    attempts   INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    answer     TEXT,
    given_up   INTEGER NOT NULL,
    PRIMARY KEY (endpoint, id)
) WITHOUT ROWID;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_at) WHERE NOT given_up;

-- How far each shard of the log was read for them.
CREATE TABLE webhook_positions (
    shard    INTEGER NOT NULL PRIMARY KEY,
    identity TEXT    NOT NULL,      -- of the log that the position means something in
    position INTEGER NOT NULL,
    read_at  INTEGER NOT NULL
);

-- Which instance delivers, until when without saying so again; and how often endpoints were changed.
CREATE TABLE webhook_control (
    one           INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    carrier       TEXT    NOT NULL,
    carrier_until INTEGER NOT NULL,
    revision      INTEGER NOT NULL
);
INSERT INTO webhook_control (one, carrier, carrier_until, revision) VALUES (1, '', 0, 0);
