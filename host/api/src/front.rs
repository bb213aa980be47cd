//! The page at `/`: what this server is and where its parts are. Everybody sees it, so nothing stands in it that is
//! anybody's.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};

use crate::ApiServices;

const STYLE: &str = ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:40rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}h1 small{font-weight:normal;opacity:.7}";

pub(crate) async fn page(State(services): State<ApiServices>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let (headers, identity) = (&parts.headers, identity(&services, &parts).await);
    let version = escape(&services.info.version);
    // The data plane is where the client came from, on another port: an address that this server listens on may be
    // none that others reach.
    let predictions = services.info.gateway.as_deref().map(|gateway| here(gateway, headers));
    let predictions = match predictions {
        Some(url) => format!(
            "<li>Predictions: <a href=\"{0}/v2\">{0}/v2</a>; each deployment has a page, \
             <code>/v2/models/NAME/docs</code> or <code>/fn/NAME/docs</code>",
            escape(&url)
        ),
        None => String::new(),
    };
    let page = format!(
        "<h1>Eyot <small>{version}</small></h1>\n\
         <p>A serverless WebAssembly platform for machine learning. This is the control plane: its API, and the registry \
         of components, models and data.\n<ul>\n\
         <li>Deployments: <a href=\"/api/v1/deployments\">/api/v1/deployments</a>\n\
         <li>Pipeline runs: <a href=\"/api/v1/pipeline-runs\">/api/v1/pipeline-runs</a>\n\
         <li>Registered models: <a href=\"/api/v1/models\">/api/v1/models</a>\n\
         <li>Registry: <a href=\"/v2/_catalog\">/v2</a>, for skopeo, oras, buildah and <code>eyot push</code>\n\
         {predictions}\n</ul>\n\
         <p>{identity} \
         <code>eyot --help</code> has every command, <code>eyot doctor</code> says what is missing.\n"
    );
    (page_headers("'self'"), Html(page_of("Eyot", &page))).into_response()
}

/// Who looks at the page, and how to be somebody else.
async fn identity(services: &ApiServices, parts: &Parts) -> String {
    let caller = services.access.authenticate(parts).await.ok();
    let name = caller.as_ref().and_then(|caller| caller.principal()).map(|(_, name)| escape(name));
    match name {
        Some(name) => format!(
            "<form method=\"post\" action=\"/sign-out\">You are signed in as <b>{name}</b>. <button>Sign out</button></form>"
        ),
        None if services.access.has_users() => "<a href=\"/sign-in\">Sign in</a> to see what is yours.".to_owned(),
        None => "Where a link answers 401, show a token: <code>eyot token create NAME --role viewer</code> makes one."
            .to_owned(),
    }
}

/// A page of this server.
pub(crate) fn page_of(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         {body}</html>\n"
    )
}

/// Its headers; `forms` says where its forms go.
pub(crate) fn page_headers(forms: &str) -> [(HeaderName, HeaderValue); 3] {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action {forms}"
    );
    let policy =
        HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

/// A URL of this server with the host by which the client knows it.
fn here(url: &str, headers: &HeaderMap) -> String {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = match asked.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => asked,
    };
    let parts = url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?.1)));
    match parts {
        Some((scheme, port)) if !host.is_empty() => format!("{scheme}://{host}:{port}"),
        _ => url.to_owned(),
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_plane_is_on_the_host_that_was_asked() {
        for (host, expected) in [
            ("", "http://0.0.0.0:8080"),
            ("eyot.example:8090", "http://eyot.example:8080"),
            ("eyot.example", "http://eyot.example:8080"),
            ("[::1]:8090", "http://[::1]:8080"),
            ("127.0.0.1:1", "http://127.0.0.1:8080"),
        ] {
            let mut headers = HeaderMap::new();
            if !host.is_empty() {
                headers.insert(header::HOST, HeaderValue::from_static(host));
            }
            assert_eq!(here("http://0.0.0.0:8080", &headers), expected, "{host}");
        }
    }
}
