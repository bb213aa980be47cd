-- What components of a project keep in key-value stores (wasi:keyvalue, spin:key-value).
CREATE TABLE key_values (
    store TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (store, key)
);
