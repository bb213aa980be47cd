//! TLS, for both planes.

use std::path::Path;
use std::sync::Arc;

use eyot_core::{Error, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Speaks TLS with a certificate chain and its key, both in PEM, which `section` of the configuration
/// names. Clients choose HTTP/2 or HTTP/1.1.
///
/// Fails with `Invalid`, naming the file that is no such thing.
pub fn acceptor(section: &str, cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let wrong = |path: &Path, what: &str, error: rustls::pki_types::pem::Error| {
        let error = Error::invalid(format!("{} holds no {what}", path.display())).because(error);
        error.hint(format!("{section}.tls-cert and {section}.tls-key name files in PEM"))
    };
    let chain =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(cert, "certificates", error))?;
    if chain.is_empty() {
        return Err(wrong(cert, "certificates", rustls::pki_types::pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, "private key", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, secret));
    let mut config = config.map_err(|error| {
        Error::invalid(format!("{} and {} do not belong together", cert.display(), key.display()))
            .because(error)
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
