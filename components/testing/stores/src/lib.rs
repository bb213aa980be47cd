//! Stores as an application for Spin uses them, each path another way to ask for too much: the body says of what.

use spin_sdk::experimental::wasi::config::store as settings;
use spin_sdk::experimental::wasi::keyvalue::store;
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Request, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let path = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let body = match request.into_body().bytes().await {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error:?}\n")),
    };
    let answered = match path.as_str() {
        "sql" => sql(&body).await,
        "set" => set(&body).await,
        "get" => get(&body).await,
        "print" => print(&body),
        "config" => config(&body),
        "shared" => shared(&body),
        _ => {
            return (StatusCode::NOT_FOUND, "POST /sql, /set, /get, /print, /config or /shared\n".to_owned());
        }
    };
    match answered {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")),
    }
}

/// Runs a statement; answers how many rows and bytes it gave.
async fn sql(statement: &str) -> anyhow::Result<String> {
    let database = Connection::open_default().await?;
    let rows = database.execute(statement, []).await?.collect().await?;
    let size = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 0,
    };
    let bytes: usize = rows.iter().flat_map(|row| &row.values).map(size).sum();
    Ok(format!("{} rows, {bytes} bytes", rows.len()))
}

/// Sets so many keys to values of so many bytes.
async fn set(body: &str) -> anyhow::Result<String> {
    let (count, bytes) = two(body)?;
    let store = Store::open_default().await?;
    for number in 0..count {
        store.set(number.to_string(), vec![7; bytes]).await?;
    }
    Ok(format!("{count} keys"))
}

/// Gets so many keys, so many times each; answers the bytes of all.
async fn get(body: &str) -> anyhow::Result<String> {
    let (count, times) = two(body)?;
    let store = Store::open_default().await?;
    let mut bytes = 0;
    for _ in 0..times {
        for number in 0..count {
            bytes += store.get(number.to_string()).await?.map_or(0, |value| value.len());
        }
    }
    Ok(format!("{bytes} bytes"))
}

/// Prints so many lines of so many bytes.
fn print(body: &str) -> anyhow::Result<String> {
    let (count, bytes) = two(body)?;
    for _ in 0..count {
        println!("{}", "x".repeat(bytes));
    }
    Ok(String::new())
}

/// A setting, and the names of all, by the draft of WASI that Spin's SDK has.
fn config(name: &str) -> anyhow::Result<String> {
    let value = settings::get(name).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let all = settings::get_all().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let names: Vec<_> = all.into_iter().map(|(name, _)| name).collect();
    Ok(format!("{value:?} of {names:?}"))
}

/// Keeps a value by WASI's key-value stores; answers what is there.
fn shared(value: &str) -> anyhow::Result<String> {
    let failed = |error| anyhow::anyhow!("{error:?}");
    let bucket = store::open("default").map_err(failed)?;
    bucket.set("shared", value.as_bytes()).map_err(failed)?;
    let kept = bucket.get("shared").map_err(failed)?;
    Ok(String::from_utf8(kept.unwrap_or_default())?)
}

fn two(body: &str) -> anyhow::Result<(usize, usize)> {
    let (one, other) = body.split_once(' ').unwrap_or((body, "0"));
    Ok((one.parse()?, other.parse()?))
}
