//! Components that answer HTTP themselves: which requests are theirs, what they are told of them, and
//! what is counted.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result, config};
use eyot_engine::StreamedBody;
use eyot_http::PacedBody;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header, request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body, Frame, SizeHint};

use crate::http::answers::{self, BodyError, ErrorResponse, ResponseBody};
use crate::http::body::RequestBody;
use crate::protocol::too_large;
use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::exchange::{Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::mounted::{RouteMatch, spin};
use crate::serving::pipeline::{RequestWork, serve};
use crate::serving::state::GatewayState;
use crate::serving::trace::TRACEPARENT_HEADER;

pub(super) async fn answer(
    gateway: &Arc<GatewayState>,
    found: RouteMatch,
    request: Request<RequestBody>,
    caller: SocketAddr,
) -> Response<ResponseBody> {
    let exchange = gateway.begin(ExchangeKind::Http, request.headers(), caller);
    serve(exchange, HttpWork { gateway, found, request }).await
}

/// A request that a component answers.
struct HttpWork<'a> {
    gateway: &'a Arc<GatewayState>,
    found: RouteMatch,
    request: Request<RequestBody>,
}

impl RequestWork for HttpWork<'_> {
    type Input = ();
    type Call = ();
    type Answer = Response<StreamedBody>;
    type Failure = Error;
    type Response = Response<ResponseBody>;

    fn gateway(&self) -> &GatewayState {
        self.gateway
    }

    fn name(&self) -> &str {
        self.found.mounted.endpoint.name.as_str()
    }

    fn find(&self) -> Result<Arc<DeploymentEntry>> {
        Ok(self.found.mounted.endpoint.clone())
    }

    /// The component reads the body as it comes.
    async fn read(&mut self, exchange: &mut Exchange, _: &DeploymentEntry) -> Result<()> {
        exchange.sizes.request_bytes = self.request.body().size_hint().exact();
        Ok(())
    }

    fn select(&self, deployment: &DeploymentEntry, (): &()) -> Result<Arc<ServingRevision>> {
        let headers = self.request.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        let key = deployment.sticky_key(header, |_| None);
        deployment.route(None, key.as_deref())
    }

    fn prepare(&mut self, _: &mut Exchange, revision: &ServingRevision, (): ()) -> Result<()> {
        let limit = self.gateway.config.max_body.0;
        if self.request.body().size_hint().lower() > limit {
            return Err(too_large(limit));
        }
        revision.web().map(|_| ())
    }

    async fn run(
        self,
        exchange: &mut Exchange,
        revision: Arc<ServingRevision>,
        (): (),
    ) -> Result<Response<StreamedBody>> {
        let Self { gateway, found, request } = self;
        let (parts, body) = request.into_parts();
        let request = guest_request(gateway, exchange, &found, parts)?;
        let limit = usize::try_from(gateway.config.max_body.0).unwrap_or(usize::MAX);
        let body = match body.is_end_stream() {
            true => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            false => Limited::new(paced(body, &gateway.config), limit).boxed_unsync(),
        };
        let answered = revision.web()?.answer(request.map(|()| body)).await;
        exchange.record_response_head();
        answered
    }

    fn respond(mut exchange: Exchange, attempted: Result<Response<StreamedBody>>) -> Response<ResponseBody> {
        let (traceparent, id) =
            (answers::traceparent(&exchange), HeaderValue::try_from(exchange.id.as_str()).ok());
        let mut answer = match attempted {
            Ok(response) => {
                let failed = response.status().is_server_error();
                response.map(|inner| ResponseBody::of_guest(WatchedBody::new(inner, exchange, failed)))
            }
            Err(error) => {
                let refusal = ErrorResponse::from(error);
                let answer = refusal.answer();
                exchange.sizes.response_bytes = Some(answer.body().len() as u64);
                exchange.end(ExchangeOutcome::Failed(refusal.error));
                answer.map(ResponseBody::Http)
            }
        };
        answers::name(answer.headers_mut(), traceparent, id);
        answer
    }
}

/// A body that a component reads as it comes. A client that sends too slowly for too long is not waited for: it
/// would keep an instance to itself.
fn paced(body: RequestBody, config: &config::GatewaySettings) -> PacedBody<RequestBody> {
    PacedBody::new(body, config.body_timeout.0, config.body_rate.0)
}

