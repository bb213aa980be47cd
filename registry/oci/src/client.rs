use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::manifest::module_manifest;
use crate::manifest::{Descriptor, Manifest};
use crate::response::{next_page_path, read_body, read_error};
use crate::{BuiltManifest, Transport, component_manifest, model_manifest};

/// A manifest as a registry sent it, verified against the requested digest.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    pub digest: ContentDigest,
    pub media_type: String,
    pub bytes: Bytes,
}

/// A client of the OCI distribution API.
#[derive(Clone)]
pub struct RegistryClient {
    transport: Transport,
    /// Told of bytes as they are handed to the connection.
    sent: Option<UploadObserver>,
}

type UploadObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// An artifact that was pushed, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedArtifact {
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
const MAX_BLOB_BYTES: usize = 2 << 30;
/// The granularity of a progress bar.
const PROGRESS_STEP_BYTES: usize = 256 << 10;
/// The largest manifest that is pulled.
const MAX_MANIFEST_BYTES: usize = 4 << 20;

impl RegistryClient {
    /// A client over `transport`.
    pub fn with_transport(transport: Transport) -> Self {
        Self { transport, sent: None }
    }

    /// The same client, of whose uploads `sent` hears piece by piece: for a progress bar.
    pub fn watched(&self, sent: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { transport: self.transport.clone(), sent: Some(Arc::new(sent)) }
    }

    /// Pushes a component: its bytes, a config that says what it imports and exports, a manifest.
    ///
    /// Fails with `Invalid` when the bytes are no component.
    pub async fn push_component(
        &self,
        repository: &str,
        tag: Option<&str>,
        wasm: Bytes,
    ) -> Result<PushedArtifact> {
        self.push_component_declaring(repository, tag, wasm, &[]).await
    }

    /// The same of a component that declares models, by the names under which it opens them: whoever deploys it has to
    /// grant it each.
    pub async fn push_component_declaring(
        &self,
        repository: &str,
        tag: Option<&str>,
        wasm: Bytes,
        models: &[String],
    ) -> Result<PushedArtifact> {
        let built = component_manifest(repository, &wasm, models)?;
        self.push(repository, tag, built, wasm).await
    }

    /// Pushes a model in ONNX; `file` is the name it is unpacked under.
    pub async fn push_model(
        &self,
        repository: &str,
        tag: Option<&str>,
        file: &str,
        onnx: Bytes,
    ) -> Result<PushedArtifact> {
        let built = model_manifest(repository, file, &onnx)?;
        self.push(repository, tag, built, onnx).await
    }

    /// Attaches the core module to the component that was made of it, so that it can be pulled as it was built;
    /// answers the manifest that holds it.
    pub async fn attach_module(
        &self,
        repository: &str,
        component: &Digest,
        module: Bytes,
    ) -> Result<ContentDigest> {
        let about = self.manifest(repository, &component.to_string()).await?;
        let size = about.bytes.len() as u64;
        let built = module_manifest((&about.media_type, component, size), repository, &module)?;
        self.push_blob(repository, built.config.clone()).await?;
        self.push_blob(repository, module).await?;
        self.put_manifest(repository, None, built.media_type(), built.manifest).await
    }

    pub(crate) async fn push(
        &self,
        repository: &str,
        tag: Option<&str>,
        built: BuiltManifest,
        content: Bytes,
    ) -> Result<PushedArtifact> {
        let size = content.len() as u64;
        let digest = Digest::of(&built.manifest);
        let target = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let media_type = built.media_type();
        self.push_blob(repository, built.config).await?;
        let content = self.push_blob(repository, content).await?;
        let request = Request::put(format!("/v2/{repository}/manifests/{target}"))
            .header(header::CONTENT_TYPE, media_type);
        self.send(request, Body::from(built.manifest)).await?;
        Ok(PushedArtifact {
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
            content,
            size,
        })
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
        self.send(request, self.body(bytes)).await?;
        Ok(digest)
    }

