-- What the files for SQLite lead to up to 0040, where it is explained; the two are compared by a test.
CREATE TABLE streams (
    name TEXT PRIMARY KEY NOT NULL,
    last_id BIGINT NOT NULL
);
CREATE TABLE events (
    stream TEXT NOT NULL,
    id BIGINT NOT NULL,
    topic TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (stream, id)
);

CREATE TABLE manifests (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    kind TEXT NOT NULL,
    content TEXT,
    created_at BIGINT NOT NULL,
    pushed_as TEXT,
    subject TEXT,
    artifact_type TEXT,
    descriptor TEXT,
    bytes BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest);
CREATE INDEX manifests_unlisted ON manifests (repository, digest) WHERE descriptor IS NULL;

CREATE TABLE manifest_blobs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (repository, digest, blob),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);
CREATE INDEX manifests_of_blob ON manifest_blobs (blob);

CREATE TABLE tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);
CREATE INDEX tags_by_digest ON tags (repository, digest);

CREATE TABLE manifest_children (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (repository, digest, child),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);
CREATE INDEX parents_of_manifest ON manifest_children (repository, child);

CREATE TABLE retired_tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    retired_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag)
);

CREATE TABLE blobs (
    digest TEXT PRIMARY KEY NOT NULL,
    sha512 TEXT UNIQUE,
    uses BIGINT NOT NULL,
    leased_until BIGINT NOT NULL,
    checked_at BIGINT NOT NULL,
    size BIGINT
);
CREATE INDEX blobs_unused ON blobs (leased_until) WHERE uses = 0;
CREATE INDEX blobs_by_check ON blobs (checked_at);
CREATE INDEX blobs_unsized ON blobs (digest) WHERE size IS NULL;

CREATE TABLE repository_blobs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX repositories_of_blob ON repository_blobs (digest);

CREATE TABLE repository_usage (
    repository TEXT PRIMARY KEY NOT NULL,
    bytes BIGINT NOT NULL
);

-- As on SQLite (0020), so that no way by which a repository comes to hold a blob, or no longer does, is forgotten.
CREATE FUNCTION repository_holds_blob() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO repository_usage (repository, bytes)
        VALUES (NEW.repository, COALESCE((SELECT size FROM blobs WHERE digest = NEW.digest), 0))
        ON CONFLICT (repository) DO UPDATE SET bytes = repository_usage.bytes + excluded.bytes;
    RETURN NULL;
END $$;
CREATE TRIGGER repository_holds_blob AFTER INSERT ON repository_blobs
    FOR EACH ROW EXECUTE FUNCTION repository_holds_blob();
CREATE FUNCTION repository_lets_go_of_blob() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE repository_usage
        SET bytes = bytes - COALESCE((SELECT size FROM blobs WHERE digest = OLD.digest), 0)
        WHERE repository = OLD.repository;
    RETURN NULL;
END $$;
CREATE TRIGGER repository_lets_go_of_blob AFTER DELETE ON repository_blobs
    FOR EACH ROW EXECUTE FUNCTION repository_lets_go_of_blob();
CREATE FUNCTION blob_is_sized() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE repository_usage SET bytes = bytes + NEW.size
        WHERE repository IN (SELECT repository FROM repository_blobs WHERE digest = NEW.digest);
    RETURN NULL;
END $$;
CREATE TRIGGER blob_is_sized AFTER UPDATE OF size ON blobs
    FOR EACH ROW WHEN (OLD.size IS NULL AND NEW.size IS NOT NULL) EXECUTE FUNCTION blob_is_sized();

CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,
    repository TEXT NOT NULL,
    touched_at BIGINT NOT NULL
);
CREATE INDEX uploads_by_touch ON uploads (touched_at);

CREATE TABLE registry_state (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);
INSERT INTO registry_state (name, value) VALUES ('tags', 1), ('index', 0);

CREATE TABLE registry_log (
    id BIGINT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    repository TEXT NOT NULL,
    reference TEXT NOT NULL,
    digest TEXT NOT NULL,
    hash TEXT NOT NULL
);

CREATE TABLE registry_policies (
    repository TEXT PRIMARY KEY NOT NULL,
    policy TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    secret_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

CREATE TABLE experiments (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY NOT NULL,
    experiment TEXT NOT NULL REFERENCES experiments (id),
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE TABLE params (
    run TEXT NOT NULL REFERENCES runs (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);

CREATE TABLE metrics (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    step BIGINT NOT NULL,
    logged_at BIGINT NOT NULL
);
CREATE INDEX metrics_of_run ON metrics (run, key, step);

CREATE TABLE run_tags (
    run TEXT NOT NULL REFERENCES runs (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);

CREATE TABLE registered_models (
    name TEXT PRIMARY KEY NOT NULL,
    latest BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE model_versions (
    name TEXT NOT NULL REFERENCES registered_models (name),
    version BIGINT NOT NULL,
    source TEXT NOT NULL,
    run TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE model_aliases (
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (name, alias),
    FOREIGN KEY (name, version) REFERENCES model_versions (name, version)
);

CREATE TABLE pipeline_runs (
    id TEXT PRIMARY KEY NOT NULL,
    pipeline TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    request TEXT NOT NULL,
    tracking_run TEXT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE TABLE step_runs (
    run TEXT NOT NULL REFERENCES pipeline_runs (id),
    step TEXT NOT NULL,
    position BIGINT NOT NULL,
    status TEXT NOT NULL,
    component TEXT,
    export TEXT,
    cache_key TEXT,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    error TEXT,
    milliseconds BIGINT NOT NULL,
    PRIMARY KEY (run, step)
);

CREATE TABLE unpinned_runs (
    run TEXT PRIMARY KEY NOT NULL REFERENCES pipeline_runs (id)
);

CREATE TABLE step_cache (
    cache_key TEXT PRIMARY KEY NOT NULL,
    outcome TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE deployments (
    name TEXT PRIMARY KEY NOT NULL,
    serving BIGINT,
    latest BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE revisions (
    deployment TEXT NOT NULL REFERENCES deployments (name),
    revision BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (deployment, revision)
);

CREATE TABLE traffic (
    deployment TEXT PRIMARY KEY NOT NULL REFERENCES deployments (name),
    split TEXT NOT NULL,
    before TEXT,
    updated_at BIGINT NOT NULL
);

CREATE TABLE key_values (
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (store, key)
);