/// The request as a component sees it: its whole address, and where the route stands in it under the
/// names that Spin gives.
fn guest_request(
    gateway: &GatewayState,
    exchange: &Exchange,
    found: &RouteMatch,
    parts: request::Parts,
) -> Result<Request<()>> {
    let wrong = |what: &str| Error::invalid(format!("the request's {what} cannot be read"));
    let named = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority: Authority = match (parts.uri.authority(), named) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => host.parse().map_err(|_| wrong("host"))?,
        (None, None) => gateway.config.listen.to_string().parse().map_err(|_| wrong("host"))?,
    };
    let scheme = if gateway.config.tls().is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let mut uri = parts.uri.into_parts();
    (uri.scheme, uri.authority) = (Some(scheme), Some(authority));
    let uri = Uri::from_parts(uri).map_err(|_| wrong("address"))?;
    let mut request = Request::new(());
    let mut headers = parts.headers;
    spin::set_route_headers(&mut headers, &found.mounted.headers, &found.matched, &uri, exchange.caller);
    if let Some(traceparent) = answers::traceparent(exchange) {
        headers.insert(TRACEPARENT_HEADER, traceparent);
    }
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A component's answer as it goes out. The exchange ends with it: well or broken off, or, where it is dropped
/// before, as one whose client has gone. Until then it keeps its place among the requests that the revision works on.
struct WatchedBody {
    inner: StreamedBody,
    exchange: Exchange,
    failed: bool,
}

impl WatchedBody {
    fn new(inner: StreamedBody, exchange: Exchange, failed: bool) -> Self {
        let is_empty = inner.is_end_stream();
        let mut watched = Self { inner, exchange, failed };
        // Nobody asks an empty body for its parts.
        if is_empty {
            watched.end(None);
        }
        watched
    }

    fn end(&mut self, broke: Option<ErrorKind>) {
        self.exchange.sizes.response_bytes.get_or_insert_default();
        let declined = broke.or(self.failed.then_some(ErrorKind::Failed));
        self.exchange.end(declined.map_or(ExchangeOutcome::Answered, ExchangeOutcome::Declined));
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            *self.exchange.sizes.response_bytes.get_or_insert_default() += bytes;
        }
        match &polled {
            Poll::Ready(None) => self.end(None),
            Poll::Ready(Some(Err(_))) => self.end(Some(ErrorKind::Failed)),
            Poll::Ready(Some(Ok(_))) if self.inner.is_end_stream() => self.end(None),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use futures::stream;
    use http_body_util::StreamBody;
    use parking_lot::Mutex;

    use super::*;
    use crate::serving::exchange::observer::{Capture, Observer, ObserverList};

    /// Keeps how requests ended, and how much of an answer had gone out.
    #[derive(Default)]
    struct Ends(Mutex<Vec<String>>);

    impl Observer for Ends {
        fn interested(&self, _: &Exchange) -> Capture {
            Capture::Figures
        }

        fn finished(&self, exchange: &Exchange) {
            let outcome = match exchange.outcome() {
                ExchangeOutcome::Answered => "answered".to_owned(),
                ExchangeOutcome::Declined(kind) => kind.as_str().to_owned(),
                ExchangeOutcome::Failed(error) => error.chain(),
                ExchangeOutcome::Cancelled => "cancelled".to_owned(),
            };
            let bytes = exchange.sizes.response_bytes.unwrap_or_default();
            self.0.lock().push(format!("{outcome} {bytes}"));
        }
    }

    /// A body of these parts, which breaks off after them or not.
    fn body(parts: &[&'static str], breaks: bool) -> StreamedBody {
        let parts = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
        let broken = breaks.then(|| Err(BodyError::from("broken")));
        StreamBody::new(stream::iter(parts.chain(broken).collect::<Vec<_>>())).boxed_unsync()
    }

    #[tokio::test]
    async fn an_exchange_ends_with_the_last_part_of_its_answer() {
        for (inner, failed, read_parts, expected) in [
            (body(&["one", "two"], false), false, 3, "answered 6"),
            (body(&["one", "two"], false), true, 3, "failed 6"),
            (body(&["one"], true), false, 2, "failed 3"),
            (body(&["one", "two"], false), false, 1, "cancelled 3"),
            (Empty::new().map_err(|never| match never {}).boxed_unsync(), false, 0, "answered 0"),
        ] {
            let ends = Arc::new(Ends::default());
            let observers = Arc::new(ObserverList::new(vec![ends.clone()]).unwrap());
            let caller = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
            let exchange = Exchange::begin(ExchangeKind::Http, caller, None, None, observers);
            let mut watched = WatchedBody::new(inner, exchange, failed);
            for _ in 0..read_parts {
                assert!(ends.0.lock().is_empty(), "{expected}");
                let _ = watched.frame().await;
            }
            drop(watched);
            assert_eq!(*ends.0.lock(), [expected]);
        }
    }
}
