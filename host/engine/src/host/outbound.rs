//! Requests over HTTP that a component sends: only to where it was granted.

use std::sync::Arc;

use http::Request;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

use crate::logs::{Sink, Stream};
use crate::reach::Reach;

/// Lets requests out, or not.
pub(crate) struct Outbound {
    reach: Arc<Reach>,
    sink: Arc<dyn Sink>,
}

impl Outbound {
    pub(crate) fn new(reach: Arc<Reach>, sink: Arc<dyn Sink>) -> Self {
        Self { reach, sink }
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let uri = request.uri();
        if !self.reach.http.iter().any(|destination| destination.holds(uri)) {
            let host = uri.authority().map_or("nowhere", |authority| authority.as_str());
            self.sink.line(Stream::Stderr, &format!("a request to {host} was not sent: it is not granted"));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        Box::new(async move {
            let (response, io) = default_send_request(request, options).await?;
            Ok((response.map(http_body_util::BodyExt::boxed_unsync), Box::new(io) as Io))
        })
    }
}
