//! Requests over HTTP that a component sends: only to where it was granted.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use connection::{RequestTarget, RequestTimeouts};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Request;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::granted_capabilities::GrantedCapabilities;
use crate::logs::{ReportSink, StandardStream};

mod connection;
#[cfg(test)]
mod tests;

/// Lets requests out, or not.
pub(crate) struct OutboundHttp {
    capabilities: Arc<GrantedCapabilities>,
    sink: Arc<dyn ReportSink>,
    network: Arc<OutboundNetwork>,
}

impl OutboundHttp {
    pub(crate) fn new(capabilities: Arc<GrantedCapabilities>, sink: Arc<dyn ReportSink>) -> Self {
        static SYSTEM: LazyLock<Arc<OutboundNetwork>> = LazyLock::new(OutboundNetwork::system);
        Self { capabilities, sink, network: SYSTEM.clone() }
    }
}

/// The addresses of a host, once they are found.
type ResolvedAddresses = BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// What requests go through.
struct OutboundNetwork {
    /// Finds the addresses of a host, with a port.
    resolve: Box<dyn Fn(String, u16) -> ResolvedAddresses + Send + Sync>,
    /// Which addresses have to be named themselves.
    is_guarded: fn(SocketAddr) -> bool,
    /// Whom servers have to be certified by.
    tls: fn() -> Arc<rustls::ClientConfig>,
}

impl OutboundNetwork {
    fn system() -> Arc<Self> {
        let resolve = Box::new(|host, port| connection::resolve(host, port).boxed());
        Arc::new(Self { resolve, is_guarded, tls: connection::public_tls })
    }

    /// The addresses that a request may go to. Names are resolved here and nowhere else: what a name leads to may be
    /// another address a moment later.
    ///
    /// Fails with `HttpRequestDenied` where all are guarded, unless they are `named`.
    async fn addresses(
        &self,
        target: &RequestTarget,
        timeout: Duration,
        named: bool,
        sink: &dyn ReportSink,
    ) -> Result<Vec<SocketAddr>, Error> {
        let found = tokio::time::timeout(timeout, (self.resolve)(target.host.clone(), target.port)).await;
        let found = found.map_err(|_| Error::ConnectionTimeout)?.map_err(Error::Connect)?;
        let (open, guarded): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| named || !(self.is_guarded)(*address));
        match (open.is_empty(), guarded.first()) {
            (false, _) => Ok(open),
            (true, None) => Err(Error::DestinationNotFound),
            (true, Some(address)) => {
                let authority = &target.authority;
                sink.line(
                    StandardStream::Stderr,
                    &format!(
                        "a request to {authority} was not sent: {address} is of this machine or its link, which only \
                         a grant that names it reaches (--allow-http {address})"
                    ),
                );
                Err(Error::HttpRequestDenied)
            }
        }
    }
}

/// Bytes of a body that a guest hands over at once. A body that nobody reads keeps two such pieces on the host, and an
/// instance may have thousands of bodies.
const BODY_PIECE_BYTES: usize = 64 << 10;

/// How long a name may take to be resolved, unless the guest gives a connection less.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);

type ConnectionDriver = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for OutboundHttp {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: ConnectionDriver,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, ConnectionDriver), Error>> + Send> {
        let uri = request.uri();
        let granted: Vec<_> =
            self.capabilities.http.iter().filter(|destination| destination.holds(uri)).cloned().collect();
        if granted.is_empty() {
            let host = uri.authority().map_or("nowhere", |authority| authority.as_str());
            self.sink.line(
                StandardStream::Stderr,
                &format!("a request to {host} was not sent: it is not granted"),
            );
            return Box::new(async { Err(Error::HttpRequestDenied) });
        }
        // Who names this machine, or an address, means it.
        let named = granted.iter().any(|destination| destination.is_literal());
        let (sink, network) = (self.sink.clone(), self.network.clone());
        Box::new(async move {
            let (target, timeouts) = (RequestTarget::of(request.uri())?, RequestTimeouts::of(options));
            let resolving = timeouts.connect.min(RESOLVE_TIMEOUT);
            let addresses = network.addresses(&target, resolving, named, &*sink).await?;
            connection::send(request, &target, &addresses, timeouts, (network.tls)()).await
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_BYTES
    }
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
    near || local_address_to(SocketAddr::new(ip, address.port())) == Some(ip)
}

/// Where the machines of a cloud ask about themselves, beside the link-local address.
const CLOUD_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The address of this machine from which another is reached; `None` where there is no way. Nothing is sent.
fn local_address_to(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
