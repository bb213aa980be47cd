//! Which servers a client trusts over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eyot_core::{Digest, Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Which certificates a client accepts from a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerTrust {
    /// Those whose certificates come from an authority that this machine trusts.
    #[default]
    System,
    /// Those, and others whose certificates come from an authority in one of these PEM files.
    WithAuthorities(Vec<PathBuf>),
    /// One that has a certificate with this sha256, whatever name is in it: a server of the same data
    /// folder, which said so in a file there.
    Exactly(Digest),
}

impl ServerTrust {
    /// Those of the system, and those of a file; an empty path is no file.
    pub fn with_authority(file: &Path) -> Self {
        if file.as_os_str().is_empty() { Self::System } else { Self::WithAuthorities(vec![file.to_owned()]) }
    }

    /// The sha256 of the first certificate in a PEM file: the server's own in a chain.
    pub fn fingerprint(file: &Path) -> Result<Digest> {
        let found = CertificateDer::from_pem_file(file);
        found.map(Digest::of).map_err(|error| no_certificates(file, error))
    }

    pub(super) fn client_config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("no TLS").because(error))?;
        let Self::Exactly(fingerprint) = self else {
            return Ok(config.with_root_certificates(self.roots()?).with_no_client_auth());
        };
        let verifier = Arc::new(PinnedCertificate { fingerprint: *fingerprint, provider });
        Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        // A machine may have none, and some that nobody can read: a server then fails by its name.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let Self::WithAuthorities(files) = self else { return Ok(roots) };
        for file in files {
            let read = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
            let read = read.map_err(|error| no_certificates(file, error))?;
            if roots.add_parsable_certificates(read).0 == 0 {
                return Err(no_certificates(file, rustls::pki_types::pem::Error::NoItemsFound));
            }
        }
        Ok(roots)
    }
}

fn no_certificates(file: &Path, error: rustls::pki_types::pem::Error) -> Error {
    let found = Error::invalid(format!("{} holds no certificates", file.display())).because(error);
    found.hint("it must be a file in PEM: -----BEGIN CERTIFICATE-----")
}

/// Accepts one certificate alone.
#[derive(Debug)]
struct PinnedCertificate {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Digest::of(end_entity) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    // The certificate is public; that the server holds its key is what these two check.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
