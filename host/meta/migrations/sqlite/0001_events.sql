-- The outbox: what happened, in the order in which it was committed. A row is written in the
-- transaction that makes it true, so that no event is lost and none is told of what did not happen.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
