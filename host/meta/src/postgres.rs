//! PostgreSQL: how it is connected to, and what it has to promise.

use std::str::FromStr as _;
use std::time::Duration;

use eyot_core::{Error, ErrorKind, Result};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{PgPool, Row as _};

use crate::error::failure;
use crate::migrations;

const MAX_CONNECTIONS: u32 = 16;
/// How long a request waits for a connection before it is told that there is none.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connects, looks at what the database promises, and brings its schema up to date.
pub(crate) async fn connect(url: &str, migrator: &Migrator) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        Error::invalid("the address of the database is not one of PostgreSQL's")
            .hint("write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
            .because(error)
    })?;
    let place = place(&options);
    // The notices of a schema that is there already are none.
    let options = options.application_name("eyot").options([("client_min_messages", "warning")]);
    let pool = PgPoolOptions::new().max_connections(MAX_CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
    let pool = pool.connect_with(options).await.map_err(|error| {
        let error = failure(error).context(format!("cannot connect to the database {place}"));
        if error.kind() == ErrorKind::Internal { error.with_kind(ErrorKind::Unavailable) } else { error }
    })?;
    check(&pool, &place).await?;
    migrator.run(&pool).await.map_err(|error| migrations::failure(error, &place))?;
    Ok(pool)
}

/// Where a database is, without its password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("'{database}' at {}", socket.display()),
        None => format!("'{database}' at {}:{}", options.get_host(), options.get_port()),
    }
}

/// "eyotserv" in ASCII, in the other space of advisory locks than turns are.
const SERVER_LOCK_ID: i64 = 0x6579_6f74_7365_7276;

/// That one server uses a database: whoever has it open keeps others out until it ends, however it ends.
pub struct DatabaseClaim {
    /// Ended when dropped, and the lock with it.
    _connection: PgConnection,
}

/// Claims a database for this process.
///
/// Fails with `Conflict` where another has it.
pub(crate) async fn claim(pool: &PgPool) -> Result<DatabaseClaim> {
    let mut connection = pool.acquire().await.map_err(failure)?.detach();
    let asked = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(SERVER_LOCK_ID);
    let row = asked.fetch_one(&mut connection).await.map_err(failure)?;
    if row.try_get(0).map_err(failure)? {
        return Ok(DatabaseClaim { _connection: connection });
    }
    Err(Error::conflict("another server uses this database")
        .hint("name that server with --server, or another database with storage.database"))
}

async fn check(pool: &PgPool, place: &str) -> Result<()> {
    // The order of SQLite, and so of every list that Eyot pages through. The name of a collation does not tell it:
    // that of ICU is in another place in each version of PostgreSQL.
    let row = sqlx::query(
        "SELECT 'B' < 'a' AND 'z' < 'ä' AND 'a-c' < 'ab' AS bytewise, pg_encoding_to_char(encoding) AS encoding \
         FROM pg_database WHERE datname = current_database()",
    );
    let row = row.fetch_one(pool).await.map_err(failure)?;
    let (bytewise, encoding): (bool, String) =
        (row.try_get(0).map_err(failure)?, row.try_get(1).map_err(failure)?);
    if bytewise && encoding == "UTF8" {
        return Ok(());
    }
    let order = if bytewise { "its bytes" } else { "a language" };
    let error =
        Error::invalid(format!("the database {place} orders text by {order} and holds it as {encoding}"));
    Err(error.hint(
        "make one that orders text by its bytes: \
         CREATE DATABASE eyot TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'",
    ))
}
