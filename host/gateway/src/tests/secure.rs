//! TLS.

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

struct Files {
    dir: TempDir,
    cert: String,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let cert = made.cert.pem();
        std::fs::write(dir.path().join("cert.pem"), &cert).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("none.pem"), "nothing").unwrap();
        Self { dir, cert }
    }

    fn config(&self, cert: &str, key: &str) -> config::GatewaySettings {
        let path = |name: &str| self.dir.path().join(name);
        config::GatewaySettings {
            tls_cert: path(cert),
            tls_key: path(key),
            ..config::GatewaySettings::default()
        }
    }

    async fn connect(&self, address: SocketAddr, protocol: &[u8]) -> TlsStream<tokio::net::TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        stream
    }
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let files = Files::new();
    let chosen = files.config("cert.pem", "key.pem");
    let world =
        World::new(|config| (config.tls_cert, config.tls_key) = (chosen.tls_cert, chosen.tls_key)).await;
    world.activate(1, None, MINUTE);
    let request = || {
        let uri = "https://localhost/v2/models/echo/infer";
        Request::post(uri).header("host", "localhost").body(Full::new(Bytes::from(GOOD))).unwrap()
    };
    let stream = TokioIo::new(files.connect(world.address, b"http/1.1").await);
    let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(send.send_request(request()).await.unwrap().status(), StatusCode::OK);

    let stream = TokioIo::new(files.connect(world.address, b"h2").await);
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(send.send_request(request()).await.unwrap().status(), StatusCode::OK);

    // Who speaks no TLS is not answered, and hurts nobody.
    let mut plain = tokio::net::TcpStream::connect(world.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET /v2 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    for (cert, key, says) in [
        ("none.pem", "key.pem", "none.pem holds no certificates"),
        ("away.pem", "key.pem", "away.pem holds no certificates"),
        ("cert.pem", "none.pem", "none.pem holds no private key"),
        ("cert.pem", "cert.pem", "cert.pem holds no private key"),
    ] {
        let gateway = Gateway::new(files.config(cert, key), Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let repository = Arc::new(Shelf { gateway: gateway.clone(), unloaded: Mutex::default() });
        let error = gateway
            .listen(listener, limits(), ConnectionLimiter::new(&limits()), files.dir.path(), repository)
            .err()
            .unwrap();
        assert!(error.chain().contains(says), "{cert} {key}: {error:?}");
    }
}
