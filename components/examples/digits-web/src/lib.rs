//! An application for Spin that asks a model: a picture of 64 numbers comes in, the digit on it goes out.
//! It counts each digit in a key-value store, keeps what it was asked in SQLite, and greets with a
//! variable.
//!
//! ```text
//! eyot deploy digits-web:0.1.0 --model digits=models:/digits@champion \
//!     --key-value default --sqlite default --var greeting='Draw me a digit'
//! curl localhost:8080/digits-web/
//! curl localhost:8080/digits-web/read -d '[0, 0, 5, 13, …]'
//! ```

use eyot_guest::{Model, Tensor};
use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{IntoResponse, Method, Request, StatusCode};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::{http_service, variables};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let place =
        request.headers().get("spin-path-info").and_then(|path| path.to_str().ok()).unwrap_or("/").to_owned();
    let answered = match (request.method(), place.as_str()) {
        (&Method::GET, "" | "/") => greet().await,
        (&Method::GET, "/counts") => counts().await,
        (&Method::GET, "/last") => last().await,
        (&Method::POST, "/read") => match request.into_body().bytes().await {
            Ok(body) => read(&body).await,
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error:?}\n")),
        },
        _ => return (StatusCode::NOT_FOUND, "GET /, /counts or /last; POST /read\n".to_owned()),
    };
    match answered {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")),
    }
}

async fn greet() -> anyhow::Result<String> {
    Ok(format!("{}\n", variables::get("greeting").await?))
}

/// What the model sees in a picture of 64 shades from 0 to 16.
async fn read(body: &[u8]) -> anyhow::Result<String> {
    let shades: Vec<f32> = serde_json::from_slice(body)?;
    let picture = Tensor::of("pixels", &[1, 64], &shades);
    // While the model works, this instance answers others.
    let outputs = Model::open("digits")?.infer_async(vec![picture]).await?;
    let label = outputs.iter().find(|output| output.name() == "label");
    let label = label.ok_or_else(|| anyhow::anyhow!("the model has no output 'label'"))?;
    let digit = *label.to_vec::<i64>()?.first().ok_or_else(|| anyhow::anyhow!("the model gave no digit"))?;
    count(digit).await?;
    keep(digit, &String::from_utf8_lossy(body)).await?;
    Ok(format!("{digit}\n"))
}

async fn count(digit: i64) -> anyhow::Result<()> {
    let store = Store::open_default().await?;
    let key = digit.to_string();
    let before = store.get(&key).await?.map(|bytes| String::from_utf8_lossy(&bytes).parse::<u64>());
    let before = before.transpose()?.unwrap_or_default();
    Ok(store.set(&key, (before + 1).to_string()).await?)
}

async fn counts() -> anyhow::Result<String> {
    let store = Store::open_default().await?;
    let mut digits = store.get_keys().await.collect().await?;
    digits.sort();
    let mut text = String::new();
    for digit in digits {
        let count = store.get(&digit).await?.unwrap_or_default();
        text.push_str(&format!("{digit}: {}\n", String::from_utf8_lossy(&count)));
    }
    Ok(text)
}

async fn keep(digit: i64, picture: &str) -> anyhow::Result<()> {
    let database = Connection::open_default().await?;
    let table = "CREATE TABLE IF NOT EXISTS asked (id INTEGER PRIMARY KEY, digit INTEGER NOT NULL, picture TEXT NOT NULL)";
    database.execute(table, []).await?.result().await?;
    let row = [Value::Integer(digit), Value::Text(picture.to_owned())];
    database.execute("INSERT INTO asked (digit, picture) VALUES (?, ?)", row).await?.result().await?;
    Ok(())
}

async fn last() -> anyhow::Result<String> {
    let database = Connection::open_default().await?;
    let rows =
        database.execute("SELECT id, digit FROM asked ORDER BY id DESC LIMIT 5", []).await?.collect().await?;
    let line = |row: &spin_sdk::sqlite::RowResult| {
        Some(format!("{} was {}\n", row.get::<i64>(0)?, row.get::<i64>(1)?))
    };
    Ok(rows.iter().filter_map(line).collect())
}
