#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::logs::NullSink;

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
    if let Some(own) = local_address_to("192.0.2.1:9".parse().unwrap()) {
        assert!(is_guarded(SocketAddr::new(own, 8090)), "{own}");
    }
}

/// Answers one request with who it is, over TLS where it has a certificate; gives the request's head.
async fn server(
    name: &'static str,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            None => answer(stream, name).await,
            Some(tls) => {
                answer(tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap(), name).await
            }
        }
    });
    (address, task)
}

async fn answer(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, name: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(head).unwrap()
}

/// A network whose names lead to the first of `answers` when they are first looked up, then to the next.
fn network(answers: Vec<Vec<SocketAddr>>, is_guarded: fn(SocketAddr) -> bool) -> Arc<OutboundNetwork> {
    let asked = AtomicUsize::new(0);
    let resolve = move |_, _| {
        let found = answers[asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)].clone();
        std::future::ready(Ok(found)).boxed()
    };
    Arc::new(OutboundNetwork { resolve: Box::new(resolve), is_guarded, tls: test_tls })
}

/// A request to `uri`, as a component sends it that may go everywhere.
async fn ask(network: &Arc<OutboundNetwork>, uri: &str) -> Result<String, Error> {
    let capabilities =
        GrantedCapabilities { http: vec!["*".parse().unwrap()], ..GrantedCapabilities::default() };
    let mut outbound = OutboundHttp {
        capabilities: Arc::new(capabilities),
        sink: Arc::new(NullSink),
        network: network.clone(),
    };
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(uri).body(body).unwrap();
    let sent = Box::into_pin(outbound.send_request(request, None, Box::new(async { Ok(()) })));
    let (response, io) = sent.await?;
    let io = tokio::spawn(Box::into_pin(io));
    let body = response.into_body().collect().await?.to_bytes();
    io.abort();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The certificate of `api.test`, made for this process.
static CERTIFICATE: LazyLock<rcgen::CertifiedKey<rcgen::KeyPair>> =
    LazyLock::new(|| rcgen::generate_simple_self_signed(vec!["api.test".to_owned()]).unwrap());

fn test_tls() -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CERTIFICATE.cert.der().clone()).unwrap();
    connection::tls(roots)
}

fn server_tls() -> Arc<rustls::ServerConfig> {
    let key = rustls::pki_types::PrivateKeyDer::try_from(CERTIFICATE.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![CERTIFICATE.cert.der().clone()], key).unwrap())
}

/// Of these tests only even addresses of 127.0.0.0/8 are guarded.
fn is_even(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if ip.octets()[3] % 2 == 0)
}

#[tokio::test]
async fn a_request_goes_to_the_address_that_was_looked_at() {
    for (scheme, tls) in [("http", None), ("https", Some(server_tls()))] {
        let (good, asked) = server("good", tls.clone()).await;
        // Nothing is there, and nothing may look.
        let evil = SocketAddr::new([127, 0, 0, 2].into(), good.port());
        let uri = format!("{scheme}://api.test:{}/path?query", good.port());
        let rebound = network(vec![vec![good], vec![evil]], is_even);
        assert_eq!(ask(&rebound, &uri).await.unwrap(), "good", "{scheme}");
        let head = asked.await.unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /path?query http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nhost: api.test:{}\r\n", good.port())), "{head}");
        // The next look finds what is guarded.
        assert!(matches!(ask(&rebound, &uri).await, Err(Error::HttpRequestDenied)), "{scheme}");
    }
}

#[tokio::test]
async fn of_several_addresses_those_that_are_guarded_are_left_out() {
    let (good, asked) = server("good", Some(server_tls())).await;
    let guarded = SocketAddr::new([127, 0, 0, 2].into(), good.port());
    let uri = format!("https://api.test:{}/", good.port());
    let both = network(vec![vec![guarded, good]], is_even);
    assert_eq!(ask(&both, &uri).await.unwrap(), "good");
    asked.await.unwrap();
    assert!(matches!(ask(&network(vec![vec![]], is_even), &uri).await, Err(Error::DestinationNotFound)));
}

#[tokio::test]
async fn a_server_has_to_prove_the_name_and_not_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shaken = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(server_tls()).accept(stream).await.is_ok()
    });
    let other = network(vec![vec![address]], is_even);
    let asked = ask(&other, &format!("https://other.test:{}/", address.port())).await;
    assert!(matches!(asked, Err(Error::Tls(_))), "{asked:?}");
    assert!(!shaken.await.unwrap());
    assert!(matches!(ask(&other, "http://user@api.test/").await, Err(Error::HttpRequestUriInvalid)));
}
