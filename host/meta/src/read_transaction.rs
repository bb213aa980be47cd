//! All rows as they are at one moment, for whoever reads for long.

use eyot_core::Result;

use crate::statement::ConnectionTarget;
use crate::transaction::TransactionConnection;
use crate::{Database, SqlConnection, sql};

/// Sees what was committed when it first read, and nothing that is committed later; writers do not wait for it.
pub(crate) struct ReadTransaction(TransactionConnection);

impl ReadTransaction {
    pub(crate) async fn begin(db: &Database) -> Result<Self> {
        let mut connection = TransactionConnection::acquire(db).await?;
        // It is never used again: so nobody finds it in the middle of a transaction.
        connection.close_on_drop();
        let begin = match connection {
            TransactionConnection::Sqlite(_) => "BEGIN",
            TransactionConnection::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let mut transaction = Self(connection);
        sql(begin).execute(&mut transaction).await?;
        Ok(transaction)
    }
}

impl SqlConnection for &mut ReadTransaction {
    fn target(&mut self) -> ConnectionTarget<'_> {
        self.0.target()
    }
}
