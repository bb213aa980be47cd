//! Whom a request is from: a token by Basic or Bearer, a session by its cookie, or nobody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_core::{Error, Result};
use eyot_meta::RequestOrigin;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::caller::{Caller, CallerIdentity};
use crate::store::AccessStore;

/// Marks, in its extensions, a request that this process sends to itself: it acts for the owner of the data folder.
/// A request over a socket never carries it.
#[derive(Clone, Copy, Debug)]
pub struct LocalRequest;

/// The cookies of sessions: over TLS the one that only this host can set, and over plain HTTP, which is for
/// this machine alone, another.
pub const SESSION_COOKIES: [&str; 2] = ["__Host-eyot", "eyot-session"];

/// The secret of the session in a request's cookies.
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| SESSION_COOKIES.contains(name)).map(|(_, secret)| secret)
}

impl AccessStore {
    /// The caller of a request.
    ///
    /// Fails with `Denied` for credentials that are no good: who shows some must not go on as nobody.
    pub async fn authenticate(&self, parts: &Parts) -> Result<Caller> {
        let caller = self.recognize(parts).await?;
        RequestOrigin::set_actor(|| caller.actor());
        Ok(caller)
    }

    async fn recognize(&self, parts: &Parts) -> Result<Caller> {
        if parts.extensions.get::<LocalRequest>().is_some() {
            return Ok(self.caller(CallerIdentity::Local));
        }
        if !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(secret) = session_cookie(&parts.headers)
        {
            // A session that has ended is none: the page that asks signs in again.
            let identity = self.of_session(secret).await?;
            return Ok(self.caller(identity.unwrap_or(CallerIdentity::Anonymous)));
        }
        self.authenticate_token(&parts.headers).await
    }

    /// The caller of a request by the token that it shows; sessions of browsers count for nothing.
    ///
    /// Fails with `Denied` for one that is no good.
    pub async fn authenticate_token(&self, headers: &HeaderMap) -> Result<Caller> {
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Ok(self.caller(CallerIdentity::Anonymous));
        };
        let shown = shown.to_str().ok().and_then(|shown| shown.split_once(' '));
        let found = match shown {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                self.bearer(token.trim()).await?
            }
            Some((scheme, text)) if scheme.eq_ignore_ascii_case("basic") => self.basic(text.trim()).await?,
            _ => None,
        };
        found.ok_or_else(|| {
            Error::denied("the token is not known, or no good any more").hint("eyot token create makes one")
        })
    }

    /// Of whom it is not known who they are.
    pub fn unknown_caller(&self) -> Caller {
        self.caller(CallerIdentity::Anonymous)
    }

    /// What the process itself does.
    pub fn local_caller(&self) -> Caller {
        self.caller(CallerIdentity::Local)
    }

    pub(crate) fn caller(&self, identity: CallerIdentity) -> Caller {
        Caller { identity, anonymous: self.anonymous(), granted: None, projects: self.0.projects.clone() }
    }

    async fn bearer(&self, token: &str) -> Result<Option<Caller>> {
        if self.0.settings.local_secret.as_ref().is_some_and(|local| local.matches(token)) {
            return Ok(Some(self.caller(CallerIdentity::Local)));
        }
        self.of_token(token).await
    }

    async fn basic(&self, text: &str) -> Result<Option<Caller>> {
        match password(text) {
            // Some clients send an empty password when they have none.
            Some(password) if password.is_empty() => Ok(Some(self.caller(CallerIdentity::Anonymous))),
            Some(password) if crate::tokens::is_secret(&password) => self.of_token(&password).await,
            Some(_) if self.has_users() => Err(Error::denied("a request shows a token, and this is none")
                .hint("eyot login, or eyot token create NAME, makes one: show it as the password, with any user name")),
            Some(_) | None => Ok(None),
        }
    }
}

/// The password of Basic credentials; the name is for people.
fn password(text: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_session_is_found_among_cookies() {
        for (cookies, expected) in [
            (vec!["__Host-eyot=a"], Some("a")),
            (vec!["x=1; eyot-session=b; y=2"], Some("b")),
            (vec!["x=1", "eyot-session=c"], Some("c")),
            (vec!["not-eyot-session=d", "eyot-session"], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in &cookies {
                headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            assert_eq!(session_cookie(&headers), expected, "{cookies:?}");
        }
    }
}
