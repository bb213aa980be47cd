-- What a manifest is to others. `pushed_as` is the sha512 digest under which it was pushed, if it was;
-- `subject` the digest, as written, of the manifest that it refers to; `descriptor` the JSON by which
-- the referrers API lists it; `bytes` the manifest's own length. The registry fills the last two for
-- manifests older than this file.
ALTER TABLE manifests ADD COLUMN pushed_as TEXT;
ALTER TABLE manifests ADD COLUMN subject TEXT;
ALTER TABLE manifests ADD COLUMN artifact_type TEXT;
ALTER TABLE manifests ADD COLUMN descriptor TEXT;
ALTER TABLE manifests ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest);
CREATE INDEX manifests_unlisted ON manifests (repository, digest) WHERE descriptor IS NULL;
CREATE INDEX tags_by_digest ON tags (repository, digest);

-- Blobs that the registry took in, by sha256. `uses` counts the rows of manifest_blobs; a blob without
-- any is collected once its lease has ended.
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY NOT NULL,
    sha512 TEXT UNIQUE,
    uses BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    -- When its bytes were last hashed again; 0 is never.
    checked_at BIGINT NOT NULL
);
CREATE INDEX blobs_unused ON blobs (leased_until) WHERE uses = 0;
CREATE INDEX blobs_by_check ON blobs (checked_at);

-- Which repositories a blob can be pulled from.
CREATE TABLE repository_blobs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX repositories_of_blob ON repository_blobs (digest);
CREATE INDEX manifests_of_blob ON manifest_blobs (blob);

-- What an index needs: its children stay for as long as it does.
CREATE TABLE manifest_children (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (repository, digest, child),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);
CREATE INDEX parents_of_manifest ON manifest_children (repository, child);

-- Immutable tags that were deleted: they may come back as what they were, and as nothing else.
CREATE TABLE retired_tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    retired_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag)
);

-- Uploads under way; their bytes and hashes lie in the store.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,
    repository TEXT NOT NULL,
    touched_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_touch ON uploads (touched_at);

-- A manifest's own bytes are a blob that it uses.
INSERT INTO manifest_blobs (repository, digest, blob) SELECT repository, digest, digest FROM manifests;
INSERT INTO blobs (digest, uses, leased_until, checked_at)
    SELECT blob, COUNT(*), 0, 0 FROM manifest_blobs GROUP BY blob;
INSERT INTO repository_blobs (repository, digest) SELECT DISTINCT repository, blob FROM manifest_blobs;

-- Counters. `tags` rises when tags change, `index` is its value when index.json was last written.
CREATE TABLE registry_state (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);
INSERT INTO registry_state (name, value) VALUES ('tags', 1), ('index', 0);

-- What happened in the registry, each entry hashed together with the one before it: an entry that is
-- changed or taken out breaks the chain.
CREATE TABLE registry_log (
    id BIGINT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    -- push, tag, untag, delete, sign, collect, quarantine.
    action TEXT NOT NULL,
    repository TEXT NOT NULL,
    -- The tag, or what else the action names.
    reference TEXT NOT NULL,
    digest TEXT NOT NULL,
    hash TEXT NOT NULL
);

-- Tokens of the registry. The secret is known by its sha256 only.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    secret_hash TEXT NOT NULL UNIQUE,
    -- JSON array of scopes as the distribution specification writes them.
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
