-- Projects, and who may do what in them. What was there before is in the project `default`. Keys of other tables change,
-- which SQLite does only by making them anew; foreign keys are not enforced while the schema changes, and are checked
-- after it.
CREATE TABLE projects (
    name TEXT PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL,
    -- Names are not given twice.
    removed_at BIGINT
);
INSERT INTO projects (name, created_at) VALUES ('default', 0);

CREATE TABLE principals (
    id TEXT PRIMARY KEY NOT NULL,
    -- user or service.
    kind TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    -- The project of a service.
    project TEXT REFERENCES projects (name),
    -- The hash of a user's password in the PHC format; NULL for who signs in elsewhere.
    password TEXT,
    is_owner BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE members (
    project TEXT NOT NULL REFERENCES projects (name),
    principal TEXT NOT NULL REFERENCES principals (id),
    -- viewer, editor, deployer or admin.
    role TEXT NOT NULL,
    PRIMARY KEY (project, principal)
);
CREATE INDEX members_by_principal ON members (principal);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL REFERENCES principals (id),
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    agent TEXT NOT NULL
);
CREATE INDEX sessions_by_principal ON sessions (principal);

-- Wrong passwords, by the name that was tried, whether or not somebody has it.
CREATE TABLE sign_in_failures (
    name TEXT PRIMARY KEY NOT NULL,
    failures BIGINT NOT NULL,
    failed_at BIGINT NOT NULL
);

-- Whose a token is (NULL: nobody's, it allows what its scopes say), its only project, and the secret that it had before.
ALTER TABLE tokens ADD COLUMN principal TEXT REFERENCES principals (id);
ALTER TABLE tokens ADD COLUMN project TEXT REFERENCES projects (name);
ALTER TABLE tokens ADD COLUMN previous_hash TEXT;
ALTER TABLE tokens ADD COLUMN previous_until BIGINT;
CREATE INDEX tokens_by_previous_hash ON tokens (previous_hash) WHERE previous_hash IS NOT NULL;

ALTER TABLE pipeline_runs ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
CREATE INDEX pipeline_runs_of_project ON pipeline_runs (project, started_at);

CREATE TABLE new_step_cache (
    project TEXT NOT NULL DEFAULT 'default',
    cache_key TEXT NOT NULL,
    outcome TEXT NOT NULL,
    run TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, cache_key)
);
INSERT INTO new_step_cache (cache_key, outcome, run, created_at)
    SELECT cache_key, outcome, run, created_at FROM step_cache;
DROP TABLE step_cache;
ALTER TABLE new_step_cache RENAME TO step_cache;

CREATE TABLE new_experiments (
    id TEXT PRIMARY KEY NOT NULL,
    project TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (project, name)
);
INSERT INTO new_experiments (id, name, created_at) SELECT id, name, created_at FROM experiments;
DROP TABLE experiments;
ALTER TABLE new_experiments RENAME TO experiments;

CREATE TABLE new_registered_models (
    project TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    latest BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
INSERT INTO new_registered_models (name, latest, created_at, updated_at)
    SELECT name, latest, created_at, updated_at FROM registered_models;
DROP TABLE registered_models;
ALTER TABLE new_registered_models RENAME TO registered_models;

CREATE TABLE new_model_versions (
    project TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    source TEXT NOT NULL,
    run TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, name, version),
    FOREIGN KEY (project, name) REFERENCES registered_models (project, name)
);
INSERT INTO new_model_versions (name, version, source, run, created_at)
    SELECT name, version, source, run, created_at FROM model_versions;
DROP TABLE model_versions;
ALTER TABLE new_model_versions RENAME TO model_versions;

CREATE TABLE new_model_aliases (
    project TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, name, alias),
    FOREIGN KEY (project, name, version) REFERENCES model_versions (project, name, version)
);
INSERT INTO new_model_aliases (name, alias, version) SELECT name, alias, version FROM model_aliases;
DROP TABLE model_aliases;
ALTER TABLE new_model_aliases RENAME TO model_aliases;

CREATE TABLE new_deployments (
    project TEXT NOT NULL DEFAULT 'default',
    name TEXT NOT NULL,
    serving BIGINT,
    latest BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
INSERT INTO new_deployments (name, serving, latest, updated_at)
    SELECT name, serving, latest, updated_at FROM deployments;
DROP TABLE deployments;
ALTER TABLE new_deployments RENAME TO deployments;

CREATE TABLE new_revisions (
    project TEXT NOT NULL DEFAULT 'default',
    deployment TEXT NOT NULL,
    revision BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (project, deployment, revision),
    FOREIGN KEY (project, deployment) REFERENCES deployments (project, name)
);
INSERT INTO new_revisions (deployment, revision, spec, created_at)
    SELECT deployment, revision, spec, created_at FROM revisions;
DROP TABLE revisions;
ALTER TABLE new_revisions RENAME TO revisions;

CREATE TABLE new_traffic (
    project TEXT NOT NULL DEFAULT 'default',
    deployment TEXT NOT NULL,
    split TEXT NOT NULL,
    before TEXT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project, deployment),
    FOREIGN KEY (project, deployment) REFERENCES deployments (project, name)
);
INSERT INTO new_traffic (deployment, split, before, updated_at)
    SELECT deployment, split, before, updated_at FROM traffic;
DROP TABLE traffic;
ALTER TABLE new_traffic RENAME TO traffic;
