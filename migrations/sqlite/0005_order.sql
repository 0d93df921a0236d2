-- The replies of a thread in their order: the last turns of a long conversation are found without those before.
CREATE INDEX replies_in_order ON replies (thread, ordinal);
