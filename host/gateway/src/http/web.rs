//! Components that answer HTTP themselves: which requests are theirs, what they are told of them, and
//! what is counted.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use eyot_core::{Error, Kind, Result, config};
use eyot_engine::{Streamed, Web};
use eyot_http::PacedBody;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri, header, request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Body, Frame, SizeHint};

use crate::http::answers::{Failure, Out, Refusal};
use crate::http::body::Received;
use crate::http::predict::Call;
use crate::protocol::too_large;
use crate::serving::endpoint::Live;
use crate::serving::mounted::{Found, spin};
use crate::serving::state::GatewayState;
use crate::serving::stats::Counted;
use crate::serving::trace::TRACEPARENT;

pub(crate) async fn answer(
    gateway: &Arc<GatewayState>,
    found: Found,
    request: Request<Received>,
    peer: SocketAddr,
) -> Response<Out> {
    let (parts, body) = request.into_parts();
    let call = Call::new(gateway, &parts.headers, None);
    let attempted = attempt(gateway, &call, &found, parts, body, peer).await;
    let signed = call.ended(gateway, found.mounted.endpoint.name.as_str(), attempted.as_ref().err());
    let mut answer = attempted.unwrap_or_else(|error| Refusal::from(error).answer().map(Out::Http));
    answer.headers_mut().extend(signed);
    answer
}

async fn attempt(
    gateway: &Arc<GatewayState>,
    call: &Call,
    found: &Found,
    parts: request::Parts,
    body: Received,
    peer: SocketAddr,
) -> Result<Response<Out>> {
    gateway.refuse_when_draining()?;
    let endpoint = &found.mounted.endpoint;
    let told = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
    let key = endpoint.key(told, |_| None);
    let live = endpoint.route(None, key.as_deref())?;
    let counted = Counted::begin(live.stats.clone(), call.started);
    let limit = gateway.config.max_body.0;
    match ask(gateway, call, found, &live, parts, body, peer, limit).await {
        Ok((response, held)) => {
            let status = response.status();
            let counted = Some(counted);
            Ok(response
                .map(|inner| Out::of_guest(Told { inner, counted, held, failed: status.is_server_error() })))
        }
        Err(error) => {
            counted.end(Err(error.kind()));
            call.note(&live, &error);
            Err(error)
        }
    }
}

#[allow(clippy::too_many_arguments)]
async fn ask(
    gateway: &GatewayState,
    call: &Call,
    found: &Found,
    live: &Arc<Live>,
    parts: request::Parts,
    body: Received,
    peer: SocketAddr,
    limit: u64,
) -> Result<(Response<Streamed>, Held)> {
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let web = live.web()?;
    let deadline = call.started + live.revision.timeout;
    let arrived = Instant::now();
    let permit = live.gate.enter(deadline).await?;
    permit.forget();
    let held = Held(live.clone());
    let begun = Instant::now();
    live.stats.queue.add(begun - arrived);
    let request = told(gateway, call, found, parts, peer)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = match body.is_end_stream() {
        true => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        false => Limited::new(paced(body, &gateway.config), limit).boxed_unsync(),
    };
    let answered = web.answer(request.map(|()| body)).await;
    live.stats.inference.add(begun.elapsed());
    Ok((answered?, held))
}

/// A body that a component reads as it comes. A client that sends too slowly for too long is not waited for: it
/// would keep an instance to itself.
fn paced(body: Received, config: &config::Gateway) -> PacedBody<Received> {
    PacedBody::new(body, config.body_timeout.0, config.body_rate.0)
}

/// The request as a component sees it: its whole address, and where the route stands in it under the
/// names that Spin gives.
fn told(
    gateway: &GatewayState,
    call: &Call,
    found: &Found,
    parts: request::Parts,
    peer: SocketAddr,
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
    spin::tell(&mut headers, &found.mounted.told, &found.matched, &uri, peer);
    if let Some(Ok(traceparent)) = call.traceparent().map(HeaderValue::try_from) {
        headers.insert(TRACEPARENT, traceparent);
    }
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A place among the requests that a revision works on, until the answer has gone out.
struct Held(Arc<Live>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

/// A component's answer as it goes out; how it ends is counted.
struct Told {
    inner: Streamed,
    counted: Option<Counted>,
    #[expect(dead_code, reason = "dropped with the answer, to make room for the next")]
    held: Held,
    failed: bool,
}

impl Told {
    fn end(&mut self, broke: Option<Kind>) {
        if let Some(counted) = self.counted.take() {
            let outcome = broke.or(self.failed.then_some(Kind::Failed));
            counted.end(outcome.map_or(Ok(()), Err));
        }
    }
}

impl Body for Told {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Failure>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.end(None),
            Poll::Ready(Some(Err(_))) => self.end(Some(Kind::Failed)),
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

impl Live {
    /// What answers HTTP. Fails with `NotFound` where this revision has no such thing.
    fn web(&self) -> Result<&Arc<Web>> {
        self.revision.web.as_ref().ok_or_else(|| {
            let (name, revision) = (&self.revision.deployment, self.revision.revision);
            Error::not_found(format!("revision {revision} of '{name}' answers no HTTP"))
                .hint("eyot traffic sends requests to a revision that does")
        })
    }
}
