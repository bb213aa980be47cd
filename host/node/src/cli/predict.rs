use std::io::Read as _;

use axum::body::Body;
use clap::Args;
use eyot_core::{Error, Kind, Name, Result, ResultExt};
use eyot_oci::Transport;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::cli::Global;
use crate::output::Output;
use crate::session::Session;

/// Sends one request to a deployment and prints the answer.
///
/// REQUEST is the body of an infer request of the Open Inference Protocol; `-` reads it from stdin.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot predict iris '{\"inputs\": [{\"name\": \"X\", \"datatype\": \"FP32\", \"shape\": [1, 4], \
    \"data\": [5.1, 3.5, 1.4, 0.2]}]}'\n  eyot predict digits - < request.json"
)]
pub(crate) struct Predict {
    /// The deployment.
    name: Name,
    /// The request, or - for stdin.
    request: String,
}

impl Predict {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let body = match self.request.as_str() {
            "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context(|| "cannot read the request from stdin".to_owned())?;
                text
            }
            text => text.to_owned(),
        };
        let session = Session::open(global).await?;
        let transport = Transport::connect(session.need_gateway()?, &session.trust())?;
        let request = Request::post(format!("/v2/models/{}/infer", self.name))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| Error::invalid("no such request can be sent").because(error))?;
        let response = transport.send(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await;
        let bytes =
            bytes.map_err(|error| Error::unavailable("the answer ended early").because(error))?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Error::internal(format!("the data plane answered {status}, and no JSON")).because(error)
        })?;
        if !status.is_success() {
            let text = answer["error"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Error::new(kind(status.as_u16()), text));
        }
        output.result(&answer, |_| human(&answer))
    }
}

/// The kind of error that a status stands for; several share one.
fn kind(status: u16) -> Kind {
    Kind::ALL.into_iter().rev().find(|kind| kind.http_status() == status).unwrap_or(match status {
        400..500 => Kind::Invalid,
        _ => Kind::Failed,
    })
}

fn human(answer: &Value) -> String {
    let outputs = answer["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |output: &Value| {
        let name = output["name"].as_str().unwrap_or_default();
        let datatype = output["datatype"].as_str().unwrap_or_default();
        format!("{name} {datatype}{} = {}", output["shape"], output["data"])
    };
    outputs.iter().map(line).collect::<Vec<_>>().join("\n")
}
