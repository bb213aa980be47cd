//! Keeps web pages of others from driving a server that a browser reaches.
//!
//! A page of any origin can send requests to a server on loopback or in the same network, and with DNS
//! rebinding it can read the answers: it has the browser ask for a name of its own that leads here. So a
//! request must name a host by which this server is meant to be known, and one that changes something must
//! not come from a page of another origin. Programs send no such headers and pass.

use std::net::{Ipv4Addr, Ipv6Addr};

use eyot_core::{Error, Result};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, header};

use crate::cors::CorsPolicy;

/// The check for one plane.
#[derive(Clone, Debug)]
pub struct RequestGuard {
    /// The section of the configuration that errors name.
    section: &'static str,
    hosts: Vec<HostPattern>,
    /// Where forms of our own pages go.
    form_paths: &'static [&'static str],
    cors: CorsPolicy,
}

/// Why a request is not looked at, and with which status.
#[derive(Debug)]
pub struct GuardRejection {
    pub status: StatusCode,
    pub error: Error,
}

/// A host by which a server may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Exactly(String),
    /// `*.example.com`, without the star.
    Below(String),
    Any,
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Any);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return None;
        }
        Some(if below { Self::Below(format!(".{name}")) } else { Self::Exactly(name.to_owned()) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name),
            Self::Below(suffix) => is_below(host, suffix),
            Self::Any => true,
        }
    }
}

impl RequestGuard {
    /// Lets in requests to addresses, to `localhost` and to `hosts`, and pages of `origins`. `section` is the
    /// part of the configuration in which both stand.
    ///
    /// Fails with `Invalid` naming what is no host or no origin.
    pub fn new(section: &'static str, hosts: &[String], origins: &[String]) -> Result<Self> {
        let pattern = |text: &String| {
            HostPattern::parse(text).ok_or_else(|| {
                Error::invalid(format!("{section}.hosts: '{text}' is no name of a host"))
                    .hint("write models.example.com or *.example.com, without scheme and port")
            })
        };
        let hosts = hosts.iter().map(pattern).collect::<Result<_>>()?;
        Ok(Self { section, hosts, form_paths: &[], cors: CorsPolicy::new(section, origins)? })
    }

    /// The same for a server that is also known by the host of `url`; an empty one is none.
    pub fn with_url(mut self, url: &str) -> Self {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        self.hosts.extend(host_of(authority).map(|host| HostPattern::Exactly(host.to_ascii_lowercase())));
        self
    }

    /// The same for a server whose own pages have forms that go to these paths.
    pub fn with_forms(self, form_paths: &'static [&'static str]) -> Self {
        Self { form_paths, ..self }
    }

    /// What pages of other origins are told.
    pub fn cors(&self) -> &CorsPolicy {
        &self.cors
    }

    /// Checks both what host a request names and where it comes from.
    pub fn check(&self, parts: &Parts) -> Result<(), GuardRejection> {
        self.check_host(&parts.uri, &parts.headers)?;
        self.check_origin(parts)
    }

    /// Checks that a request names this server. One without a host passes: no browser sends such.
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), GuardRejection> {
        let mut named = headers.get_all(header::HOST).iter();
        let first = named.next();
        if named.next().is_some() {
            return Err(self.misdirected(StatusCode::BAD_REQUEST, "two hosts"));
        }
        let header = match first.map(|value| value.to_str()) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => return Err(self.misdirected(StatusCode::BAD_REQUEST, "no text")),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str);
        for shown in [header, authority].into_iter().flatten() {
            if shown.is_empty() {
                continue;
            }
            if !host_of(shown).is_some_and(|host| self.knows(host)) {
                return Err(self.misdirected(StatusCode::MISDIRECTED_REQUEST, shown));
            }
        }
        Ok(())
    }

    /// Whether this is a host by which the server is known: an address, this machine, or one of the list.
    fn knows(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // A name that leads here may be anybody's; an address is nobody's but ours, since it was connected to.
        let is_address = match bare {
            Some(v6) => v6.split('%').next().unwrap_or_default().parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok(),
        };
        is_address
            || host.eq_ignore_ascii_case("localhost")
            || is_below(host, ".localhost")
            || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    fn misdirected(&self, status: StatusCode, shown: &str) -> GuardRejection {
        let shown: String = shown.chars().take(100).collect();
        let section = self.section;
        let error = Error::denied(format!("this server is not known as '{shown}'"))
            .hint(format!("ask it by its address or localhost, or have {section}.hosts list that name"));
        GuardRejection { status, error }
    }

    /// Checks that a request which may change something comes from no page of another origin, and that what
    /// a page sends says that it is what it is: a form of another origin can send text, but no JSON.
    pub fn check_origin(&self, parts: &Parts) -> Result<(), GuardRejection> {
        if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        let Some(source) = RequestSource::of(&parts.headers) else { return Ok(()) };
        let is_ours = match source {
            RequestSource::Page(origin) => is_same_origin(origin, parts) || self.cors.allows(origin),
            // Says of itself whether another origin is at work; a browser writes it, and no page can.
            RequestSource::Site(site, origin) => {
                matches!(site, "same-origin" | "none")
                    || origin.is_some_and(|origin| self.cors.allows(origin))
            }
        };
        if !is_ours {
            let section = self.section;
            let error = Error::denied("a page of another origin may not change anything here")
                .hint(format!("{section}.origins lists the origins whose pages may"));
            return Err(GuardRejection { status: StatusCode::FORBIDDEN, error });
        }
        let is_our_form = self.form_paths.contains(&parts.uri.path());
        if parts.headers.contains_key(header::ORIGIN)
            && has_body(parts)
            && is_form(&parts.headers)
            && !is_our_form
        {
            let error = Error::invalid("what a page sends must say what it is")
                .hint("send JSON with content-type: application/json");
            return Err(GuardRejection { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, error });
        }
        Ok(())
    }
}

