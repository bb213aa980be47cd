//! Services that tests start for themselves: each has a folder of its own and ends with the test.

#![allow(clippy::print_stderr)]

mod database;
mod postgres;

pub use database::{POSTGRES_VARIABLE, database_url};
pub use postgres::{PostgresServer, has_postgres};
