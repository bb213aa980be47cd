//! What the paths of the data plane name.

use std::borrow::Cow;

use eyot_core::{DEFAULT_PROJECT, Error, Name, ProjectName, Result, ScopedName};
use http::Method;
use percent_encoding::percent_decode_str;

/// A path below a project's: `/p/PROJECT/…`. Outside of it, what has a name is in `default`, or names its project
/// itself: `PROJECT~NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProjectPath<'a> {
    /// None for a path that is below no project's.
    pub(crate) project: Option<&'a str>,
    /// The rest, with its leading slash.
    pub(crate) path: &'a str,
}

impl<'a> ProjectPath<'a> {
    pub(crate) fn of(path: &'a str) -> Self {
        let below = path.strip_prefix("/p/").and_then(|rest| Some((rest, rest.find('/')?)));
        match below {
            Some((rest, slash)) => Self { project: Some(&rest[..slash]), path: &rest[slash..] },
            None => Self { project: None, path },
        }
    }

    /// The name of a deployment of the project, as it is looked up.
    ///
    /// Fails with `NotFound` where there can be no such project.
    pub(crate) fn scoped<'b>(&self, name: Cow<'b, str>) -> Result<Cow<'b, str>> {
        let Some(project) = self.project else { return Ok(name) };
        let shown: String = name.chars().take(128).collect();
        let missing = || Error::not_found(format!("there is no model '{shown}'"));
        let project: ProjectName = project.parse().map_err(|_| missing())?;
        let name: Name = name.parse().map_err(|_| missing())?;
        Ok(Cow::Owned(ScopedName::new(&project, &name).to_string()))
    }

    /// The project whose deployments are listed.
    pub(crate) fn listed(&self) -> &'a str {
        self.project.unwrap_or(DEFAULT_PROJECT)
    }
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ApiRoute<'a> {
    Server,
    Live,
    Ready,
    Models,
    Statistics,
    Metrics,
    Index,
    Load(Cow<'a, str>),
    Unload(Cow<'a, str>),
    Style,
    Model(ModelRef<'a>, ModelRoute),
}

/// A deployment, or one of its revisions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModelRef<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) version: Option<Cow<'a, str>>,
}

/// What there is below a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelRoute {
    Metadata,
    Ready,
    Infer,
    Configuration,
    Statistics,
    OpenApi,
    Docs,
}

/// More segments than any path of the protocol has.
const MAX_SEGMENT_COUNT: usize = 8;

impl<'a> ApiRoute<'a> {
    /// Reads a path. Fails with `NotFound` when it names nothing.
    pub(crate) fn of(path: &'a str) -> Result<Self> {
        let unknown = || {
            Error::not_found(format!("there is no route {path}"))
                .hint("the protocol is under /v2; predictions are POST /v2/models/NAME/infer")
        };
        let mut segments: [Cow<'a, str>; MAX_SEGMENT_COUNT] = Default::default();
        let mut count = 0;
        for segment in path.trim_matches('/').split('/') {
            *segments.get_mut(count).ok_or_else(unknown)? = unescape(segment).ok_or_else(unknown)?;
            count += 1;
        }
        let texts: [&str; MAX_SEGMENT_COUNT] = std::array::from_fn(|index| &*segments[index]);
        let (page, versioned) = match &texts[..count] {
            ["v2"] => return Ok(Self::Server),
            ["v2", "health", "live"] => return Ok(Self::Live),
            ["v2", "health", "ready"] => return Ok(Self::Ready),
            ["v2", "models"] => return Ok(Self::Models),
            ["v2", "models", "stats"] => return Ok(Self::Statistics),
            ["v2", "docs.css"] => return Ok(Self::Style),
            ["v2", "repository", "index"] => return Ok(Self::Index),
            ["v2", "repository", "models", _, verb @ ("load" | "unload")] => {
                let load = *verb == "load";
                let [_, _, _, model, ..] = segments;
                return Ok(if load { Self::Load(model) } else { Self::Unload(model) });
            }
            ["metrics"] => return Ok(Self::Metrics),
            ["v2", "models", _, "versions", _, rest @ ..] => (ModelRoute::of(rest), true),
            ["v2", "models", _, rest @ ..] => (ModelRoute::of(rest), false),
            _ => return Err(unknown()),
        };
        let page = page.ok_or_else(unknown)?;
        let [_, _, model, _, version, ..] = segments;
        Ok(Self::Model(ModelRef { model, version: versioned.then_some(version) }, page))
    }

    /// The methods that it takes.
    pub(crate) fn takes(&self, method: &Method) -> std::result::Result<(), &'static str> {
        let (taken, all): (&[Method], _) = match self {
            Self::Model(_, ModelRoute::Infer) | Self::Index | Self::Load(_) | Self::Unload(_) => {
                (&[Method::POST], "POST")
            }
            _ => (&[Method::GET, Method::HEAD], "GET, HEAD"),
        };
        if taken.contains(method) { Ok(()) } else { Err(all) }
    }
}

