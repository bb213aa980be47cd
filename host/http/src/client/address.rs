//! Which addresses may be asked: for some clients none inside of the network that this machine stands in.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

use super::failure::{ForbiddenAddress, RequestFailure};

/// Where a client may go. Behind a proxy it is the proxy that looks names up, and its rules that count; addresses that
/// are written as such are checked there, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressPolicy {
    #[default]
    Any,
    /// To addresses of the public Internet alone: for URLs that strangers write.
    PublicOnly,
}

impl AddressPolicy {
    fn allows(self, address: IpAddr) -> bool {
        self == Self::Any || is_public(address)
    }

    /// Checks a host that is an address. A name is checked when it is looked up.
    pub(super) fn check_literal(self, target: &Uri) -> Result<(), RequestFailure> {
        let host = target.host().unwrap_or_default();
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) if !self.allows(address) => Err(ForbiddenAddress(host.to_owned()).into()),
            _ => Ok(()),
        }
    }
}

/// Looks names up, and gives only addresses that may be asked: what was checked is what is connected to,
/// so a name cannot mean one thing to the check and another to the connection.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    resolver: GaiResolver,
    policy: AddressPolicy,
}

impl GuardedResolver {
    pub(super) fn new(policy: AddressPolicy) -> Self {
        Self { resolver: GaiResolver::new(), policy }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Service::poll_ready(&mut self.resolver, context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (asked, policy) = (name.to_string(), self.policy);
        let found = Service::call(&mut self.resolver, name);
        Box::pin(async move {
            let all: Vec<SocketAddr> = found.await?.collect();
            let allowed: Vec<_> = all.iter().copied().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() && !all.is_empty() {
                return Err(std::io::Error::other(ForbiddenAddress(asked)));
            }
            Ok(allowed.into_iter())
        })
    }
}
/// Whether an address belongs to the public Internet: not to this machine, a private or local network, a
/// group, or a range that is kept for something else.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let kept = first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second));
    !(kept
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // What stands for an IPv4 address is as public as that: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Global unicast is 2000::/3; of it, 2001:db8::/32 is for documents, 2001::/23 for protocols.
        [first, ..] if first & 0xe000 != 0x2000 => false,
        [0x2001, second, ..] => second != 0xdb8 && second >= 0x200,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("172.15.0.1", true),
            ("172.16.0.1", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:7f00:1::", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
        for (host, allowed) in [("[::1]", false), ("127.0.0.1", false), ("ghcr.io", true), ("1.1.1.1", true)]
        {
            let target: Uri = format!("http://{host}/x").parse().unwrap();
            assert_eq!(AddressPolicy::PublicOnly.check_literal(&target).is_ok(), allowed, "{host}");
            assert!(AddressPolicy::Any.check_literal(&target).is_ok());
        }
    }
}
