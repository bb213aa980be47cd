-- Experiments, runs, their parameters, metrics and tags: the words and rules of MLflow.
CREATE TABLE experiments (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY NOT NULL,
    experiment TEXT NOT NULL REFERENCES experiments (id),
    name TEXT NOT NULL,
    -- RUNNING, FINISHED, FAILED or KILLED.
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);

-- The first value of a parameter stays.
CREATE TABLE params (
    run TEXT NOT NULL REFERENCES runs (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);

CREATE TABLE metrics (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    run TEXT NOT NULL REFERENCES runs (id),
    key TEXT NOT NULL,
    -- Text, so that NaN and the infinities survive.
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
    -- Where it lies in the registry: REPOSITORY@DIGEST.
    source TEXT NOT NULL,
    -- The tracking run that made it.
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
