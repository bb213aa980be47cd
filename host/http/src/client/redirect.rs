//! Following redirects, and what goes along.

use eyot_core::Error;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use tokio::time::Instant;

use super::body::ReceivedBody;
use super::failure::{RequestFailure, origin};
use super::{HttpClient, RequestBody};

/// What is done with an answer that names another place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectPolicy {
    /// It is handed back.
    #[default]
    Refuse,
    /// GET and HEAD are sent on, this often at most: never from HTTPS to HTTP, under the same policy of addresses, and
    /// with secrets for nobody but the first who was asked. Other methods would do there what they were to do here.
    Follow { max_redirects: usize },
}

/// Headers that are meant for one server.
const SECRET_HEADERS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

pub(super) fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl HttpClient {
    /// Sends a request, and on to where the answers say.
    pub(super) async fn follow(
        &self,
        request: Request<RequestBody>,
        max_redirects: usize,
        deadline: Option<Instant>,
    ) -> Result<Response<ReceivedBody>, RequestFailure> {
        let (method, first, headers) =
            (request.method().clone(), request.uri().clone(), request.headers().clone());
        let mut response = self.exchange(request, deadline).await?;
        let mut here = first.clone();
        for _ in 0..max_redirects {
            let Some(location) = location(&response) else { return Ok(response) };
            here = next(&first, &here, location)?;
            response = self.exchange(repeated(&method, &first, &here, &headers), deadline).await?;
        }
        match location(&response) {
            Some(_) => Err(unusable(format!("{} sends on and on", origin(&first)))),
            None => Ok(response),
        }
    }
}

/// Where an answer sends on to.
fn location(response: &Response<ReceivedBody>) -> Option<&HeaderValue> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    response.headers().get(header::LOCATION).filter(|_| is_redirect)
}

fn next(first: &Uri, here: &Uri, location: &HeaderValue) -> Result<Uri, RequestFailure> {
    let next = join(here, location)
        .ok_or_else(|| unusable(format!("{} sends on to something that is no URL", origin(first))))?;
    if next.scheme() != Some(&Scheme::HTTPS) && first.scheme() == Some(&Scheme::HTTPS) {
        let (first, next) = (origin(first), origin(&next));
        let text = format!("{first} sends on to {next}, which is not encrypted");
        return Err(RequestFailure::ForbiddenRedirect(Error::denied(text)));
    }
    Ok(next)
}

fn repeated(method: &Method, first: &Uri, next: &Uri, headers: &HeaderMap) -> Request<RequestBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
        (method.clone(), next.clone(), headers.clone());
    let headers = request.headers_mut();
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    if first.authority() != next.authority() {
        SECRET_HEADERS.iter().for_each(|name| drop(headers.remove(name)));
    }
    request
}

/// What a `Location` means, seen from `base`.
fn join(base: &Uri, location: &HeaderValue) -> Option<Uri> {
    let target: Uri = location.to_str().ok()?.parse().ok()?;
    if target.scheme().is_some() {
        return target.authority().is_some().then_some(target);
    }
    let mut parts = base.clone().into_parts();
    if target.path().starts_with('/') {
        parts.path_and_query = target.into_parts().path_and_query;
        return Uri::from_parts(parts).ok();
    }
    None
}

fn unusable(text: String) -> RequestFailure {
    RequestFailure::ForbiddenRedirect(Error::unavailable(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn redirections_are_read_against_where_they_came_from() {
        let base: Uri = "https://a.example/v2/x?y=1".parse().unwrap();
        for (location, expected) in [
            ("https://b.example/z", Some("https://b.example/z")),
            ("/z?q=2", Some("https://a.example/z?q=2")),
            ("z", None),
            ("", None),
        ] {
            let found = join(&base, &HeaderValue::from_static(location)).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }
}
