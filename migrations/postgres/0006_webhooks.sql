-- Where ends of replies are posted to, and what of that is still to be done. What is here holds ids, and no text of a reply.
CREATE TABLE webhook_endpoints (
    id               TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    owner            TEXT    COLLATE "C" NOT NULL,
    whole_tenant     BOOLEAN NOT NULL, -- also for replies of all users of its tenant
    created_at       BIGINT  NOT NULL, -- times are milliseconds of Unix time
    updated_at       BIGINT  NOT NULL,
    version          BIGINT  NOT NULL, -- counts changes: of two at once, one is made again
    name             TEXT    COLLATE "C" NOT NULL,
    url              TEXT    COLLATE "C" NOT NULL,
    event_types      TEXT    COLLATE "C" NOT NULL, -- with commas between
    secret           TEXT    COLLATE "C" NOT NULL,
    old_secret       TEXT,             -- signs beside the other until …
    old_secret_until BIGINT  NOT NULL
);
CREATE INDEX webhook_endpoints_by_owner ON webhook_endpoints (owner, id);

-- How endpoints answered, those of the configuration's file among them.
CREATE TABLE webhook_states (
    endpoint      TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    delivered     BIGINT  NOT NULL,
    failing_since BIGINT,
    answered_at   BIGINT,
    answer        TEXT,             -- a status, or why there was none
    ended_at      BIGINT            -- it said that it is gone for good
);

-- Events that an endpoint did not take yet, or that were given up.
CREATE TABLE webhook_deliveries (
    endpoint   TEXT    COLLATE "C" NOT NULL,
    id         TEXT    COLLATE "C" NOT NULL,
    reply      TEXT    COLLATE "C" NOT NULL,
    event_type TEXT    COLLATE "C" NOT NULL,
    created_at BIGINT  NOT NULL,    -- when the reply ended
    queued_at  BIGINT  NOT NULL,    -- since when it is tried
    attempts   BIGINT  NOT NULL,
    next_at    BIGINT  NOT NULL,
    answer     TEXT,
    given_up   BOOLEAN NOT NULL,
    PRIMARY KEY (endpoint, id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint, next_at) WHERE NOT given_up;

-- How far each shard of the log was read for them.
CREATE TABLE webhook_positions (
    shard    BIGINT  NOT NULL PRIMARY KEY,
    identity TEXT    COLLATE "C" NOT NULL,      -- of the log that the position means something in
    position BIGINT  NOT NULL,
    read_at  BIGINT  NOT NULL
);

-- Which instance delivers, until when without saying so again; and how often endpoints were changed.
CREATE TABLE webhook_control (
    one           BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
    carrier       TEXT    COLLATE "C" NOT NULL,
    carrier_until BIGINT  NOT NULL,
    revision      BIGINT  NOT NULL
);
INSERT INTO webhook_control (one, carrier, carrier_until, revision) VALUES (1, '', 0, 0);
