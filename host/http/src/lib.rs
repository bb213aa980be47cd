//! What both planes do with HTTP before they look at a request: connections, their limits, hosts and origins; and the
//! client for what they ask of others.

mod client;
mod connection;
mod connections;
mod cors;
mod guard;
mod linger;
mod listener;
mod pace;
mod tls;
mod watched;

pub use client::{
    AddressPolicy, ClientSettings, HttpClient, ProxyPolicy, ReceivedBody, RedirectPolicy, RequestFailure,
    ServerTrust, collect_body,
};
pub use connections::ConnectionLimiter;
pub use cors::{CorsPolicy, is_preflight};
pub use guard::{GuardRejection, RequestGuard};
pub use linger::{ReturnedBody, with_rest_of_body};
pub use listener::{ConnectionBuffers, DrainingConnections, HttpListener, serve};
pub use pace::{BodyLateness, BodyPace, BoxError, PacedBody, is_too_slow};
pub use tls::acceptor as tls_acceptor;
