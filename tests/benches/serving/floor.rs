//! The floors. A: the model's own library in a loop. B: what HTTP, the protocol and the model cost with
//! nothing around them: no component, no checks, no metrics, no batches, one thread.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use eyot_core::config::BackendChoice;
use eyot_nn::{BackendModel, BackendSet, DataType, ModelSettings, Tensor};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

use crate::request::Case;

/// A model as its library has it.
pub(crate) fn load(case: &Case) -> Result<Box<dyn BackendModel>> {
    let backends =
        BackendSet::open(&eyot_core::config::DataSettings::default().backends, BackendChoice::Auto)?;
    let backend = backends.list().first().context("no back end")?.clone();
    let bytes = std::fs::read(&case.onnx).with_context(|| case.onnx.display().to_string())?;
    Ok(backend.load(&bytes.into(), ModelSettings::default())?)
}

/// Floor A: the median of a round in microseconds, and its 99th percentile.
pub(crate) fn in_a_loop(model: &dyn BackendModel, case: &Case) -> Result<(f64, f64)> {
    let mut taken = Vec::with_capacity(case.alone);
    for _ in 0..case.alone {
        let started = Instant::now();
        model.run(std::slice::from_ref(&case.input.tensor))?;
        taken.push(started.elapsed().as_secs_f64() * 1e6);
    }
    taken.sort_by(f64::total_cmp);
    Ok((eyot_tests::quantile(&taken, 0.5), eyot_tests::quantile(&taken, 0.99)))
}

/// Floor B as a process.
pub(crate) struct Floor {
    child: Child,
    pub(crate) url: String,
}

impl Floor {
    pub(crate) fn start() -> Result<Self> {
        let this = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(this).arg("floor").stdout(Stdio::piped()).spawn()?;
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
struct Asked<'a> {
    #[serde(borrow)]
    inputs: [Input<'a>; 1],
}

#[derive(Deserialize)]
struct Input<'a> {
    datatype: &'a str,
    shape: Vec<usize>,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
}

#[derive(Serialize)]
struct Answer {
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    datatype: DataType,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Length>,
}

#[derive(Serialize)]
struct Length {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Whole(Vec<i64>),
    Single(Vec<f32>),
}

type Models = HashMap<String, Box<dyn BackendModel>>;

/// Answers until it is killed.
pub(crate) async fn serve(cases: Vec<Case>) -> Result<()> {
    let models: Result<Models> =
        cases.iter().map(|case| Ok((format!("/v2/models/{}/infer", case.name), load(case)?))).collect();
    let models = Rc::new(models?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let models = models.clone();
                let service = service_fn(move |request| answer(models.clone(), request));
                tokio::task::spawn_local(async move {
                    // The load generator closes connections as it likes.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

async fn answer(models: Rc<Models>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(predict(&models, request).await.unwrap_or_else(|error| {
        let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
        response
    }))
}

async fn predict(models: &Models, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let model = models.get(request.uri().path()).context("no such model")?;
    let head = request.headers().get("inference-header-content-length").cloned();
    let head: Option<usize> = head.map(|value| anyhow::Ok(value.to_str()?.parse()?)).transpose()?;
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Asked<'_> = serde_json::from_slice(&body[..head.unwrap_or(body.len())])?;
    let [Input { datatype, shape, data }] = asked.inputs;
    let tensor = match (head, data) {
        (Some(head), _) if datatype == "FP32" => Tensor::new(DataType::F32, shape, body.slice(head..))?,
        (Some(head), _) => Tensor::new(DataType::I64, shape, body.slice(head..))?,
        (None, Some(data)) if datatype == "FP32" => {
            Tensor::of(shape, &serde_json::from_str::<Vec<f32>>(data.get())?)?
        }
        (None, Some(data)) => Tensor::of(shape, &serde_json::from_str::<Vec<i64>>(data.get())?)?,
        (None, None) => anyhow::bail!("no data"),
    };
    let outputs = model.run(&[tensor])?;
    let specs = &model.signature().outputs;
    let mut answer = Answer { outputs: Vec::with_capacity(outputs.len()) };
    let mut binary = Vec::new();
    for (spec, tensor) in specs.iter().zip(&outputs) {
        let (mut data, mut parameters) = (None, None);
        if head.is_some() {
            parameters = Some(Length { binary_data_size: tensor.bytes().len() });
            binary.extend_from_slice(tensor.bytes());
        } else if tensor.dtype() == DataType::I64 {
            data = tensor.to_vec::<i64>().map(Numbers::Whole);
        } else {
            data = tensor.to_vec::<f32>().map(Numbers::Single);
        }
        let (name, shape) = (spec.name.clone(), tensor.shape().to_vec());
        answer.outputs.push(Output { name, datatype: tensor.dtype(), shape, data, parameters });
    }
    let mut written = serde_json::to_vec(&answer)?;
    let length = written.len();
    written.extend_from_slice(&binary);
    let mut response = Response::new(Full::new(Bytes::from(written)));
    let headers = response.headers_mut();
    if head.is_some() {
        headers.insert("content-type", HeaderValue::from_static("application/octet-stream"));
        headers.insert("inference-header-content-length", HeaderValue::from(length));
    } else {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    Ok(response)
}
