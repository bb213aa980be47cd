use std::collections::BTreeSet;

use eyot_core::{Error, ErrorKind, Result};
use eyot_meta::sql;
use eyot_store::{BlobUpload, DigestAlgorithm, UploadId};

use super::{Registry, milliseconds};

/// Concurrent uploads. Each is a row and two files: a client that opens them without end must not fill the disk.
const MAX_UPLOAD_COUNT: i64 = 10_000;

impl Registry {
    /// Starts an upload to a repository.
    ///
    /// Fails with `Exhausted` when too many are under way.
    pub(crate) async fn start_upload(
        &self,
        repository: &str,
        algorithm: DigestAlgorithm,
    ) -> Result<UploadId> {
        let id = UploadId::random();
        let count = sql("SELECT COUNT(*) AS count FROM uploads").fetch_one(&self.0.db).await?;
        if count.get::<i64>("count")? >= MAX_UPLOAD_COUNT {
            self.expire_uploads().await?;
            let error = Error::exhausted(format!("{MAX_UPLOAD_COUNT} uploads are under way"));
            return Err(error.hint(
                "try again later; registry.upload-expiry says when those that nobody goes on with end",
            ));
        }
        // The row first: a file without a row is removed whenever it is found.
        let mut tx = self.0.db.begin().await?;
        let row = sql("INSERT INTO uploads (id, repository, touched_at) VALUES ($1, $2, $3)");
        row.bind(id.to_string()).bind(repository).bind(self.now()).execute(&mut tx).await?;
        tx.commit().await?;
        match self.0.store.start_upload(id, algorithm).await {
            Ok(_) => Ok(id),
            Err(error) => {
                self.upload_ended(id).await?;
                Err(error)
            }
        }
    }

    /// Bytes that an upload of a repository has received.
    ///
    /// Fails with `NotFound` also when it is another repository's.
    pub(crate) async fn upload_received(&self, repository: &str, id: UploadId) -> Result<u64> {
        self.touched(repository, id).await?;
        self.0.store.upload_received(id).await
    }

    /// Resumes an upload.
    ///
    /// Fails with `NotFound`, also when it is another repository's, and with `Conflict` while another
    /// request writes to it.
    pub(crate) async fn resume_upload(&self, repository: &str, id: UploadId) -> Result<Box<dyn BlobUpload>> {
        let touched = self.touched(repository, id).await?;
        // Renewed after a tenth of the time is enough; at each chunk it would be a disk write a chunk.
        if touched < self.now() - milliseconds(self.0.settings.config.upload_expiry.0) / 10 {
            let mut tx = self.0.db.begin().await?;
            let row =
                sql("UPDATE uploads SET touched_at = $1 WHERE id = $2").bind(self.now()).bind(id.to_string());
            row.execute(&mut tx).await?;
            tx.commit().await?;
        }
        self.0.store.resume_upload(id).await
    }

    /// Cancels an upload.
    pub(crate) async fn cancel_upload(&self, repository: &str, id: UploadId) -> Result<()> {
        self.touched(repository, id).await?;
        self.0.store.drop_upload(id).await?;
        self.upload_ended(id).await
    }

    /// Removes the row of an upload that was completed or cancelled.
    pub(crate) async fn upload_ended(&self, id: UploadId) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        // The upload protected the blobs of its push; now they have a lease again, until the manifest comes.
        let renewed = sql(
            "UPDATE blobs SET leased_until = $1 WHERE uses = 0 AND leased_until < $1 AND digest IN (SELECT r.digest \
             FROM repository_blobs r JOIN uploads u ON u.repository = r.repository WHERE u.id = $2)",
        );
        let renewed = renewed.bind(self.lease_end()).bind(id.to_string());
        renewed.execute(&mut tx).await?;
        let row = sql("DELETE FROM uploads WHERE id = $1").bind(id.to_string());
        row.execute(&mut tx).await?;
        self.on_commit(&mut tx, move |inner| inner.pending.end(id));
        tx.commit().await
    }

    async fn touched(&self, repository: &str, id: UploadId) -> Result<i64> {
        let row = sql("SELECT touched_at FROM uploads WHERE id = $1 AND repository = $2")
            .bind(id.to_string())
            .bind(repository);
        let row = row.fetch_optional(&self.0.db).await?;
        let row =
            row.ok_or_else(|| Error::not_found(format!("there is no upload '{id}'")).hint("start it again"))?;
        row.get("touched_at")
    }

    /// Cancels abandoned uploads and those without a row; answers how many expired.
    pub(crate) async fn expire_uploads(&self) -> Result<u64> {
        self.drop_stray_uploads().await?;
        let since = self.now() - milliseconds(self.0.settings.config.upload_expiry.0);
        let rows = sql("SELECT id FROM uploads WHERE touched_at < $1 LIMIT 1000").bind(since);
        let mut expired = 0;
        for row in rows.fetch_all(&self.0.db).await? {
            let id: UploadId = row.get::<String>("id")?.parse()?;
            match self.0.store.drop_upload(id).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(error) => return Err(error),
            }
            self.upload_ended(id).await?;
            expired += 1;
        }
        Ok(expired)
    }

    /// Cleans up after a killed process, before requests are served: rows without files, files without a row.
    pub(super) async fn forget_lost_uploads(&self) -> Result<()> {
        let files = self.0.store.uploads().await?;
        for id in self.written_uploads().await?.difference(&files) {
            self.upload_ended(*id).await?;
        }
        let rows = sql("SELECT id, repository FROM uploads");
        for row in rows.fetch_all(&self.0.db).await? {
            let id: UploadId = row.get::<String>("id")?.parse()?;
            let repository: String = row.get("repository")?;
            // One that cannot be resumed has no bytes that count, and expires.
            let received = self.0.store.upload_received(id).await.unwrap_or_default();
            self.0.pending.set(&repository, id, received);
        }
        self.drop_stray_uploads().await
    }

    /// Removes the files of uploads without a row to which nobody writes.
    async fn drop_stray_uploads(&self) -> Result<()> {
        // The files first: whoever starts one from now on has its row by then.
        let files = self.0.store.uploads().await?;
        for id in files.difference(&self.written_uploads().await?) {
            match self.0.store.drop_upload(*id).await {
                // An upload in one request has no row: that request has the file.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                dropped => drop(dropped?),
            }
        }
        Ok(())
    }

    async fn written_uploads(&self) -> Result<BTreeSet<UploadId>> {
        let rows = sql("SELECT id FROM uploads").fetch_all(&self.0.db).await?;
        rows.iter().map(|row| row.get::<String>("id")?.parse()).collect()
    }
}
