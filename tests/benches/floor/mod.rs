//! Floor B: what HTTP, JSON and the model cost with nothing around them.

use std::convert::Infallible;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use eyot_nn::{LoadedModel, NamedTensor, Tensor};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

/// The floor as a process.
pub(crate) struct Floor {
    child: Child,
    pub(crate) url: String,
}

impl Floor {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(super::this()?).arg("floor").stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        let stdout = child.stdout.take().context("the floor has no stdout")?;
        std::io::BufReader::new(stdout).read_line(&mut url)?;
        Ok(Self { child, url: url.trim().to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Deserialize)]
struct Asked {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Serialize)]
struct Answer {
    outputs: [Output; 1],
}

#[derive(Serialize)]
struct Output {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<usize>,
    data: Vec<i64>,
}

/// Answers until it is killed.
pub(crate) async fn serve(model: Arc<LoadedModel>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let model = model.clone();
                let service = service_fn(move |request| answer(model.clone(), request));
                tokio::task::spawn_local(async move {
                    // The load generator closes connections as it likes.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

async fn answer(
    model: Arc<LoadedModel>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = match predict(&model, request).await {
        Ok(body) => Response::new(Full::new(Bytes::from(body))),
        Err(error) => {
            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
            *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
            response
        }
    };
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

async fn predict(model: &LoadedModel, request: Request<Incoming>) -> Result<Vec<u8>> {
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Asked = serde_json::from_slice(&body)?;
    let input = asked.inputs.into_iter().next().context("no input")?;
    let tensor = Tensor::of(input.shape, &input.data)?;
    let outputs = model.infer(vec![NamedTensor { name: "pixels".to_owned(), tensor }]).await?;
    let label = &outputs.first().context("no output")?.tensor;
    let data = label.to_vec::<i64>().context("no INT64")?;
    let output = Output { name: "label", datatype: "INT64", shape: label.shape().to_vec(), data };
    Ok(serde_json::to_vec(&Answer { outputs: [output] })?)
}