/// Whether something stands before `suffix`, whatever the case of either.
fn is_below(host: &str, suffix: &str) -> bool {
    let tail = host.len().checked_sub(suffix.len()).filter(|start| *start > 0);
    tail.and_then(|start| host.get(start..)).is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

/// Who a browser says is behind a request.
enum RequestSource<'a> {
    /// `Sec-Fetch-Site`, and the origin beside it.
    Site(&'a str, Option<&'a str>),
    Page(&'a str),
}

impl<'a> RequestSource<'a> {
    /// None for a program.
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        // What is no text is nothing that a browser sends, and matches nothing.
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
        match (text("sec-fetch-site"), text("origin")) {
            (Some(site), origin) => Some(Self::Site(site, origin)),
            (None, Some(origin)) => Some(Self::Page(origin)),
            (None, None) => None,
        }
    }
}

/// Whether an origin is the host that the request names.
fn is_same_origin(origin: &str, parts: &Parts) -> bool {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or(host);
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    // An origin leaves out its scheme's own port; a host may write it.
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    host.is_some_and(|host| bare(host) == bare(authority))
}

fn has_body(parts: &Parts) -> bool {
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.is_some_and(|length| length.trim() != "0") || parts.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Whether this is what a form, or a script that asks nobody first, may send to any origin.
fn is_form(headers: &HeaderMap) -> bool {
    let Some(said) = headers.get(header::CONTENT_TYPE) else { return true };
    let said = said.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let simple = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
    said.is_empty() || simple.iter().any(|simple| said.eq_ignore_ascii_case(simple))
}

/// The host of an authority, brackets of an address of IPv6 included; none where it is no authority.
fn host_of(authority: &str) -> Option<&str> {
    if authority.contains('@') {
        return None;
    }
    let (host, rest) = match authority.find(']') {
        Some(end) if authority.starts_with('[') => authority.split_at(end + 1),
        _ => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    (is_whole && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http::Request;

    fn guard() -> RequestGuard {
        let hosts = ["models.example".to_owned(), "*.lab.example".to_owned()];
        let guard = RequestGuard::new("api", &hosts, &["https://ui.example".to_owned()]).unwrap();
        guard.with_url("https://Registry.example:5000/base")
    }

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri("/");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_server_is_known_by_its_addresses_and_names() {
        for (host, known) in [
            ("127.0.0.1", true),
            ("127.0.0.1:8090", true),
            ("10.1.2.3:80", true),
            ("[::1]", true),
            ("[::1]:8090", true),
            ("[fe80::1%25eth0]:8090", true),
            ("localhost", true),
            ("LocalHost:1", true),
            ("localhost.", true),
            ("app.localhost:8090", true),
            ("models.example", true),
            ("MODELS.example:443", true),
            ("a.lab.example", true),
            ("registry.example", true),
            ("registry.example:5000", true),
            ("lab.example", false),
            ("evil.example", false),
            ("10.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil-localhost", false),
            ("localhost.evil.example", false),
            ("models.example.evil.example", false),
            ("[::1].evil.example", false),
            ("[evil]", false),
            ("::1", false),
            ("127.0.0.1:evil", false),
            ("user@localhost", false),
            ("0x7f.1", false),
            ("2130706433", false),
            (":8090", false),
        ] {
            let got = guard().check(&parts("GET", &[("host", host)]));
            assert_eq!(got.is_ok(), known, "{host}");
            if let Err(rejection) = got {
                assert_eq!(rejection.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
                assert!(rejection.error.hint_text().unwrap().contains("api.hosts"));
            }
        }
        assert!(guard().check(&parts("GET", &[])).is_ok(), "no browser sends no host");
        let two = parts("GET", &[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(guard().check(&two).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_address_of_http2_and_of_proxies_counts_too() {
        let request = Request::builder().uri("http://evil.example/").header("host", "localhost");
        assert!(guard().check(&request.body(()).unwrap().into_parts().0).is_err());
        let request = Request::builder().uri("http://localhost:8090/");
        assert!(guard().check(&request.body(()).unwrap().into_parts().0).is_ok());
    }

    #[test]
    fn pages_of_other_origins_change_nothing() {
        let host = ("host", "localhost:8090");
        for (method, headers, status) in [
            ("POST", vec![], None),
            ("POST", vec![("content-type", "text/plain"), ("content-length", "2")], None),
            ("GET", vec![("origin", "http://evil.example")], None),
            ("OPTIONS", vec![("origin", "http://evil.example")], None),
            ("POST", vec![("origin", "http://localhost:8090")], None),
            ("POST", vec![("origin", "http://LOCALHOST:8090")], None),
            ("POST", vec![("origin", "https://ui.example")], None),
            ("POST", vec![("origin", "http://evil.example")], Some(403)),
            ("DELETE", vec![("origin", "http://evil.example")], Some(403)),
            ("PATCH", vec![("origin", "http://evil.example")], Some(403)),
            ("POST", vec![("origin", "null")], Some(403)),
            ("POST", vec![("origin", "")], Some(403)),
            ("POST", vec![("origin", "localhost:8090")], Some(403)),
            ("POST", vec![("origin", "http://localhost")], Some(403)),
            ("POST", vec![("origin", "http://localhost:8080")], Some(403)),
            ("POST", vec![("origin", "http://localhost:8090.evil.example")], Some(403)),
            ("POST", vec![("sec-fetch-site", "cross-site")], Some(403)),
            ("POST", vec![("sec-fetch-site", "same-site")], Some(403)),
            ("POST", vec![("sec-fetch-site", "same-origin")], None),
            ("POST", vec![("sec-fetch-site", "none")], None),
            ("POST", vec![("sec-fetch-site", "cross-site"), ("origin", "https://ui.example")], None),
            ("POST", vec![("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8090")], Some(403)),
        ] {
            let all = [&[host][..], &headers].concat();
            let got = guard().check(&parts(method, &all)).err().map(|rejection| rejection.status.as_u16());
            assert_eq!(got, status, "{method} {headers:?}");
        }
    }

    #[test]
    fn what_a_page_sends_says_what_it_is() {
        let ours = [("host", "localhost"), ("origin", "http://localhost")];
        for (headers, status) in [
            (vec![("content-type", "application/json"), ("content-length", "2")], None),
            (vec![("content-type", "application/octet-stream"), ("content-length", "2")], None),
            (vec![("content-length", "0")], None),
            (vec![], None),
            (vec![("content-length", "2")], Some(415)),
            (vec![("content-type", "Text/Plain; charset=x"), ("content-length", "2")], Some(415)),
            (vec![("content-type", "multipart/form-data"), ("transfer-encoding", "chunked")], Some(415)),
        ] {
            let all = [&ours[..], &headers].concat();
            let got = guard().check(&parts("POST", &all)).err().map(|rejection| rejection.status.as_u16());
            assert_eq!(got, status, "{headers:?}");
        }
    }

    #[test]
    fn lists_with_what_is_no_host_or_origin_are_refused() {
        for bad in ["", "http://x", "x:80", "a b", "*x"] {
            assert!(RequestGuard::new("api", &[bad.to_owned()], &[]).is_err(), "{bad}");
        }
        for bad in ["", "x", "http://", "http://x/", "ftp://x", "http://x/path", "null"] {
            assert!(RequestGuard::new("api", &[], &[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
