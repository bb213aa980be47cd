//! Making connections: straight to a server, or by a proxy.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use eyot_core::Result;
use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt as _, service_fn};

use super::address::GuardedResolver;
use super::failure::no_connection_within;
use super::proxy::{ProxyRules, UnsupportedProxy};
use super::stream::ClientStream;
use super::{AddressPolicy, BoxError, ClientSettings, ServerTrust};

/// Connections for the pool of a client. Cheap to clone.
#[derive(Clone)]
pub(super) struct ClientConnector {
    direct: HttpConnector<GuardedResolver>,
    /// Who runs this machine chose it, wherever it is.
    to_proxy: HttpConnector<GuardedResolver>,
    proxies: ProxyRules,
    tls: Option<Arc<ClientConfig>>,
    /// For proxies that speak TLS themselves: read when one is met.
    proxy_tls: Arc<OnceLock<Arc<ClientConfig>>>,
    connect_timeout: Duration,
}

impl ClientConnector {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self> {
        let to = |addresses| {
            let mut connector = HttpConnector::new_with_resolver(GuardedResolver::new(addresses));
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(settings.connect_timeout));
            connector
        };
        Ok(Self {
            direct: to(settings.addresses),
            to_proxy: to(AddressPolicy::Any),
            proxies: ProxyRules::new(&settings.proxies),
            tls: settings.trust.as_ref().map(|trust| trust.client_config().map(Arc::new)).transpose()?,
            proxy_tls: Arc::default(),
            connect_timeout: settings.connect_timeout,
        })
    }

    pub(super) fn proxies(&self) -> &ProxyRules {
        &self.proxies
    }

    async fn connect(self, target: Uri) -> Result<ClientStream, BoxError> {
        let is_encrypted = target.scheme() == Some(&Scheme::HTTPS);
        if is_encrypted && self.tls.is_none() {
            return Err("this client asks nobody over TLS".into());
        }
        let stream = match self.proxies.proxy_for(&target) {
            None => ClientStream::new(self.direct.clone().oneshot(target.clone()).await?),
            Some(proxy) if is_encrypted => self.tunnel(&proxy, target.clone()).await?,
            Some(proxy) => self.clone().reach_proxy(proxy.uri().clone()).await?.forwarded(),
        };
        match self.tls.filter(|_| is_encrypted) {
            Some(tls) => encrypt(stream, &target, tls).await,
            None => Ok(stream),
        }
    }

    /// A connection through a proxy that sees nothing of what is said on it.
    async fn tunnel(&self, proxy: &Intercept, target: Uri) -> Result<ClientStream, BoxError> {
        let connector = self.clone();
        let reach = service_fn(move |proxy| connector.clone().reach_proxy(proxy));
        let mut tunnel = Tunnel::new(proxy.uri().clone(), reach);
        if let Some(shown) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(shown.clone());
        }
        Ok(tunnel.call(target).await?)
    }

    async fn reach_proxy(self, proxy: Uri) -> Result<ClientStream, BoxError> {
        let is_encrypted = match proxy.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(UnsupportedProxy(proxy).into()),
        };
        let stream = ClientStream::new(self.to_proxy.clone().oneshot(proxy.clone()).await?);
        if !is_encrypted {
            return Ok(stream);
        }
        let tls = match self.proxy_tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let read = tokio::task::spawn_blocking(|| ServerTrust::System.client_config()).await??;
                self.proxy_tls.get_or_init(|| Arc::new(read)).clone()
            }
        };
        encrypt(stream, &proxy, tls).await
    }
}

async fn encrypt(
    stream: ClientStream,
    target: &Uri,
    tls: Arc<ClientConfig>,
) -> Result<ClientStream, BoxError> {
    let host = target.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned())?;
    let stream = TlsConnector::from(tls).connect(name, TokioIo::new(stream)).await?;
    Ok(ClientStream::new(TokioIo::new(stream)))
}

impl Service<Uri> for ClientConnector {
    type Response = ClientStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<ClientStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (connector, limit) = (self.clone(), self.connect_timeout);
        Box::pin(async move {
            let made = tokio::time::timeout(limit, connector.connect(target)).await;
            made.unwrap_or_else(|_| Err(no_connection_within(limit)))
        })
    }
}
