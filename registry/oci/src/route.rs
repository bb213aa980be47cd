//! The routes under `/v2/`. Names of repositories contain slashes, so the end of the path decides.

use std::borrow::Cow;

use eyot_core::{Error, Reference};
use eyot_store::{ContentDigest, UploadId};
use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::response::RegistryError;

/// A parsed path: a repository and what in it, or the whole registry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RegistryRoute {
    Catalog,
    Blob(String, ContentDigest),
    Uploads(String),
    Upload(String, UploadId),
    Manifest(String, ManifestRef),
    Tags(String),
    Referrers(String, ContentDigest),
}

/// A manifest of a repository, by tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManifestRef {
    Tag(String),
    Digest(ContentDigest),
}

impl std::fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl RegistryRoute {
    /// Parses what follows `/v2/`. Clients may escape what need not be, as in `sha256%3A`.
    pub(crate) fn parse(path: &str) -> Result<Self, RegistryError> {
        let path = &path.split('/').map(decoded).collect::<Vec<_>>().join("/");
        if path == "_catalog" {
            return Ok(Self::Catalog);
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            return name(repository).map(Self::Tags);
        }
        // From the right, as a repository may have parts that are called `blobs` or `manifests`.
        let (rest, last) = path.rsplit_once('/').ok_or_else(|| unknown(path))?;
        if let Some(repository) = rest.strip_suffix("/blobs/uploads") {
            if last.is_empty() {
                return name(repository).map(Self::Uploads);
            }
            let repository = name(repository)?;
            let id = last.parse().map_err(|error| RegistryError::new("BLOB_UPLOAD_UNKNOWN", error))?;
            return Ok(Self::Upload(repository, id));
        }
        if let Some(repository) = rest.strip_suffix("/blobs") {
            if last == "uploads" {
                return name(repository).map(Self::Uploads);
            }
            return Ok(Self::Blob(name(repository)?, digest(last)?));
        }
        if let Some(repository) = rest.strip_suffix("/referrers") {
            return Ok(Self::Referrers(name(repository)?, digest(last)?));
        }
        if let Some(repository) = rest.strip_suffix("/manifests") {
            let repository = name(repository)?;
            if last.contains(':') {
                return Ok(Self::Manifest(repository, ManifestRef::Digest(digest(last)?)));
            }
            Reference::check_tag(last).map_err(|error| RegistryError::new("MANIFEST_INVALID", error))?;
            return Ok(Self::Manifest(repository, ManifestRef::Tag(last.to_owned())));
        }
        Err(unknown(path))
    }

    /// The repository; none for the whole registry.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Catalog => None,
            Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Manifest(repository, _)
            | Self::Tags(repository)
            | Self::Referrers(repository, _) => Some(repository),
        }
    }
}

/// Decodes a segment once. One that would be no segment then, or no text, stays as it is: nothing has such a name.
fn decoded(segment: &str) -> String {
    let text = percent_decode_str(segment).decode_utf8().ok().filter(|text| !text.contains('/'));
    text.map_or_else(|| segment.to_owned(), Cow::into_owned)
}

fn unknown(path: &str) -> RegistryError {
    let shown: String = path.chars().take(80).collect();
    RegistryError::new("UNSUPPORTED", Error::not_found(format!("there is no route /v2/{shown}")))
}

/// Nothing can have an invalid name: the specification wants 404.
fn name(repository: &str) -> Result<String, RegistryError> {
    let checked = Reference::check_repository(repository);
    checked.map_err(|error| RegistryError::new("NAME_INVALID", error).status(StatusCode::NOT_FOUND))?;
    Ok(repository.to_owned())
}

fn digest(text: &str) -> Result<ContentDigest, RegistryError> {
    text.parse().map_err(|error| RegistryError::new("DIGEST_INVALID", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_may_have_parts_that_are_words_of_the_protocol() {
        let of = |path: &str| RegistryRoute::parse(path).ok();
        let tag = |repository: &str, tag: &str| {
            Some(RegistryRoute::Manifest(repository.to_owned(), ManifestRef::Tag(tag.to_owned())))
        };
        assert_eq!(of("a/manifests/manifests/blobs"), tag("a/manifests", "blobs"));
        assert_eq!(of("a/tags/list/manifests/list"), tag("a/tags/list", "list"));
        assert_eq!(
            of("a/blobs/uploads/blobs/uploads/"),
            Some(RegistryRoute::Uploads("a/blobs/uploads".to_owned()))
        );
        assert_eq!(of("%61/manifests/v1%2e0"), tag("a", "v1.0"));
        let digest = eyot_core::Digest::of("x");
        let escaped = digest.to_string().replace(':', "%3A");
        assert_eq!(
            of(&format!("a/blobs/{escaped}")),
            Some(RegistryRoute::Blob("a".to_owned(), digest.into()))
        );
        for no_name in
            ["a%2Fb/manifests/t", "a/manifests/%2531", "a/manifests/%", "%ff/manifests/t", "a/manifests/%+1"]
        {
            assert_eq!(of(no_name), None, "{no_name}");
        }
        assert_eq!(of("a/blobs/uploads"), Some(RegistryRoute::Uploads("a".to_owned())));
    }
}
