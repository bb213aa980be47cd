-- A manifest in a repository: what OCI clients pull by digest. Its bytes are a blob.
CREATE TABLE manifests (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- component, model or other.
    kind TEXT NOT NULL,
    -- The first layer: the component's or the model's own bytes. NULL for other artifacts.
    content TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);

-- What a manifest keeps from being deleted: its config and layers.
CREATE TABLE manifest_blobs (
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (repository, digest, blob),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);

-- Names for manifests; a tag can be moved.
CREATE TABLE tags (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);
