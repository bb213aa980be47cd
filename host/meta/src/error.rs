//! What a database refuses, in the words and kinds of Eyot.

use eyot_core::{Error, ErrorKind};

/// SQLITE_FULL, and SQLITE_IOERR_SHMSIZE: no room for the file, or for what readers and writers share.
const SQLITE_FULL_CODES: [&str; 2] = ["13", "4874"];
/// disk_full, out_of_memory.
const POSTGRES_FULL_CODES: [&str; 2] = ["53100", "53200"];
/// What may be tried again as it was: serialization_failure, deadlock_detected, lock_not_available,
/// too_many_connections, and classes 08 and 57: the connection broke, or the server is going down or coming up.
const POSTGRES_AGAIN_CODES: [&str; 4] = ["40001", "40P01", "55P03", "53300"];

/// An error of the database, with the kind that callers branch on.
pub(crate) fn failure(error: sqlx::Error) -> Error {
    let kind = kind(&error);
    let message = if kind == ErrorKind::Unavailable {
        "the database is not to be reached"
    } else {
        "the database refused"
    };
    Error::new(kind, message).because(error)
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::RowNotFound => ErrorKind::NotFound,
        sqlx::Error::Database(cause) if cause.is_unique_violation() => ErrorKind::Conflict,
        sqlx::Error::Database(cause) => cause.code().map_or(ErrorKind::Internal, |code| kind_of_code(&code)),
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    }
}

fn kind_of_code(code: &str) -> ErrorKind {
    let postgres = code.len() == 5;
    match code {
        code if SQLITE_FULL_CODES.contains(&code) || POSTGRES_FULL_CODES.contains(&code) => ErrorKind::Full,
        code if POSTGRES_AGAIN_CODES.contains(&code) => ErrorKind::Unavailable,
        code if postgres && (code.starts_with("08") || code.starts_with("57")) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// Whether a statement was refused because what it refers to does not exist, or is still referred to.
pub fn is_missing_reference(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    matches!(cause, Some(sqlx::Error::Database(cause)) if cause.is_foreign_key_violation())
}
