//! A request over a connection of its own: to the very addresses that were looked at, under the name that was asked for.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::ConnectionDriver;

/// How long each part of a request may take where the guest does not say.
const PART_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a request goes.
pub(super) struct RequestTarget {
    /// Without the brackets of an address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_encrypted: bool,
    /// As the header Host has it.
    pub(super) authority: String,
}

impl RequestTarget {
    /// Fails with `HttpRequestUriInvalid` where the URI has no host, or a user before it.
    pub(super) fn of(uri: &Uri) -> Result<Self, Error> {
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(Error::HttpRequestUriInvalid)?;
        let is_encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let port = authority.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, is_encrypted, authority: authority.to_string() })
    }
}

/// How long the parts of a request may take.
pub(super) struct RequestTimeouts {
    pub(super) connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl RequestTimeouts {
    pub(super) fn of(options: Option<RequestOptions>) -> Self {
        let or = |given: Option<Duration>| given.unwrap_or(PART_TIMEOUT);
        Self {
            connect: or(options.and_then(|options| options.connect_timeout)),
            first_byte: or(options.and_then(|options| options.first_byte_timeout)),
            between_bytes: or(options.and_then(|options| options.between_bytes_timeout)),
        }
    }
}

/// Whom servers have to be certified by: the public authorities that are compiled in.
pub(super) fn public_tls() -> Arc<rustls::ClientConfig> {
    static CONFIG: LazyLock<Arc<rustls::ClientConfig>> =
        LazyLock::new(|| tls(rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() }));
    CONFIG.clone()
}

pub(super) fn tls(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// Sends a request to the first of `addresses` that takes a connection. Over TLS the server has to prove the name of
/// the target. Answers the response, and what drives the connection on while its body is read.
pub(super) async fn send(
    request: Request<WasiBody>,
    target: &RequestTarget,
    addresses: &[SocketAddr],
    timeouts: RequestTimeouts,
    tls: Arc<rustls::ClientConfig>,
) -> Result<(Response<WasiBody>, ConnectionDriver), Error> {
    let RequestTimeouts { connect, first_byte, between_bytes } = timeouts;
    let stream = timeout(connect, stream(target, addresses, tls)).await;
    let stream = stream.map_err(|_| Error::ConnectionTimeout)??;
    let shaking = http1::Builder::new().handshake(TokioIo::new(stream));
    let (mut sender, connection) =
        timeout(connect, shaking).await.map_err(|_| Error::ConnectionTimeout)??;
    let mut connection = Some(Box::pin(connection));
    let request = as_sent(request, target)?;
    let answered = timeout(first_byte, sender.send_request(request));
    let response = driven(answered, &mut connection).await?;
    let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
    let rest = async move {
        let ended = match connection {
            Some(connection) => connection.await,
            None => Ok(()),
        };
        ended.map_err(|error| if error.is_timeout() { Error::HttpResponseTimeout } else { error.into() })
    };
    let body = |incoming| {
        let silence = Box::pin(tokio::time::sleep_until(tokio::time::Instant::now() + between_bytes));
        http_body_util::BodyExt::boxed_unsync(TimedBody { incoming, between_bytes, silence })
    };
    Ok((response.map(body), Box::new(rest)))
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

async fn stream(
    target: &RequestTarget,
    addresses: &[SocketAddr],
    tls: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn ByteStream>, Error> {
    let stream = TcpStream::connect(addresses).await.map_err(Error::Connect)?;
    if !target.is_encrypted {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(target.host.clone())?;
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await.map_err(Error::Tls)?;
    Ok(Box::new(stream))
}

/// The request as it goes over a connection: its path, and whom it is for in the header Host.
fn as_sent(mut request: Request<WasiBody>, target: &RequestTarget) -> Result<Request<WasiBody>, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() =
        Uri::builder().path_and_query(path).build().map_err(|_| Error::HttpRequestUriInvalid)?;
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(&target.authority).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

type HttpConnection = http1::Connection<TokioIo<Box<dyn ByteStream>>, WasiBody>;

/// What `work` comes to, while the connection that it needs is driven. One that has ended is taken away.
async fn driven<T>(
    work: impl Future<Output = T>,
    connection: &mut Option<Pin<Box<HttpConnection>>>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        let Some(driven) = connection.as_mut() else { return Poll::Pending };
        let ended = ready!(driven.as_mut().poll(context));
        *connection = None;
        // It may have been answered with the last that came: many servers end a connection without the word of TLS
        // that it ends.
        match (work.as_mut().poll(context), ended) {
            (Poll::Ready(done), _) => Poll::Ready(Ok(done)),
            (Poll::Pending, Ok(())) => Poll::Pending,
            (Poll::Pending, Err(error)) => Poll::Ready(Err(error.into())),
        }
    })
    .await
}

/// A body whose parts come within a time of each other.
struct TimedBody {
    incoming: Incoming,
    between_bytes: Duration,
    silence: Pin<Box<tokio::time::Sleep>>,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = tokio::time::Instant::now() + self.between_bytes;
                self.silence.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) if error.is_timeout() => {
                Poll::Ready(Some(Err(Error::HttpResponseTimeout)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.silence.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

/// Addresses of a host, as this system finds them.
pub(super) async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect())
}
