//! HTTP of WASI 0.3, through spin-sdk as its users write it.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::body::{IncomingBodyExt as _, stream};
use spin_sdk::http::{BoxBody, FullBody, IntoResponse, Request, Response, box_body};
use spin_sdk::http_service;

static COUNT: AtomicU32 = AtomicU32::new(0);

#[http_service]
async fn handle(request: Request) -> Result<impl IntoResponse, spin_sdk::http::Error> {
    let path = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    Ok(match path.as_str() {
        "echo" => {
            let body = request.into_body();
            Response::new(box_body(body))
        }
        "length" => text(request.into_body().bytes().await?.len().to_string()),
        "headers" => {
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
                .collect();
            lines.sort();
            text(lines.concat())
        }
        "count" => text((COUNT.fetch_add(1, Ordering::Relaxed) + 1).to_string()),
        "trap" => panic!("asked to"),
        // What it is sent comes back, and then it fails.
        "half" => {
            let mut parts = request.into_body().stream();
            let (mut sender, body) = stream::<bytes::Bytes>();
            spin_sdk::wasip3::spawn(async move {
                while let Some(part) = parts.next().await {
                    sender.send(part.expect("a part")).await.expect("sent");
                }
                panic!("halfway");
            });
            Response::new(box_body(body))
        }
        "open" => {
            let (mut sender, body) = stream::<String>();
            spin_sdk::wasip3::spawn(async move {
                sender.send("the first half".to_owned()).await.expect("sent");
                spin_sdk::wasip3::clocks::monotonic_clock::wait_for(u64::MAX / 2).await;
                drop(sender);
            });
            Response::new(box_body(body))
        }
        // Ends the program once all of the answer is out, in the middle of it, and before it.
        path @ ("exit" | "exit-amid") => {
            let whole = path == "exit";
            let (mut sender, body) = stream::<String>();
            spin_sdk::wasip3::spawn(async move {
                sender.send("done".to_owned()).await.expect("sent");
                let _kept = Some(sender).filter(|_| !whole);
                for _ in 0..100 {
                    spin_sdk::wasip3::wit_bindgen::yield_async().await;
                }
                std::process::exit(0);
            });
            Response::new(box_body(body))
        }
        "exit-early" => std::process::exit(0),
        "short" => {
            let mut answer = text("less than that".to_owned());
            answer.headers_mut().insert("content-length", "100".parse().expect("a value"));
            answer
        }
        "spin" => loop {
            std::hint::black_box(COUNT.load(Ordering::Relaxed));
        },
        "events" => {
            let (mut sender, body) = stream::<String>();
            spin_sdk::wasip3::spawn(async move {
                for number in 0..3 {
                    if sender.send(format!("data: {number}\n\n")).await.is_err() {
                        return;
                    }
                }
            });
            Response::new(box_body(body))
        }
        "fetch" => {
            let url = request.uri().query().unwrap_or_default().to_owned();
            match spin_sdk::http::get(&url).await {
                Ok(answer) => text(format!("{} from {url}", answer.status().as_u16())),
                Err(error) => text(format!("{error:?}")),
            }
        }
        "refuse" => return Err("will not".into()),
        _ => text("Hello!".to_owned()),
    })
}

fn text(text: String) -> Response<BoxBody> {
    Response::new(box_body(FullBody::new(bytes::Bytes::from(text))))
}