    fn body(&self, bytes: Bytes) -> Body {
        let Some(sent) = self.sent.clone() else { return Body::from(bytes) };
        let pieces = (0..bytes.len()).step_by(PROGRESS_STEP_BYTES).map(move |start| {
            let piece = bytes.slice(start..bytes.len().min(start + PROGRESS_STEP_BYTES));
            sent(piece.len() as u64);
            Ok::<_, std::convert::Infallible>(piece)
        });
        Body::from_stream(futures::stream::iter(pieces))
    }

    /// Pulls a blob, checked against its digest.
    pub async fn pull_blob(&self, repository: &str, digest: &Digest) -> Result<Bytes> {
        let response =
            self.send(Request::get(format!("/v2/{repository}/blobs/{digest}")), Body::empty()).await?;
        let bytes = read_body(response.into_body(), MAX_BLOB_BYTES).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(Error::corrupt(format!(
            "the registry sent other bytes than those of {digest}: they hash to {found}"
        )))
    }

    /// Pulls a blob by either algorithm, checked.
    pub async fn blob(&self, repository: &str, digest: &ContentDigest) -> Result<Bytes> {
        let response =
            self.send(Request::get(format!("/v2/{repository}/blobs/{digest}")), Body::empty()).await?;
        let bytes = read_body(response.into_body(), MAX_BLOB_BYTES).await?;
        checked(digest, &bytes)?;
        Ok(bytes)
    }

    /// A blob as it comes, not verified: the caller hashes it.
    pub(crate) async fn stream_blob(&self, repository: &str, digest: &ContentDigest) -> Result<Body> {
        let response =
            self.send(Request::get(format!("/v2/{repository}/blobs/{digest}")), Body::empty()).await?;
        Ok(response.into_body())
    }

    /// Pulls a manifest by tag or digest.
    pub async fn manifest(&self, repository: &str, target: &str) -> Result<FetchedManifest> {
        let request =
            Request::get(format!("/v2/{repository}/manifests/{target}")).header(header::ACCEPT, "*/*");
        let response = self.send(request, Body::empty()).await?;
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let bytes = read_body(response.into_body(), MAX_MANIFEST_BYTES).await?;
        let digest = match target.parse::<ContentDigest>() {
            Ok(digest) => {
                checked(&digest, &bytes)?;
                digest
            }
            Err(_) => Digest::of(&bytes).into(),
        };
        Ok(FetchedManifest { digest, media_type, bytes })
    }

    /// Pushes a manifest whose blobs are there, by its sha256 or under a tag; answers its digest.
    pub async fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<ContentDigest> {
        let digest = ContentDigest::from(Digest::of(&bytes));
        let target = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let request = Request::put(format!("/v2/{repository}/manifests/{target}"))
            .header(header::CONTENT_TYPE, media_type);
        self.send(request, Body::from(bytes)).await?;
        Ok(digest)
    }

    /// What refers to a manifest, of one type, if it is given.
    pub async fn referrers(
        &self,
        repository: &str,
        subject: &ContentDigest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(kind) = artifact_type {
            query.append_pair("artifactType", kind);
        }
        let mut next = Some(format!("/v2/{repository}/referrers/{subject}?{}", query.finish()));
        let mut found = Vec::new();
        while let Some(path) = next {
            let response = self.send(Request::get(path), Body::empty()).await?;
            next = next_page_path(response.headers());
            let page = Manifest::parse(&read_body(response.into_body(), MAX_BLOB_BYTES).await?)?;
            // A registry that does not filter answers with everything.
            let wanted = |entry: &Descriptor| {
                artifact_type.is_none() || entry.artifact_type.as_deref() == artifact_type
            };
            found.extend(page.manifests.into_iter().filter(wanted));
        }
        Ok(found)
    }

    /// Whether a blob is in a repository.
    pub(crate) async fn has_blob(&self, repository: &str, digest: &ContentDigest) -> Result<bool> {
        let head = Request::builder().method(Method::HEAD).uri(format!("/v2/{repository}/blobs/{digest}"));
        Ok(self.answer(head, Body::empty()).await?.status() == StatusCode::OK)
    }

