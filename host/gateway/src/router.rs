//! From a path to an answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use eyot_core::{Error, Result};
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal, json_answer};
use crate::body::Parts;
use crate::places::{Page, Place, Target};
use crate::rest;
use crate::revisions::Serving;
use crate::server::Inner;

/// The extensions of the protocol that are spoken.
const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "parameters", "classification"];

pub(crate) async fn answer(gateway: &Arc<Inner>, request: Request<Incoming>) -> Answer {
    let head = request.method() == Method::HEAD;
    let mut answer = match route(gateway, request).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.answer(),
    };
    if gateway.draining.load(Ordering::Relaxed) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if head {
        let length = answer.body().len();
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        *answer.body_mut() = Parts::default();
    }
    answer
}

async fn route(gateway: &Arc<Inner>, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let place = Place::of(path)?;
    if let Err(allow) = place.takes(&parts.method) {
        let error =
            Error::invalid(format!("{path} takes no {}", parts.method)).hint(format!("it takes {allow}"));
        return Err(Refusal { error, status: Some(StatusCode::METHOD_NOT_ALLOWED), allow: Some(allow) });
    }
    let draining = gateway.draining.load(Ordering::Relaxed);
    let ok = |value: &Value| Ok(json_answer(StatusCode::OK, value));
    match place {
        Place::Server => {
            ok(&json!({ "name": "eyot", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
        }
        Place::Live => ok(&json!({ "live": true })),
        Place::Ready if draining => {
            Ok(json_answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "ready": false })))
        }
        Place::Ready => ok(&json!({ "ready": true })),
        Place::Models => ok(&json!({ "models": gateway.revisions.names() })),
        Place::Model(target, Page::Metadata) => ok(&metadata(&find(gateway, &target)?)),
        Place::Model(target, Page::Ready) => {
            find(gateway, &target)?;
            ok(&json!({ "name": target.model, "ready": true }))
        }
        Place::Model(_, Page::Infer) if draining => {
            Err(Error::unavailable("the server is stopping").hint("another server answers").into())
        }
        Place::Model(target, Page::Infer) => {
            let serving = find(gateway, &target)?;
            rest::infer(gateway, &serving, &parts.headers, body).await
        }
    }
}

fn find(gateway: &Inner, target: &Target<'_>) -> Result<Serving> {
    let shown = || target.model.chars().take(128).collect::<String>();
    let serving = gateway.revisions.get(&target.model).ok_or_else(|| {
        let names = gateway.revisions.names();
        Error::not_found(format!("there is no model '{}'", shown())).hint(match names.as_slice() {
            [] => "nothing is deployed; eyot deploy makes an endpoint".to_owned(),
            names => format!("deployed are: {}", names.join(", ")),
        })
    })?;
    let serves = serving.revision.revision.to_string();
    match &target.version {
        Some(version) if *version != serves => {
            Err(Error::not_found(format!("model '{}' has no version '{version}'", shown()))
                .hint(format!("version {serves} serves")))
        }
        _ => Ok(serving),
    }
}

fn metadata(serving: &Serving) -> Value {
    let revision = &serving.revision;
    let signature = revision.predictor.signature();
    let mut properties = Map::new();
    if let Some(component) = &revision.component {
        properties.insert("component".to_owned(), Value::String(component.to_string()));
    }
    for (name, digest) in &revision.models {
        properties.insert(format!("model.{name}"), Value::String(digest.to_string()));
    }
    for (name, ran_on) in revision.predictor.ran_on() {
        properties.insert(format!("ran_on.{name}"), Value::String(ran_on.to_string()));
    }
    json!({
        "name": revision.deployment,
        "versions": [revision.revision.to_string()],
        "platform": revision.platform,
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "properties": properties,
    })
}
