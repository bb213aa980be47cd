-- What repositories must be vouched for by, as JSON (eyot_oci::Policy), by the pattern of their names.
CREATE TABLE registry_policies (
    repository TEXT PRIMARY KEY NOT NULL,
    policy TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
