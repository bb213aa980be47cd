-- How requests are split among a deployment's revisions, as JSON (eyot_deploy::Traffic), and how they
-- were before: what a rollback goes back to. Without a row, everything goes to `deployments.serving`.
CREATE TABLE traffic (
    deployment TEXT PRIMARY KEY NOT NULL REFERENCES deployments (name),
    split TEXT NOT NULL,
    before TEXT,
    updated_at BIGINT NOT NULL
);
