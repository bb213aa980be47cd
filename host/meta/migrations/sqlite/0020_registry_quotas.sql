-- What a blob takes, so that what a repository holds can be counted where it changes. The registry
-- fills it for blobs older than this file.
ALTER TABLE blobs ADD COLUMN size BIGINT;
CREATE INDEX blobs_unsized ON blobs (digest) WHERE size IS NULL;

-- Bytes of the blobs that can be pulled from a repository. A blob of two repositories counts in both.
CREATE TABLE repository_usage (
    repository TEXT PRIMARY KEY NOT NULL,
    bytes BIGINT NOT NULL
);
INSERT INTO repository_usage (repository, bytes) SELECT DISTINCT repository, 0 FROM repository_blobs;

-- Triggers, so that no way by which a repository comes to hold a blob, or no longer does, is forgotten.
CREATE TRIGGER repository_holds_blob AFTER INSERT ON repository_blobs
BEGIN
    INSERT INTO repository_usage (repository, bytes)
        VALUES (NEW.repository, COALESCE((SELECT size FROM blobs WHERE digest = NEW.digest), 0))
        ON CONFLICT (repository) DO UPDATE SET bytes = repository_usage.bytes + excluded.bytes;
END;
CREATE TRIGGER repository_lets_go_of_blob AFTER DELETE ON repository_blobs
BEGIN
    UPDATE repository_usage
        SET bytes = bytes - COALESCE((SELECT size FROM blobs WHERE digest = OLD.digest), 0)
        WHERE repository = OLD.repository;
END;
-- When a blob's size becomes known only now.
CREATE TRIGGER blob_is_sized AFTER UPDATE OF size ON blobs WHEN OLD.size IS NULL AND NEW.size IS NOT NULL
BEGIN
    UPDATE repository_usage SET bytes = bytes + NEW.size
        WHERE repository IN (SELECT repository FROM repository_blobs WHERE digest = NEW.digest);
END;
