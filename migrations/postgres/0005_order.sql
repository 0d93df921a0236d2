-- The replies of a thread in their order: the last turns of a long conversation are found without those before. An id begins
-- with its thread; what changes when a reply ends is in no index, so that its row still grows where it is.
CREATE INDEX replies_in_order ON replies (left(id, 31), ordinal);
