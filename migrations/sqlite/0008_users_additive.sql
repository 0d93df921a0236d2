-- Whose replies there are, and since when: what belongs to a user, and what is old, is found without reading everything.
-- The thread of a reply stands in its id.
CREATE INDEX replies_by_owner ON replies (owner, deleted, substr(id, 6, 26), created_at);

-- Users whose deletion was asked for and may not be complete.
CREATE TABLE user_deletions (
    owner     TEXT    NOT NULL PRIMARY KEY, -- `tenant/user`
    asked_at  INTEGER NOT NULL,             -- times are milliseconds of Unix time; what came later is kept
    worked_at INTEGER NOT NULL              -- when somebody last said that they are at it
) WITHOUT ROWID;
