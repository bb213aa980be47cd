//! What tests of several crates need: services that they start for themselves, each in a folder of its own until the test
//! ends, and clients that go away.

#![allow(clippy::print_stderr)]

mod database;
mod giving_up;
mod postgres;

pub use database::{POSTGRES_VARIABLE, database_url};
pub use giving_up::give_up_after;
pub use postgres::{PostgresServer, has_postgres};
