//! Requests over HTTP that a component sends: only to where it was granted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

use crate::logs::{Sink, Stream};
use crate::reach::Reach;

/// Lets requests out, or not.
pub(crate) struct Outbound {
    reach: Arc<Reach>,
    sink: Arc<dyn Sink>,
}

impl Outbound {
    pub(crate) fn new(reach: Arc<Reach>, sink: Arc<dyn Sink>) -> Self {
        Self { reach, sink }
    }
}

/// Bytes of a body that a guest hands over at once. A body that nobody reads keeps two such pieces on the host, and an
/// instance may have thousands of bodies.
const BODY_PIECE_BYTES: usize = 64 << 10;

/// How long a name may take to be resolved, where the guest does not say how long a connection may.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        let uri = request.uri();
        let granted: Vec<_> =
            self.reach.http.iter().filter(|destination| destination.holds(uri)).cloned().collect();
        if granted.is_empty() {
            let host = uri.authority().map_or("nowhere", |authority| authority.as_str());
            self.sink.line(Stream::Stderr, &format!("a request to {host} was not sent: it is not granted"));
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        // Who names this machine, or an address, means it.
        let named = granted.iter().any(|destination| destination.is_literal());
        let sink = self.sink.clone();
        Box::new(async move {
            let request = if named { request } else { to_others(request, options, &*sink).await? };
            let (response, io) = default_send_request(request, options).await?;
            Ok((response.map(http_body_util::BodyExt::boxed_unsync), Box::new(io) as Io))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_BYTES
    }
}

/// The request to an address that may be reached without being named: what a name resolves to is looked at, and
/// without TLS it is that address that is connected to. With TLS the name has to stay, since the server proves it;
/// whoever answers on this machine instead cannot.
///
/// Fails with `HttpRequestDenied` where all of them are guarded.
async fn to_others(
    mut request: Request<WasiBody>,
    options: Option<RequestOptions>,
    sink: &dyn Sink,
) -> Result<Request<WasiBody>, Error> {
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?.clone();
    let encrypted = request.uri().scheme() == Some(&Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let time = options.and_then(|options| options.connect_timeout).unwrap_or(RESOLVE_TIMEOUT);
    let found = tokio::time::timeout(time, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| Error::ConnectionTimeout)?.map_err(Error::Connect)?;
    let (guarded, open): (Vec<_>, Vec<_>) = found.partition(|address| is_guarded(*address));
    if open.is_empty() || encrypted && !guarded.is_empty() {
        if let Some(address) = guarded.first() {
            sink.line(
                Stream::Stderr,
                &format!(
                    "a request to {authority} was not sent: {address} is of this machine or its link, which only \
                     a grant that names it reaches (--allow-http {address})"
                ),
            );
        }
        return Err(Error::HttpRequestDenied);
    }
    if !encrypted {
        // The first that there is a way to; of one that is the only one its failure is told.
        let address = open.iter().find(|address| way_to(**address).is_some()).or(open.first());
        let address = address.ok_or(Error::DestinationNotFound)?;
        let mut parts = request.uri().clone().into_parts();
        parts.authority =
            Some(Authority::try_from(address.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    }
    Ok(request)
}

/// Whether an address is of this machine, or of the link that it is on: where the control plane answers, neighbours
/// that trust whoever is near, and what clouds tell their machines in secret.
fn is_guarded(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let near = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => {
            // `::1.2.3.4` too is 1.2.3.4 to some systems.
            let compatible = ip.to_ipv4().is_some_and(|ip| ip.is_loopback() || ip.is_link_local());
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unicast_link_local()
                || compatible
                || ip == CLOUD_METADATA
        }
    };
    // Every address of this machine is reached from itself.
    near || way_to(SocketAddr::new(ip, address.port())) == Some(ip)
}

/// Where the machines of a cloud ask about themselves, beside the link-local address.
const CLOUD_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The address of this machine from which another is reached; `None` where there is no way. Nothing is sent.
fn way_to(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_machine_and_its_link_are_guarded() {
        for (address, guarded) in [
            ("127.0.0.1:80", true),
            ("127.9.9.9:8090", true),
            ("0.0.0.0:80", true),
            ("169.254.169.254:80", true),
            ("[::1]:80", true),
            ("[::]:80", true),
            ("[fe80::1]:80", true),
            ("[fd00:ec2::254]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("[::ffff:169.254.1.1]:80", true),
            ("192.0.2.1:80", false),
            ("10.1.2.3:80", false),
            ("[2001:db8::1]:443", false),
        ] {
            assert_eq!(is_guarded(address.parse().unwrap()), guarded, "{address}");
        }
        // This machine's address on its network, where it has one.
        if let Some(own) = way_to("192.0.2.1:9".parse().unwrap()) {
            assert!(is_guarded(SocketAddr::new(own, 8090)), "{own}");
        }
    }
}
