mod access;
mod backups;
mod registry;

use axum::body::Body;
use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Name, ProjectName, Reference, Result, new_id};
use eyot_deploy::{Deployment, Revision, Traffic};
use eyot_meta::Event;
use eyot_oci::{RegistryEntry, ResolvedArtifact, Transport};
use eyot_pipelines::{PipelineRun, RunEvent};
use futures::Stream;
use futures::StreamExt as _;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answer::{ErrorBody, collect};
use crate::idempotency::IDEMPOTENCY_KEY_HEADER;
use crate::{DeployRequest, LogLine, RunLineage, ServerInfo, SubmitRequest, SubmittedRun};

pub use backups::SnapshotLease;

/// Speaks to a control plane, over a socket or in this process.
#[derive(Clone)]
pub struct ApiClient {
    transport: Transport,
    /// The project of every request; none for the one that the server takes.
    project: Option<ProjectName>,
    registry: eyot_oci::RegistryClient,
}

pub use access::TokenOptions;

/// Where a stream of events begins.
#[derive(Clone, Copy, Debug)]
pub enum EventsFrom {
    /// After the event of that number.
    After(i64),
    /// So many events before the newest.
    Tail(u32),
}

/// The largest answer that is read whole; blobs and events are streamed.
const MAX_ANSWER_BYTES: usize = 256 << 20;

impl ApiClient {
    /// A client over `transport`.
    pub fn new(transport: Transport) -> Self {
        let registry = eyot_oci::RegistryClient::with_transport(transport.clone());
        Self { transport, project: None, registry }
    }

    /// The same for a project.
    pub fn in_project(self, project: Option<ProjectName>) -> Self {
        Self { project, ..self }
    }

    /// The same reference with the repository that it means in the project.
    pub fn qualified(&self, reference: &Reference) -> Reference {
        Reference { repository: self.repository(&reference.repository), ..reference.clone() }
    }

    /// The repository that a name means in the project.
    pub fn repository(&self, name: &str) -> String {
        match &self.project {
            Some(project) if !project.is_default() && !name.starts_with(&format!("{project}/")) => {
                format!("{project}/{name}")
            }
            _ => name.to_owned(),
        }
    }

    /// The registry behind the same address.
    pub fn registry(&self) -> &eyot_oci::RegistryClient {
        &self.registry
    }

    pub async fn server(&self) -> Result<ServerInfo> {
        self.get("/api/v1/server").await
    }

    pub async fn artifacts(&self) -> Result<Vec<RegistryEntry>> {
        self.get("/api/v1/artifacts").await
    }

    /// What a reference (`name:tag`, `name@digest`, `models:/name@alias`) means now.
    pub async fn resolve(&self, reference: &str) -> Result<ResolvedArtifact> {
        self.get(&format!("/api/v1/artifacts/resolve?reference={}", escape(reference))).await
    }

    pub async fn deploy(&self, name: &Name, request: &DeployRequest) -> Result<Deployment> {
        self.call(Method::PUT, &format!("/api/v1/deployments/{name}"), Some(request)).await
    }

    pub async fn undeploy(&self, name: &Name) -> Result<()> {
        self.call(Method::DELETE, &format!("/api/v1/deployments/{name}"), None::<&()>).await
    }

    /// Every revision that was made under a name.
    pub async fn revisions(&self, name: &Name) -> Result<Vec<Revision>> {
        self.get(&format!("/api/v1/deployments/{name}/revisions")).await
    }

    /// One deployment.
    pub async fn deployment(&self, name: &Name) -> Result<Deployment> {
        self.get(&format!("/api/v1/deployments/{name}")).await
    }

    /// Splits the requests to a deployment among its revisions.
    pub async fn split(&self, name: &Name, traffic: &Traffic) -> Result<Deployment> {
        self.call(Method::PUT, &format!("/api/v1/deployments/{name}/traffic"), Some(traffic)).await
    }

    /// Splits requests as they were split before.
    pub async fn roll_back(&self, name: &Name) -> Result<Deployment> {
        self.call(Method::POST, &format!("/api/v1/deployments/{name}/rollback"), None::<&()>).await
    }

    pub async fn deployments(&self) -> Result<Vec<Deployment>> {
        self.get("/api/v1/deployments").await
    }

    pub async fn models(&self) -> Result<Vec<Value>> {
        self.get("/api/v1/models").await
    }

    pub async fn model(&self, name: &str) -> Result<Value> {
        self.get(&format!("/api/v1/models/{}", escape(name))).await
    }

    pub async fn submit(&self, request: &SubmitRequest) -> Result<SubmittedRun> {
        self.call(Method::POST, "/api/v1/pipeline-runs", Some(request)).await
    }

    pub async fn runs(&self) -> Result<Vec<PipelineRun>> {
        self.get("/api/v1/pipeline-runs").await
    }

    pub async fn run(&self, id: &str) -> Result<PipelineRun> {
        self.get(&format!("/api/v1/pipeline-runs/{}", escape(id))).await
    }

    pub async fn lineage(&self, id: &str) -> Result<RunLineage> {
        self.get(&format!("/api/v1/pipeline-runs/{}/lineage", escape(id))).await
    }

