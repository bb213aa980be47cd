use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use crate::postgres::PsqlClient;

/// Set by `cargo xtask test` while it runs the tests of what keeps rows once more: the folder of the socket of a
/// server.
pub const POSTGRES_VARIABLE: &str = "EYOT_TEST_POSTGRES";

/// The address of the PostgreSQL database that stands for a SQLite file, made if it is not there; `None` where tests
/// are to use the file.
pub fn database_url(file: &Path) -> Option<String> {
    let client = PsqlClient::new(Path::new(&std::env::var_os(POSTGRES_VARIABLE)?));
    let mut hasher = DefaultHasher::new();
    file.hash(&mut hasher);
    let name = format!("test_{:016x}", hasher.finish());
    // It is there already where a test opens its file again.
    if client.run_sql(&name, "SELECT 1").is_err() {
        client.create_database(&name).expect("a server that EYOT_TEST_POSTGRES names makes databases");
    }
    Some(client.url(&name))
}
