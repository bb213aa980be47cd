-- Runs of before their outputs were pinned: what they wrote is in the store, and nothing says that it is in use.
-- The next process that opens the folder pins it, run by run, and takes the run out of here.
CREATE TABLE unpinned_runs (
    run TEXT PRIMARY KEY NOT NULL REFERENCES pipeline_runs (id)
);
INSERT INTO unpinned_runs (run) SELECT id FROM pipeline_runs;
