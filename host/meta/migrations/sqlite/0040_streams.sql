-- Numbers of events rise in the order of commits, a stream each. The row of a stream is what writers of several
-- servers wait at.
CREATE TABLE streams (
    name TEXT PRIMARY KEY NOT NULL,
    last_id BIGINT NOT NULL
);
INSERT INTO streams (name, last_id) SELECT 'default', COALESCE(MAX(id), 0) FROM events;

ALTER TABLE events RENAME TO events_before;
CREATE TABLE events (
    stream TEXT NOT NULL,
    id BIGINT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (stream, id)
);
INSERT INTO events (stream, id, topic, subject, payload, created_at)
    SELECT 'default', id, topic, subject, payload, created_at FROM events_before;
DROP TABLE events_before;
