//! Asking over HTTP. A status is an answer, not a failure, and so is a redirect.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use ureq::Agent;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
    /// The header Content-Type, if there was one.
    pub content_type: Option<String>,
    /// The header Retry-After, if there was one.
    pub retry_after: Option<String>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every header of that name, in lower case.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Keeps connections, as clients do. Nothing here takes a minute unless it hangs.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // A request that must be refused may show a body that its method seldom has.
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)));
    config.build().into()
});

/// Asks for what is at a URL.
pub fn get(url: &str) -> Result<Answer> {
    read(AGENT.get(url).call().with_context(|| format!("GET {url}"))?)
}

pub(crate) fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    let request =
        headers.iter().fold(AGENT.post(url), |request, (name, value)| request.header(*name, *value));
    read(request.send(&body).with_context(|| format!("POST {url}"))?)
}

/// Any request.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    read(AGENT.run(request.body(body)?).with_context(|| format!("{method} {url}"))?)
}

pub(crate) fn put(url: &str, body: Vec<u8>) -> Result<Answer> {
    let request = AGENT.put(url).header("content-type", "application/json");
    read(request.send(&body).with_context(|| format!("PUT {url}"))?)
}

pub(crate) fn delete(url: &str) -> Result<Answer> {
    read(AGENT.delete(url).call().with_context(|| format!("DELETE {url}"))?)
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = response.status().as_u16();
    let header =
        |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let headers = response
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let headers = headers.collect();
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let body =
        response.body_mut().with_config().limit(256 << 20).read_to_vec().context("the answer ended early")?;
    Ok(Answer { status, body, headers, content_type, retry_after })
}
