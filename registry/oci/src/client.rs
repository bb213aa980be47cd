use axum::body::Body;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use http::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::answer::{collect, read};
use crate::{Built, Transport, component_manifest, model_manifest};

/// Speaks the distribution API.
#[derive(Clone)]
pub struct Client(Transport);

/// What was pushed, under which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    pub repository: String,
    pub tag: Option<String>,
    /// The manifest.
    pub digest: Digest,
    /// The component's or the model's own bytes.
    pub content: Digest,
    /// Their number.
    pub size: u64,
}

/// The largest blob that is pulled into memory: wasm and ONNX have their own limit of 2 GiB.
const LIMIT: usize = 2 << 30;

impl Client {
    /// A client over `transport`.
    pub fn with_transport(transport: Transport) -> Self {
        Self(transport)
    }

    /// Pushes a component: its bytes, a config that says what it imports and exports, a manifest.
    ///
    /// Fails with `Invalid` when the bytes are no component.
    pub async fn push_component(&self, repository: &str, tag: Option<&str>, wasm: Bytes) -> Result<Pushed> {
        let built = component_manifest(repository, &wasm)?;
        self.push(repository, tag, built, wasm).await
    }

    /// Pushes a model in ONNX; `file` is the name it is unpacked under.
    pub async fn push_model(
        &self,
        repository: &str,
        tag: Option<&str>,
        file: &str,
        onnx: Bytes,
    ) -> Result<Pushed> {
        let built = model_manifest(repository, file, &onnx)?;
        self.push(repository, tag, built, onnx).await
    }

    async fn push(
        &self,
        repository: &str,
        tag: Option<&str>,
        built: Built,
        content: Bytes,
    ) -> Result<Pushed> {
        let size = content.len() as u64;
        let digest = Digest::of(&built.manifest);
        let target = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let media_type = built.media_type();
        self.push_blob(repository, built.config).await?;
        let content = self.push_blob(repository, content).await?;
        let request = Request::put(format!("/v2/{repository}/manifests/{target}"))
            .header(header::CONTENT_TYPE, media_type);
        self.send(request, Body::from(built.manifest)).await?;
        Ok(Pushed { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest, content, size })
    }

    /// Pushes bytes that are not there yet; answers their digest.
    pub async fn push_blob(&self, repository: &str, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        let head = Request::builder().method(Method::HEAD).uri(format!("/v2/{repository}/blobs/{digest}"));
        if self.answer(head, Body::empty()).await?.status() == StatusCode::OK {
            return Ok(digest);
        }
        let request = Request::post(format!("/v2/{repository}/blobs/uploads/?digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, bytes.len());
        self.send(request, Body::from(bytes)).await?;
        Ok(digest)
    }

    /// Pulls a blob, checked against its digest.
    pub async fn pull_blob(&self, repository: &str, digest: &Digest) -> Result<Bytes> {
        let response =
            self.send(Request::get(format!("/v2/{repository}/blobs/{digest}")), Body::empty()).await?;
        let bytes = collect(response.into_body(), LIMIT).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(Error::corrupt(format!(
            "the registry sent other bytes than those of {digest}: they hash to {found}"
        )))
    }

    async fn send(&self, request: http::request::Builder, body: Body) -> Result<Response<Body>> {
        let response = self.answer(request, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(read(status, &collect(response.into_body(), 1 << 20).await?))
    }

    async fn answer(&self, request: http::request::Builder, body: Body) -> Result<Response<Body>> {
        let request =
            request.body(body).map_err(|error| Error::invalid("no such name can be sent").because(error))?;
        self.0.send(request).await
    }
}
