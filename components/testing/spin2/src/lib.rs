//! Stores, databases and variables as what Spin 2's SDKs build imports them.

wit_bindgen::generate!({
    generate_all,
    path: "../../../wit/deps/fermyon-spin-2.0.0",
    inline: "
        package testing:spin2;
        world stores {
            import fermyon:spin/key-value@2.0.0;
            import fermyon:spin/sqlite@2.0.0;
            import fermyon:spin/variables@2.0.0;
            /// Uses all of them; answers what it found.
            export run: func() -> result<list<string>, string>;
            /// Uses none of them; answers the variable LEVEL of its environment.
            export idle: func() -> string;
        }
    ",
});

use fermyon::spin::key_value::{self, Store};
use fermyon::spin::sqlite::{Connection, Value};
use fermyon::spin::variables;

struct Stores;

export!(Stores);

impl Guest for Stores {
    fn run() -> Result<Vec<String>, String> {
        let mut found = vec![];
        keys(&mut found).map_err(|error| format!("key-value: {error:?}"))?;
        rows(&mut found).map_err(|error| format!("sqlite: {error:?}"))?;
        for name in ["greeting", "missing", "Not-A-Name"] {
            found.push(match variables::get(name) {
                Ok(value) => value,
                Err(variables::Error::Undefined(_)) => "undefined".to_owned(),
                Err(variables::Error::InvalidName(_)) => "no name".to_owned(),
                Err(error) => return Err(format!("variables: {error:?}")),
            });
        }
        Ok(found)
    }

    fn idle() -> String {
        format!("idle at {}", std::env::var("LEVEL").unwrap_or_default())
    }
}

fn keys(found: &mut Vec<String>) -> Result<(), key_value::Error> {
    let store = Store::open("default")?;
    store.set("b", b"two")?;
    store.set("a", b"one")?;
    store.set("c", b"three")?;
    store.delete("c")?;
    let value = store.get("a")?.unwrap_or_default();
    found.push(String::from_utf8_lossy(&value).into_owned());
    found.push(format!("{:?} {} {}", store.get_keys()?, store.exists("b")?, store.exists("c")?));
    found.push(match Store::open("other") {
        Err(key_value::Error::NoSuchStore) => "no such store".to_owned(),
        other => format!("{:?}", other.map(|_| ())),
    });
    Ok(())
}

fn rows(found: &mut Vec<String>) -> Result<(), fermyon::spin::sqlite::Error> {
    let database = Connection::open("default")?;
    database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER, x REAL, s TEXT, b BLOB, z TEXT)", &[])?;
    database.execute("DELETE FROM t", &[])?;
    let values = [
        Value::Integer(7),
        Value::Real(0.5),
        Value::Text("é".to_owned()),
        Value::Blob(vec![1, 2]),
        Value::Null,
    ];
    database.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", &values)?;
    let result = database.execute("SELECT * FROM t", &[])?;
    found.push(format!("{:?} {:?}", result.columns, result.rows[0].values));
    Ok(())
}
