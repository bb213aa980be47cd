//! The client against real sockets.

#![allow(clippy::unwrap_used)]

mod servers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eyot_core::{Error, ErrorKind};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};

use super::*;
use servers::{ForwardProxy, RawServer, TestServer, tls_files};

fn direct() -> ClientSettings {
    ClientSettings { trust: None, proxies: ProxyPolicy::Direct, ..ClientSettings::default() }
}

fn client(settings: ClientSettings) -> HttpClient {
    HttpClient::new(settings).unwrap()
}

fn get(url: &str) -> Request<Empty<Bytes>> {
    Request::get(url).header(header::AUTHORIZATION, "Bearer secret").body(Empty::new()).unwrap()
}

async fn text(response: Response<ReceivedBody>) -> String {
    String::from_utf8(collect_body(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Why a request, or the body of its answer, fails.
async fn failure(client: &HttpClient, url: &str) -> Error {
    match client.send(get(url)).await {
        Ok(response) => collect_body(response.into_body(), 1 << 20).await.unwrap_err(),
        Err(failure) => failure.into(),
    }
}

#[tokio::test]
async fn connections_are_used_again_and_bodies_arrive_whole() {
    let server = TestServer::echo().await;
    let client = client(direct());
    for length in [0, 1, 100_000] {
        let body = "x".repeat(length);
        let request = Request::post(server.url("/a")).body(Full::new(Bytes::from(body.clone()))).unwrap();
        assert_eq!(text(client.send(request).await.unwrap()).await, format!("POST /a {body}"));
    }
    assert_eq!(server.connection_count(), 1);
}

#[tokio::test]
async fn plain_requests_go_by_the_proxy_with_their_whole_url() {
    let server = TestServer::echo().await;
    let proxy = ForwardProxy::to(server.address).await;
    let settings = |except: &str| ClientSettings {
        proxies: ProxyPolicy::Through { proxy: proxy.url("name:pass%21@"), except: except.to_owned() },
        ..direct()
    };
    let by_proxy = client(settings(""));
    for _ in 0..2 {
        let answered = by_proxy.send(get("http://registry.test/a?b=1")).await.unwrap();
        assert_eq!(text(answered).await, "GET /a?b=1 ");
    }
    let seen = proxy.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    for head in seen {
        assert!(head.starts_with("GET http://registry.test/a?b=1 HTTP/1.1\r\n"), "{head}");
        // name:pass!
        assert!(head.to_lowercase().contains("proxy-authorization: basic bmftztpwyxnziq=="), "{head}");
    }
    // NO_PROXY, and this machine itself. 0.0.0.0 is no loopback address, but arrives here.
    let port = server.address.port();
    let wide = format!("http://0.0.0.0:{port}/a");
    assert_eq!(text(by_proxy.send(get(&wide)).await.unwrap()).await, "GET /a ");
    assert_eq!(proxy.seen().len(), 3, "no rule excepts it");
    let excepting = client(settings("other.test,0.0.0.0/8"));
    for url in [wide, format!("http://127.0.0.1:{port}/a"), format!("http://localhost:{port}/a")] {
        assert_eq!(text(excepting.send(get(&url)).await.unwrap()).await, "GET /a ", "{url}");
    }
    assert_eq!(proxy.seen().len(), 3);
}

#[tokio::test]
async fn requests_over_tls_go_through_a_tunnel_that_sees_nothing_of_them() {
    let files = tls_files("registry.test");
    let server = TestServer::echo_over_tls(&files).await;
    let proxy = ForwardProxy::to(server.address).await;
    let settings = |trust, proxy| ClientSettings {
        trust: Some(trust),
        proxies: ProxyPolicy::Through { proxy, except: String::new() },
        ..ClientSettings::default()
    };
    let trust = ServerTrust::WithAuthorities(vec![files.path().join("cert.pem")]);
    let trusting = client(settings(trust.clone(), proxy.url("name:pass@")));
    assert_eq!(text(trusting.send(get("https://registry.test/a")).await.unwrap()).await, "GET /a ");
    let seen = proxy.seen().concat();
    assert!(seen.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Proxy-Authorization: Basic ") && !seen.contains("secret"), "{seen}");
    assert!(!server.seen().concat().contains("proxy-authorization"));

    let error =
        client(settings(ServerTrust::System, proxy.url(""))).send(get("https://registry.test/a")).await;
    assert!(matches!(error, Err(RequestFailure::UntrustedCertificate(_))), "{:?}", error.err());
    let other = failure(&trusting, "https://other.test/a").await;
    assert!(other.chain().contains("https://other.test shows a certificate"), "{other:?}");
    let pinned = ServerTrust::Exactly(ServerTrust::fingerprint(&files.path().join("cert.pem")).unwrap());
    let pinned = client(settings(pinned, proxy.url("")));
    assert_eq!(text(pinned.send(get("https://other.test/a")).await.unwrap()).await, "GET /a ");

    let refusing = TestServer::answering(|_| status(StatusCode::PROXY_AUTHENTICATION_REQUIRED)).await;
    let refused = client(settings(trust.clone(), refusing.url("")));
    let error = failure(&refused, "https://registry.test/a").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("proxy authorization required"), "{error:?}");
    let socks = client(settings(trust, "socks5://127.0.0.1:1".to_owned()));
    let error = failure(&socks, "https://registry.test/a").await;
    assert!(error.chain().contains("socks5://127.0.0.1:1 is none of HTTP"), "{error:?}");
}

#[test]
fn a_file_without_certificates_is_named() {
    let files = tls_files("registry.test");
    let none = files.path().join("none.pem");
    let trust = Some(ServerTrust::with_authority(&none));
    let error = HttpClient::new(ClientSettings { trust, ..direct() }).err().unwrap();
    assert!(error.message().contains("none.pem holds no certificates"), "{error:?}");
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).unwrap()
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    let response = Response::builder().status(StatusCode::FOUND).header(header::LOCATION, to);
    response.body(Full::default()).unwrap()
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_was_said_and_secrets_stay() {
    let other = TestServer::echo().await;
    let elsewhere = other.url("/c");
    let server = TestServer::answering(move |request| match request.uri().path() {
        "/a" => redirect("/b?x=1"),
        "/b" => redirect(&elsewhere),
        "/round" => redirect("/round"),
        "/nowhere" => redirect("no url"),
        _ => status(StatusCode::NOT_FOUND),
    })
    .await;
    let following =
        client(ClientSettings { redirects: RedirectPolicy::Follow { max_redirects: 2 }, ..direct() });
    assert_eq!(text(following.send(get(&server.url("/a"))).await.unwrap()).await, "GET /c ");
    assert!(server.seen().iter().all(|head| head.contains("Bearer secret")), "{:?}", server.seen());
    assert!(!other.seen().concat().contains("secret"), "{:?}", other.seen());
    for (path, expected) in [("/round", "sends on and on"), ("/nowhere", "no URL")] {
        let error = failure(&following, &server.url(path)).await;
        assert!(error.message().contains(expected), "{error:?}");
    }
    let mut post = get(&server.url("/a"));
    *post.method_mut() = Method::POST;
    assert_eq!(following.send(post).await.unwrap().status(), StatusCode::FOUND, "nothing is done twice");
    let refusing = following.with_redirects(RedirectPolicy::Refuse);
    assert_eq!(refusing.send(get(&server.url("/a"))).await.unwrap().status(), StatusCode::FOUND);
}

#[tokio::test]
async fn no_redirect_leads_out_of_tls() {
    let files = tls_files("registry.test");
    let plain = TestServer::echo().await;
    let to = plain.url("/c");
    let server = TestServer::answering_over_tls(&files, move |_| redirect(&to)).await;
    let proxy = ForwardProxy::to(server.address).await;
    let client = client(ClientSettings {
        trust: Some(ServerTrust::with_authority(&files.path().join("cert.pem"))),
        proxies: ProxyPolicy::Through { proxy: proxy.url(""), except: String::new() },
        redirects: RedirectPolicy::Follow { max_redirects: 5 },
        ..ClientSettings::default()
    });
    let error = failure(&client, "https://registry.test/a").await;
    assert!(error.message().contains("which is not encrypted"), "{error:?}");
    assert_eq!((error.kind(), plain.connection_count()), (ErrorKind::Denied, 0));
}

#[tokio::test]
async fn addresses_of_private_networks_are_asked_by_nobody_who_may_not() {
    let server = TestServer::echo().await;
    let port = server.address.port();
    let guarded = client(ClientSettings {
        addresses: AddressPolicy::PublicOnly,
        redirects: RedirectPolicy::Follow { max_redirects: 5 },
        ..direct()
    });
    // As an address, and as a name that means one.
    for host in ["127.0.0.1", "localhost"] {
        let failed = guarded.send(get(&format!("http://{host}:{port}/"))).await;
        let Err(RequestFailure::ForbiddenAddress(error)) = failed else { panic!("{:?}", failed.err()) };
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().starts_with(host), "{error:?}");
    }
    assert_eq!(server.connection_count(), 0);
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_not_waited_for() {
    let short = Duration::from_millis(20);
    let silent = RawServer::saying(b"").await;
    let stops = RawServer::saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
    let dribbles = RawServer::dribbling().await;
    let waiting = |settings| client(ClientSettings { trust: Some(ServerTrust::System), ..settings });
    for (what, url, settings) in [
        ("an answer", silent.url("http"), ClientSettings { response_timeout: Some(short), ..direct() }),
        ("an answer", silent.url("http"), ClientSettings { total_timeout: Some(short), ..direct() }),
        ("TLS", silent.url("https"), ClientSettings { connect_timeout: short, ..direct() }),
        ("the rest", stops.url("http"), ClientSettings { read_timeout: Some(short), ..direct() }),
        ("the end", dribbles.url("http"), ClientSettings { total_timeout: Some(short), ..direct() }),
    ] {
        let ended = tokio::time::timeout(Duration::from_secs(60), failure(&waiting(settings), &url)).await;
        let error = ended.unwrap_or_else(|_| panic!("{what} is waited for"));
        assert_eq!(error.kind(), ErrorKind::Timeout, "{what}: {error:?}");
    }
}

#[tokio::test]
async fn who_hangs_up_is_said_to_have() {
    let client = client(direct());
    for (sent, expected) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"[..], "ended early"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "ended early"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "does not answer"),
        (b"", "does not answer"),
        (b"SSH-2.0-nothing of the kind\r\n", "does not answer"),
    ] {
        let server = RawServer::hanging_up_after(sent).await;
        let error = failure(&client, &server.url("http")).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.message().contains(expected), "{error:?}");
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = failure(&client, &format!("http://{gone}/path?token=x")).await;
    assert_eq!(error.message(), format!("http://{gone} does not answer"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let server = TestServer::echo().await;
    let client = client(direct());
    // "GET /a "
    for (max_bytes, expected) in [(7, None), (6, Some(ErrorKind::TooLarge))] {
        let response = client.send(get(&server.url("/a"))).await.unwrap();
        let read = collect_body(response.into_body(), max_bytes).await;
        assert_eq!(read.err().map(|error| error.kind()), expected, "{max_bytes}");
    }
    let endless = RawServer::dribbling().await;
    let response = client.send(get(&endless.url("http"))).await.unwrap();
    let error = collect_body(response.into_body(), 1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_client_without_tls_says_so() {
    let error = failure(&client(direct()), "https://127.0.0.1:1/").await;
    assert!(error.chain().contains("asks nobody over TLS"), "{error:?}");
}
