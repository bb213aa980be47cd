//! Every statement of the product is prepared by both databases: what one of them does not read is found here, not by
//! a user.

use std::path::Path;

use eyot_test_services::PostgresServer;
use eyot_tests::path;
use syn::visit::{self, Visit};

/// SQL in the sources of the crates, outside of tests and of what is SQLite's alone.
#[derive(Default)]
struct Statements {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Statements {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        let text = literal.value();
        let verbs = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "WITH "];
        if verbs.iter().any(|verb| text.starts_with(verb)) {
            self.found.push(text);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }
}

/// The contract of the databases makes tables of its own; SQLite's catalog is its own; key-value stores of components are SQLite files wherever
/// the rest is, and so are the databases of components.
const OTHERS: [&str; 6] =
    ["contract.rs", "/contract", "key_values.rs", "postgres.rs", "sqlite_catalog.rs", "stores/sqlite"];

fn collect(folder: &Path, into: &mut Statements) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.to_string_lossy();
        if file.is_dir() && !name.ends_with("/tests") && !OTHERS.iter().any(|other| name.ends_with(other)) {
            collect(&file, into);
        } else if name.ends_with(".rs")
            && !name.ends_with("/tests.rs")
            && !OTHERS.iter().any(|other| name.ends_with(other))
        {
            into.visit_file(&syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap());
        }
    }
}

#[test]
fn are_prepared_by_postgresql() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let migrations = std::fs::read_dir(path("host/meta/migrations/postgres")).unwrap();
    let mut migrations: Vec<_> = migrations.map(|file| file.unwrap().path()).collect();
    migrations.sort();
    migrations.iter().for_each(|file| postgres.run_file("eyot", file).unwrap());
    let mut statements = Statements::default();
    for root in ["host", "registry"] {
        for crate_folder in std::fs::read_dir(path(root)).unwrap() {
            let source = crate_folder.unwrap().path().join("src");
            if source.is_dir() && !source.ends_with("xtask/src") {
                collect(&source, &mut statements);
            }
        }
    }
    let count = statements.found.len();
    assert!(count > 100, "only {count} statements were found");
    let prepared: Vec<String> = statements
        .found
        .iter()
        .enumerate()
        .map(|(number, text)| format!("PREPARE statement_{number} AS {text};"))
        .collect();
    postgres.run_sql("eyot", &prepared.join("\n")).unwrap();
}
