-- Projects, and who may do what in them: what 0050 leads to on SQLite, where it is explained.
CREATE TABLE projects (
    name TEXT PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL,
    removed_at BIGINT
);
INSERT INTO projects (name, created_at) VALUES ('default', 0);

CREATE TABLE principals (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    project TEXT REFERENCES projects (name),
    password TEXT,
    is_owner BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE members (
    project TEXT NOT NULL REFERENCES projects (name),
    principal TEXT NOT NULL REFERENCES principals (id),
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

CREATE TABLE sign_in_failures (
    name TEXT PRIMARY KEY NOT NULL,
    failures BIGINT NOT NULL,
    failed_at BIGINT NOT NULL
);

ALTER TABLE tokens ADD COLUMN principal TEXT REFERENCES principals (id);
ALTER TABLE tokens ADD COLUMN project TEXT REFERENCES projects (name);
ALTER TABLE tokens ADD COLUMN previous_hash TEXT;
ALTER TABLE tokens ADD COLUMN previous_until BIGINT;
CREATE INDEX tokens_by_previous_hash ON tokens (previous_hash) WHERE previous_hash IS NOT NULL;

ALTER TABLE pipeline_runs ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
CREATE INDEX pipeline_runs_of_project ON pipeline_runs (project, started_at);

ALTER TABLE step_cache ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE step_cache DROP CONSTRAINT step_cache_pkey;
ALTER TABLE step_cache ADD PRIMARY KEY (project, cache_key);

ALTER TABLE experiments ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE experiments DROP CONSTRAINT experiments_name_key;
ALTER TABLE experiments ADD UNIQUE (project, name);

ALTER TABLE model_aliases DROP CONSTRAINT model_aliases_name_version_fkey;
ALTER TABLE model_versions DROP CONSTRAINT model_versions_name_fkey;
ALTER TABLE registered_models ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE registered_models DROP CONSTRAINT registered_models_pkey;
ALTER TABLE registered_models ADD PRIMARY KEY (project, name);
ALTER TABLE model_versions ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE model_versions DROP CONSTRAINT model_versions_pkey;
ALTER TABLE model_versions ADD PRIMARY KEY (project, name, version);
ALTER TABLE model_versions ADD FOREIGN KEY (project, name) REFERENCES registered_models (project, name);
ALTER TABLE model_aliases ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE model_aliases DROP CONSTRAINT model_aliases_pkey;
ALTER TABLE model_aliases ADD PRIMARY KEY (project, name, alias);
ALTER TABLE model_aliases
    ADD FOREIGN KEY (project, name, version) REFERENCES model_versions (project, name, version);

ALTER TABLE revisions DROP CONSTRAINT revisions_deployment_fkey;
ALTER TABLE traffic DROP CONSTRAINT traffic_deployment_fkey;
ALTER TABLE deployments ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE deployments DROP CONSTRAINT deployments_pkey;
ALTER TABLE deployments ADD PRIMARY KEY (project, name);
ALTER TABLE revisions ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE revisions DROP CONSTRAINT revisions_pkey;
ALTER TABLE revisions ADD PRIMARY KEY (project, deployment, revision);
ALTER TABLE revisions ADD FOREIGN KEY (project, deployment) REFERENCES deployments (project, name);
ALTER TABLE traffic ADD COLUMN project TEXT NOT NULL DEFAULT 'default';
ALTER TABLE traffic DROP CONSTRAINT traffic_pkey;
ALTER TABLE traffic ADD PRIMARY KEY (project, deployment);
ALTER TABLE traffic ADD FOREIGN KEY (project, deployment) REFERENCES deployments (project, name);