    /// Pushes a blob from a body of a known length.
    pub(crate) async fn push_stream(
        &self,
        repository: &str,
        digest: &ContentDigest,
        length: u64,
        body: Body,
    ) -> Result<()> {
        let request = Request::post(format!("/v2/{repository}/blobs/uploads/?digest={digest}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length);
        self.send(request, body).await.map(drop)
    }

    /// Starts an upload; answers where it goes on.
    pub(crate) async fn start_upload(&self, repository: &str) -> Result<String> {
        let request = Request::post(format!("/v2/{repository}/blobs/uploads/"));
        let response = self.send(request, Body::empty()).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let place = location.and_then(|location| location.parse::<http::Uri>().ok());
        let place = place.and_then(|uri| uri.path_and_query().map(ToString::to_string));
        place.ok_or_else(|| Error::unavailable("the registry does not say where the upload goes on"))
    }

    /// Appends bytes to an upload.
    pub(crate) async fn append(&self, upload: &str, length: u64, body: Body) -> Result<()> {
        let request = Request::patch(upload).header(header::CONTENT_LENGTH, length);
        self.send(request, self.counted(body)).await.map(drop)
    }

    /// Appends bytes of a blob of the same repository to an upload.
    pub(crate) async fn copy_range(
        &self,
        upload: &str,
        blob: &Digest,
        offset: u64,
        length: u64,
    ) -> Result<()> {
        let separator = if upload.contains('?') { '&' } else { '?' };
        let query = format!("eyot-copy={blob}&offset={offset}&length={length}");
        self.send(Request::patch(format!("{upload}{separator}{query}")), Body::empty()).await.map(drop)
    }

    /// Completes an upload.
    pub(crate) async fn finish_upload(&self, upload: &str, digest: &Digest) -> Result<()> {
        let separator = if upload.contains('?') { '&' } else { '?' };
        self.send(Request::put(format!("{upload}{separator}digest={digest}")), Body::empty()).await.map(drop)
    }

    /// Some bytes of a blob, not checked.
    pub(crate) async fn blob_range(
        &self,
        repository: &str,
        digest: &Digest,
        offset: u64,
        length: u64,
    ) -> Result<Body> {
        if length == 0 {
            return Ok(Body::empty());
        }
        let last = offset + length - 1;
        let request = Request::get(format!("/v2/{repository}/blobs/{digest}"))
            .header(header::RANGE, format!("bytes={offset}-{last}"));
        let response = self.send(request, Body::empty()).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            return Ok(response.into_body());
        }
        Err(Error::unsupported("the registry sends no parts of blobs"))
    }

    /// A body whose bytes are counted for the observer.
    pub(crate) fn counted(&self, body: Body) -> Body {
        let Some(sent) = self.sent.clone() else { return body };
        Body::from_stream(body.into_data_stream().inspect_ok(move |piece| sent(piece.len() as u64)))
    }

    /// Makes a blob of one repository another's too; `false` when that cannot be done.
    pub(crate) async fn mount(&self, repository: &str, digest: &ContentDigest, from: &str) -> Result<bool> {
        let request = Request::post(format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}"));
        let response = self.send(request, Body::empty()).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(true);
        }
        // An upload was started instead, which nobody wants.
        if let Some(upload) =
            response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok())
        {
            let cancel = Request::builder().method(Method::DELETE).uri(upload);
            self.answer(cancel, Body::empty()).await?;
        }
        Ok(false)
    }

    async fn send(&self, request: http::request::Builder, body: Body) -> Result<Response<Body>> {
        let response = self.answer(request, body).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(read_error(status, &read_body(response.into_body(), 1 << 20).await?))
    }

    async fn answer(&self, request: http::request::Builder, body: Body) -> Result<Response<Body>> {
        let request =
            request.body(body).map_err(|error| Error::invalid("no such name can be sent").because(error))?;
        self.transport.send(request).await
    }
}

fn checked(digest: &ContentDigest, bytes: &[u8]) -> Result<()> {
    let found = digest.of_same_algorithm(bytes);
    if found == *digest {
        return Ok(());
    }
    Err(Error::corrupt(format!("the registry sent other bytes than those of {digest}: they hash to {found}")))
}