    /// An artifact that a step gave, handed on piece by piece; answers its length.
    pub async fn artifact(
        &self,
        id: &str,
        step: &str,
        output: &str,
        mut sink: impl FnMut(Bytes) -> Result<()>,
    ) -> Result<u64> {
        let path =
            format!("/api/v1/pipeline-runs/{}/artifacts/{}/{}", escape(id), escape(step), escape(output));
        let response = self.transport.send(self.request(Method::GET, &path, Body::empty())?).await?;
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        let (mut chunks, mut length) = (response.into_body().into_data_stream(), 0);
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|error| Error::unavailable("the artifact ended early").because(error))?;
            length += chunk.len() as u64;
            sink(chunk)?;
        }
        Ok(length)
    }

    pub async fn cancel(&self, id: &str) -> Result<()> {
        self.call(Method::POST, &format!("/api/v1/pipeline-runs/{}/cancel", escape(id)), None::<&()>).await
    }

    /// What happens in a run from now until it ends. Ask for the run first: what happened before is there.
    pub async fn events(&self, id: &str) -> Result<impl Stream<Item = Result<RunEvent>> + Unpin + use<>> {
        self.stream(&format!("/api/v1/pipeline-runs/{}/events", escape(id))).await
    }

    /// What changes on the server: events of these topics, after the event of a number or so many before the newest.
    /// With `follow` it goes on until the connection ends; then it is asked again, after the last number that came.
    pub async fn server_events(
        &self,
        topics: &[String],
        from: EventsFrom,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Event>> + Unpin + use<>> {
        let from = match from {
            EventsFrom::After(id) => format!("after={id}"),
            EventsFrom::Tail(count) => format!("tail={count}"),
        };
        let topics = escape(&topics.join(","));
        self.stream(&format!("/api/v1/events?topics={topics}&{from}&follow={follow}")).await
    }

    /// The last `tail` lines that a deployment's component printed, and with `follow` those that come.
    pub async fn logs(
        &self,
        name: &Name,
        tail: usize,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<LogLine>> + Unpin + use<>> {
        self.stream(&format!("/api/v1/deployments/{name}/logs?tail={tail}&follow={follow}")).await
    }

    /// Server-sent events, each a value as JSON.
    async fn stream<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<T>> + Unpin + use<T>> {
        let response = self.transport.send(self.request(Method::GET, path, Body::empty())?).await?;
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        let mut pending = Vec::new();
        let chunks = response.into_body().into_data_stream();
        let lines = chunks.map(move |chunk| {
            let chunk = chunk
                .map_err(|error| Error::unavailable("the server ended the stream of events").because(error));
            chunk.map(|chunk: Bytes| {
                pending.extend_from_slice(&chunk);
                complete_lines(&mut pending)
            })
        });
        let events = lines.flat_map(|lines| {
            let events: Vec<Result<T>> = match lines {
                Ok(lines) => lines.iter().filter_map(|line| event(line)).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(events)
        });
        Ok(Box::pin(events))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None::<&()>).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request<Body>> {
        let path = match &self.project {
            Some(project) => format!("/p/{project}{path}"),
            None => path.to_owned(),
        };
        let request = Request::builder().method(method).uri(&path).header("content-type", "application/json");
        request.body(body).map_err(|error| Error::invalid(format!("'{path}' is no path")).because(error))
    }

    /// Sends what changes something: once more where the connection ends before there is an answer. By its key the server
    /// knows it again, and it is done once.
    async fn send_once(&self, method: Method, path: &str, body: Bytes) -> Result<http::Response<Body>> {
        let key = HeaderValue::from_str(&new_id())
            .map_err(|error| Error::internal("an id is no header").because(error))?;
        let request = || -> Result<Request<Body>> {
            let mut request = self.request(method.clone(), path, Body::from(body.clone()))?;
            request.headers_mut().insert(IDEMPOTENCY_KEY_HEADER, key.clone());
            Ok(request)
        };
        match self.transport.send(request()?).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => self.transport.send(request()?).await,
            answered => answered,
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let body = match body {
            Some(body) => {
                let json = serde_json::to_vec(body);
                json.map_err(|error| Error::internal("a request has no JSON form").because(error))?.into()
            }
            None => Bytes::new(),
        };
        let response = match method.is_safe() {
            true => self.transport.send(self.request(method, path, Body::from(body))?).await?,
            false => self.send_once(method, path, body).await?,
        };
        if !response.status().is_success() {
            return Err(problem(response).await);
        }
        let bytes = collect(response.into_body(), MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::internal(format!("the server's answer to {path} cannot be read")).because(error)
        })
    }
}

async fn problem(response: http::Response<Body>) -> Error {
    let status = response.status();
    let bytes = match response.into_body().collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Error::unavailable("the server's answer ended early").because(error),
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(problem) => problem.into_error(),
        Err(_) => Error::new(
            ErrorKind::Unavailable,
            format!("the server answered {status} and not in Eyot's terms"),
        )
        .hint("is this the address of an Eyot control plane?"),
    }
}

/// Takes the whole lines out of `pending`.
fn complete_lines(pending: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let whole: Vec<u8> = pending.drain(..=end).collect();
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
}

/// The event in a line of a stream of server-sent events.
fn event<T: DeserializeOwned>(line: &str) -> Option<Result<T>> {
    let data = line.strip_prefix("data:")?.trim_start();
    Some(
        serde_json::from_str(data).map_err(|error| Error::internal("an event cannot be read").because(error)),
    )
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes what a path segment or query value may not hold.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_chunks_are_cut() {
        let mut pending = b"data: {\"a\"".to_vec();
        assert!(complete_lines(&mut pending).is_empty());
        pending.extend_from_slice(b":1}\n\ndata: x");
        assert_eq!(complete_lines(&mut pending), ["data: {\"a\":1}", ""]);
        assert_eq!(pending, b"data: x");
    }

    #[test]
    fn references_survive_a_query() {
        assert_eq!(escape("models:/a@b c"), "models%3A%2Fa%40b%20c");
    }
}
