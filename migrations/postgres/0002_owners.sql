-- Whom a reply or a conversation belongs to, as its record says: `tenant` or `tenant/user`, empty for what was made
-- without authentication. Rows from before are of that kind. (A constant default rewrites no table.)
ALTER TABLE replies ADD COLUMN owner TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE changes ADD COLUMN owner TEXT COLLATE "C" NOT NULL DEFAULT ''; -- of what makes or deletes a conversation
