-- Whose conversations there are, and when something last happened in each: what a list of them is read by. All else of them
-- stands in the other tables.
CREATE TABLE conversations (
    thread      TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    owner       TEXT    COLLATE "C" NOT NULL,
    active_at   BIGINT  NOT NULL, -- when an item or a reply last came, in milliseconds of Unix time
    first_reply TEXT    COLLATE "C", -- the first of its replies that was not deleted
    deleted     BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX conversations_by_activity ON conversations (owner, active_at, thread) WHERE NOT deleted;

INSERT INTO conversations (thread, owner, active_at, first_reply, deleted)
SELECT made.thread,
    made.owner,
    greatest((made.record::json ->> 'at')::bigint,
        (SELECT (accepted::json ->> 'at')::bigint FROM replies
            WHERE id > 'resp_' || made.thread AND id < 'resp_' || made.thread || '~' AND in_conversation AND accepted <> ''
            ORDER BY ordinal DESC LIMIT 1),
        (SELECT (added.record::json ->> 'at')::bigint FROM changes AS added
            WHERE added.thread = made.thread AND added.kind = 'items_added' AND added.record <> ''
            ORDER BY added.ordinal DESC LIMIT 1)),
    (SELECT id FROM replies
        WHERE id > 'resp_' || made.thread AND id < 'resp_' || made.thread || '~' AND in_conversation AND NOT deleted
        ORDER BY ordinal LIMIT 1),
    EXISTS (SELECT FROM changes AS gone WHERE gone.thread = made.thread AND gone.kind = 'conversation_deleted')
FROM changes AS made
WHERE made.kind = 'conversation_created' AND made.record <> ''
ON CONFLICT DO NOTHING;
