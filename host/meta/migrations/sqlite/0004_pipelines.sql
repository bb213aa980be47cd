-- One run of a pipeline file.
CREATE TABLE pipeline_runs (
    id TEXT PRIMARY KEY NOT NULL,
    pipeline TEXT NOT NULL,
    -- running, succeeded, failed or cancelled.
    status TEXT NOT NULL,
    error TEXT,
    -- The file's text, its parameters and the digests it was pinned to, as JSON.
    request TEXT NOT NULL,
    -- The run in tracking that holds what the steps reported.
    tracking_run TEXT,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE TABLE step_runs (
    run TEXT NOT NULL REFERENCES pipeline_runs (id),
    step TEXT NOT NULL,
    -- Where the step stands in the order of the file.
    position BIGINT NOT NULL,
    -- waiting, running, succeeded, cached, failed, skipped or cancelled.
    status TEXT NOT NULL,
    component TEXT,
    export TEXT,
    cache_key TEXT,
    -- Arguments and outputs as JSON objects; artifacts are digests.
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    error TEXT,
    milliseconds BIGINT NOT NULL,
    PRIMARY KEY (run, step)
);

-- What a step gave for a cache key: shared by all pipelines.
CREATE TABLE step_cache (
    cache_key TEXT PRIMARY KEY NOT NULL,
    -- A JSON object: outputs, artifacts, and what the step reported.
    outcome TEXT NOT NULL,
    -- The pipeline run that computed it.
    run TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
