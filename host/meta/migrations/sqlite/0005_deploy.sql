-- A deployment: a name that requests can be sent to, and which of its revisions serves.
CREATE TABLE deployments (
    name TEXT PRIMARY KEY NOT NULL,
    -- The revision that serves; NULL after an undeploy. The row stays, so that numbers never repeat.
    serving BIGINT,
    latest BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What each revision pinned, as JSON (eyot_deploy::Spec).
CREATE TABLE revisions (
    deployment TEXT NOT NULL REFERENCES deployments (name),
    revision BIGINT NOT NULL,
    spec TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (deployment, revision)
);
