//! Which requests over HTTP a deployment answers itself.

use std::fmt;
use std::str::FromStr;

use eyot_core::{Error, ProjectName, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `/hello` for one path, `/hello/...` for it and all below, `/users/:id` for any one segment; with a
/// host name before it, only for requests to that host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    host: Option<String>,
    segments: Vec<RouteSegment>,
    /// Whether it holds what is below, too.
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum RouteSegment {
    Literal(String),
    Any(String),
}

/// What a path is under a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMatch {
    /// What stands for the named segments.
    pub names: Vec<(String, String)>,
    /// What is below the route, with its leading slash; empty where nothing is.
    pub rest: String,
}

/// The end of a route that holds what is below it.
const BELOW: &str = "...";

/// First segments that are the gateway's own, on every host that no route names.
const RESERVED: &[&str] = &["v2", "fn", "metrics", "p"];

impl Route {
    /// Everything below `/name`.
    pub fn below(name: &str) -> Self {
        Self { host: None, segments: vec![RouteSegment::Literal(name.to_owned())], below: true }
    }

    /// The same below `/p/PROJECT`, where deployments of another project than `default` have theirs; a route that names
    /// its host stays as it is.
    pub fn in_project(self, project: &ProjectName) -> Self {
        if project.is_default() || self.host.is_some() {
            return self;
        }
        let above = ["p", project.as_str()].map(|text| RouteSegment::Literal(text.to_owned()));
        let segments = above.into_iter().chain(self.segments).collect();
        Self { segments, ..self }
    }

    /// The host that it is for; of all where it names none.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The first segment, if it is the same for every path.
    pub fn first(&self) -> Option<&str> {
        match self.segments.first() {
            Some(RouteSegment::Literal(text)) => Some(text),
            _ => None,
        }
    }

    /// How exact it is: of two routes that hold a path, the larger one takes it.
    pub fn rank(&self) -> (bool, usize, usize, bool) {
        let literal =
            self.segments.iter().filter(|segment| matches!(segment, RouteSegment::Literal(_))).count();
        (self.host.is_some(), self.segments.len(), literal, !self.below)
    }

    /// The path without what may follow: `/users/:id`.
    pub fn base(&self) -> String {
        self.segments.iter().fold(String::new(), |mut path, segment| {
            path.push('/');
            match segment {
                RouteSegment::Literal(text) => path.push_str(text),
                RouteSegment::Any(name) => {
                    path.push(':');
                    path.push_str(name);
                }
            }
            path
        })
    }

    /// What `path` is under this route, if it is.
    pub fn matches(&self, path: &str) -> Option<PathMatch> {
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        let mut names = Vec::new();
        let mut whole = path;
        for segment in &self.segments {
            let (this, tail) = match rest.split_once('/') {
                Some((this, tail)) => (this, Some(tail)),
                None => (rest, None),
            };
            match segment {
                RouteSegment::Literal(text) if text == this => {}
                RouteSegment::Any(name) if !this.is_empty() => names.push((name.clone(), this.to_owned())),
                _ => return None,
            }
            whole = tail.map_or("", |tail| &path[path.len() - tail.len() - 1..]);
            rest = tail.unwrap_or_default();
        }
        let matched = self.below || whole.is_empty() || whole == "/" && self.segments.is_empty();
        matched.then(|| PathMatch { names, rest: whole.to_owned() })
    }
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid(format!("'{text}' is no route: {why}"))
                .hint("write /path, /path/... for all below it, /users/:id, or host.example.com/path/...")
        };
        let (host, path) = text.split_once('/').ok_or_else(|| wrong("it has no slash"))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
        if !host.bytes().all(plain) {
            return Err(wrong("the host is no name; a port is not written"));
        }
        let mut segments = Vec::new();
        let mut below = false;
        for part in path.split('/').filter(|_| !path.is_empty()) {
            if below {
                return Err(wrong("something follows '...'"));
            }
            match part.strip_prefix(':') {
                _ if part == BELOW => below = true,
                Some(name) if !name.is_empty() && name.bytes().all(plain) => {
                    segments.push(RouteSegment::Any(name.to_ascii_lowercase()));
                }
                None if !part.is_empty() && part.bytes().all(plain) => {
                    segments.push(RouteSegment::Literal(part.to_owned()));
                }
                _ => return Err(wrong("a segment is empty or holds more than letters, digits and .-_~")),
            }
        }
        let route = Self { host: (!host.is_empty()).then(|| host.to_ascii_lowercase()), segments, below };
        match route.first().filter(|first| route.host.is_none() && RESERVED.contains(first)) {
            Some(first) => Err(wrong(&format!("/{first} is the gateway's own"))),
            None => Ok(route),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.base();
        let end = match (self.below, base.is_empty()) {
            (true, _) => "/...",
            (false, true) => "/",
            (false, false) => "",
        };
        write!(f, "{}{base}{end}", self.host.as_deref().unwrap_or_default())
    }
}

impl Serialize for Route {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|error: Error| serde::de::Error::custom(error.chain()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn routes_hold_paths() {
        for (route, path, expected) in [
            ("/hello", "/hello", Some(("", vec![]))),
            ("/hello", "/hello/", None),
            ("/hello", "/hello/x", None),
            ("/hello", "/hellos", None),
            ("/hello/...", "/hello", Some(("", vec![]))),
            ("/hello/...", "/hello/", Some(("/", vec![]))),
            ("/hello/...", "/hello/a/b", Some(("/a/b", vec![]))),
            ("/hello/...", "/hellos/a", None),
            ("/...", "/", Some(("/", vec![]))),
            ("/...", "/a//b", Some(("/a//b", vec![]))),
            ("/", "/", Some(("/", vec![]))),
            ("/", "/a", None),
            ("/users/:ID/posts", "/users/7/posts", Some(("", vec![("id", "7")]))),
            ("/users/:id", "/users/", None),
            ("a.test/:x/...", "/b/c", Some(("/c", vec![("x", "b")]))),
        ] {
            let found = route.parse::<Route>().unwrap().matches(path);
            let expected = expected.map(|(rest, names): (&str, Vec<(&str, &str)>)| PathMatch {
                rest: rest.to_owned(),
                names: names.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            });
            assert_eq!(found, expected, "{route} {path}");
        }
    }

    #[test]
    fn routes_are_written_as_they_are_read() {
        for text in ["/", "/...", "/a", "/a/...", "/a/:b/c", "a.test/", "a.test/...", "a.test/v2/..."] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        for wrong in ["", "a", "/a//b", "/a/", "/a/.../b", "/v2/x", "/fn", "/metrics", "a:80/", "/a?b", "/:"]
        {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
        let rank = |text: &str| text.parse::<Route>().unwrap().rank();
        assert!(
            rank("/a/b") > rank("/a/...") && rank("/a/b") > rank("/a/:b") && rank("h/...") > rank("/a/b")
        );
        assert!(rank("/a") > rank("/a/...") && Route::below("a") == "/a/...".parse().unwrap());
    }
}
