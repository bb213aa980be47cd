-- Who did what, or was not let do it: a hash chain for each project. The row of the project's stream has the number and
-- the hash of the last entry, so that it is noticed when the last ones are taken out.
CREATE TABLE audit_entries (
    project TEXT NOT NULL,
    id BIGINT NOT NULL,
    format TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL,
    address TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (project, id)
);
ALTER TABLE streams ADD COLUMN audit_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN audit_hash TEXT NOT NULL DEFAULT '';

-- The log of changes to the registry was one for the whole installation: the chain of the project 'default' goes on from
-- it. Tags and digests have no letter that JSON would escape.
INSERT INTO audit_entries (project, id, format, at, actor, action, object, outcome, detail, request_id, address, hash)
    SELECT 'default', id, 'eyot-registry-log-1', at, actor, action, repository, 'done',
        '{"digest":"' || digest || '","reference":"' || reference || '"}', '', '', hash
    FROM registry_log;
INSERT INTO streams (name, last_id)
    SELECT 'default', 0 WHERE NOT EXISTS (SELECT 1 FROM streams WHERE name = 'default');
UPDATE streams SET
    audit_id = COALESCE((SELECT MAX(id) FROM registry_log), 0),
    audit_hash = COALESCE((SELECT hash FROM registry_log ORDER BY id DESC LIMIT 1), '')
    WHERE name = 'default';
DROP TABLE registry_log;
