//! The schema of `eyot.toml`, for editors and validators of others.

use super::Config;

impl Config {
    /// The JSON Schema of `eyot.toml`, for editors. Defaults that depend on the machine are left out.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Config).to_value();
        // Where a user's data lie is no part of the format.
        for place in [
            "/properties/data/default",
            "/$defs/DataSettings/properties/dir/default",
            "/$defs/DataSettings/properties/backends/default",
            "/$defs/DataSettings/properties/tools/default",
        ] {
            let Some((parent, name)) = place.rsplit_once('/') else { continue };
            if let Some(object) = schema.pointer_mut(parent).and_then(serde_json::Value::as_object_mut) {
                object.shift_remove(name);
            }
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The file in the repository is what editors and validators of others read; `UPDATE=1` writes it.
    #[test]
    fn the_published_schema_is_that_of_the_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("eyot.schema.json");
        let schema = format!("{:#}\n", Config::schema());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &schema).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            schema,
            "UPDATE=1 cargo test -p eyot-core writes it"
        );
        assert!(!schema.contains("/root/") && !schema.contains("/home/"), "no place of this machine");
    }
}