impl ModelRoute {
    fn of(rest: &[&str]) -> Option<Self> {
        Some(match rest {
            [] => Self::Metadata,
            ["ready"] => Self::Ready,
            ["infer"] => Self::Infer,
            ["config"] => Self::Configuration,
            ["stats"] => Self::Statistics,
            ["openapi.json"] => Self::OpenApi,
            ["docs"] => Self::Docs,
            _ => return None,
        })
    }
}

/// Undoes percent-encoding; `None` where it is wrong.
pub(crate) fn unescape(segment: &str) -> Option<Cow<'_, str>> {
    // The crate leaves what is no escape as it is.
    let is_escape =
        |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    let is_well_formed = segment.split('%').skip(1).all(is_escape);
    percent_decode_str(segment).decode_utf8().ok().filter(|_| is_well_formed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    fn target<'a>(model: &'a str, version: Option<&'a str>) -> ModelRef<'a> {
        ModelRef { model: model.into(), version: version.map(Cow::Borrowed) }
    }

    #[test]
    fn paths_below_a_project_name_what_is_in_it() {
        for (path, project, rest) in [
            ("/p/fraud/v2/models", Some("fraud"), "/v2/models"),
            ("/p/fraud/", Some("fraud"), "/"),
            ("/p/fraud", None, "/p/fraud"),
            ("/p//v2", Some(""), "/v2"),
            ("/v2/p/fraud", None, "/v2/p/fraud"),
        ] {
            assert_eq!(ProjectPath::of(path), ProjectPath { project, path: rest }, "{path}");
        }
        for (path, name, expected) in [
            ("/v2", "iris", Some("iris")),
            ("/v2", "fraud~iris", Some("fraud~iris")),
            ("/p/fraud/v2", "iris", Some("fraud~iris")),
            ("/p/default/v2", "iris", Some("iris")),
            // Out of one project nothing of another is named.
            ("/p/fraud/v2", "other~iris", None),
            ("/p/Fraud/v2", "iris", None),
            ("/p//v2", "iris", None),
        ] {
            let found = ProjectPath::of(path).scoped(name.into());
            assert_eq!(found.ok().as_deref(), expected, "{path} {name}");
        }
    }

    #[test]
    fn paths_name_places() {
        for (path, expected) in [
            ("/v2", ApiRoute::Server),
            ("/v2/", ApiRoute::Server),
            ("/v2/models/a", ApiRoute::Model(target("a", None), ModelRoute::Metadata)),
            (
                "/v2/models/a%2Db/versions/3/infer",
                ApiRoute::Model(target("a-b", Some("3")), ModelRoute::Infer),
            ),
            ("/v2/models/a/ready", ApiRoute::Model(target("a", None), ModelRoute::Ready)),
            ("/v2/models/stats", ApiRoute::Statistics),
            ("/v2/models/stats/infer", ApiRoute::Model(target("stats", None), ModelRoute::Infer)),
            ("/v2/repository/models/a/unload", ApiRoute::Unload("a".into())),
            ("/metrics", ApiRoute::Metrics),
            ("/v2/models/versions/infer", ApiRoute::Model(target("versions", None), ModelRoute::Infer)),
        ] {
            assert_eq!(ApiRoute::of(path).unwrap(), expected, "{path}");
        }
        for path in [
            "/",
            "/v1/models/a",
            "/v2/models/a/generate",
            "/v2/models/%zz",
            "/v2/models/%+5",
            "/v2/models/%4",
            "/v2/models/%%41",
            "/v2/models/%ff",
            "/v2/models/a/versions",
            "/v2/models/a/versions/1/2",
            "/v2/a/b/c/d/e/f/g/h/i/j",
        ] {
            assert_eq!(ApiRoute::of(path).unwrap_err().kind(), ErrorKind::NotFound, "{path}");
        }
    }
}
