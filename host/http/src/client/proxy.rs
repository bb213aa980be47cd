//! Which requests go by a proxy, and by which.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// By which proxies requests go. None ever goes by a proxy to this machine itself: `localhost` and loopback addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyPolicy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// By none.
    Direct,
    /// By one, but for the hosts that `except` lists as `NO_PROXY` does.
    Through { proxy: String, except: String },
}

/// The proxies of a client.
#[derive(Clone)]
pub(super) struct ProxyRules(Arc<Matcher>);

impl ProxyRules {
    pub(super) fn new(policy: &ProxyPolicy) -> Self {
        Self(Arc::new(match policy {
            ProxyPolicy::Environment => Matcher::from_env(),
            ProxyPolicy::Direct => Matcher::builder().build(),
            ProxyPolicy::Through { proxy, except } => {
                Matcher::builder().all(proxy.as_str()).no(except.as_str()).build()
            }
        }))
    }

    /// The proxy that requests to a target go by.
    pub(super) fn proxy_for(&self, target: &Uri) -> Option<Intercept> {
        if is_this_machine(target.host()?) { None } else { self.0.intercept(target) }
    }

    /// What a proxy wants to see with a request that it hands on itself; of a tunnel's it sees the beginning alone.
    pub(super) fn forwarding_authorization(&self, target: &Uri) -> Option<HeaderValue> {
        let proxy = self.proxy_for(target).filter(|_| target.scheme() == Some(&Scheme::HTTP));
        proxy.and_then(|proxy| proxy.basic_auth().cloned())
    }
}

/// A proxy of a kind that is not spoken to.
#[derive(Debug)]
pub(super) struct UnsupportedProxy(pub(super) Uri);

impl fmt::Display for UnsupportedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the proxy {} is none of HTTP: HTTPS_PROXY and HTTP_PROXY take http:// and https://, NO_PROXY lists hosts \
             that are asked without",
            super::failure::origin(&self.0)
        )
    }
}

impl std::error::Error for UnsupportedProxy {}

fn is_this_machine(host: &str) -> bool {
    let is_name = |name: &str| name.eq_ignore_ascii_case("localhost");
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => is_name(host) || host.rsplit_once('.').is_some_and(|(_, last)| is_name(last)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_goes_by_a_proxy() {
        let rules = ProxyRules::new(&ProxyPolicy::Through {
            proxy: "http://name:secret@proxy.test:3128".to_owned(),
            except: "inside.test, 10.0.0.0/8".to_owned(),
        });
        for (target, expected) in [
            ("http://a.test/x", true),
            ("https://a.test/x", true),
            ("https://inside.test/", false),
            ("https://deep.inside.test/", false),
            ("https://notinside.test/", true),
            ("http://10.1.2.3:80/", false),
            ("http://11.1.2.3:80/", true),
            ("http://localhost:8080/", false),
            ("http://LOCALHOST/", false),
            ("http://a.localhost/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://127.8.8.8/", false),
            ("http://[::1]:8080/", false),
            ("http://[::ffff:127.0.0.1]/", false),
        ] {
            let target: Uri = target.parse().unwrap();
            assert_eq!(rules.proxy_for(&target).is_some(), expected, "{target}");
            let is_shown = rules.forwarding_authorization(&target).is_some();
            assert_eq!(is_shown, expected && target.scheme_str() == Some("http"), "{target}");
        }
        let target: Uri = "http://a.test/x".parse().unwrap();
        assert!(ProxyRules::new(&ProxyPolicy::Direct).proxy_for(&target).is_none());
    }
}
