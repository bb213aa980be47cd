//! Little servers: one that answers, one that says bytes, and a proxy.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// A certificate for a name, its key, and a file that is neither.
pub(super) fn tls_files(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    for (file, text) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        ("none.pem", "nothing".to_owned()),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    dir
}

#[derive(Default)]
struct Record {
    connection_count: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Record {
    fn add(&self, head: String) {
        self.heads.lock().unwrap().push(head);
    }
}

type Answer = dyn Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync;

/// Answers over HTTP/1.1, and knows what it was asked. It ends when this is dropped.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    record: Arc<Record>,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    /// Answers with what it was asked: method, path and body.
    pub(super) async fn echo() -> Self {
        Self::start(None, None).await
    }

    pub(super) async fn echo_over_tls(files: &TempDir) -> Self {
        Self::start(Some(files.path()), None).await
    }

    pub(super) async fn answering(
        answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::start(None, Some(Arc::new(answer))).await
    }

    pub(super) async fn answering_over_tls(
        files: &TempDir,
        answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(files.path()), Some(Arc::new(answer))).await
    }

    async fn start(tls: Option<&Path>, answer: Option<Arc<Answer>>) -> Self {
        let acceptor =
            tls.map(|dir| crate::tls_acceptor("api", &dir.join("cert.pem"), &dir.join("key.pem")).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, record) = (listener.local_addr().unwrap(), Arc::new(Record::default()));
        let recording = record.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                recording.connection_count.fetch_add(1, Ordering::SeqCst);
                let (record, answer, acceptor) = (recording.clone(), answer.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, record, answer).await,
                        // Who does not believe the certificate goes away.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, record, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, record, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connection_count(&self) -> usize {
        self.record.connection_count.load(Ordering::SeqCst)
    }

    /// The URIs and headers of all requests.
    pub(super) fn seen(&self) -> Vec<String> {
        self.record.heads.lock().unwrap().clone()
    }
}

async fn serve<S>(stream: S, record: Arc<Record>, answer: Option<Arc<Answer>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        record.add(format!("{} {:?}", request.uri(), request.headers()));
        let answered = answer.as_ref().map(|answer| answer(&request));
        async move {
            let Some(answered) = answered else { return Ok::<_, Infallible>(echo(request).await) };
            Ok(answered)
        }
    });
    // A client that breaks off is what some tests are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mut text = format!("{} {} ", request.method(), request.uri()).into_bytes();
    text.extend_from_slice(&collect_body(request.into_body(), 1 << 20).await.unwrap());
    Response::new(Full::new(Bytes::from(text)))
}

/// Reads the head of a request.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A proxy that brings everything to one server, whatever host it is asked for.
pub(super) struct ForwardProxy {
    address: SocketAddr,
    record: Arc<Record>,
    task: JoinHandle<()>,
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ForwardProxy {
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, record) = (listener.local_addr().unwrap(), Arc::new(Record::default()));
        let recording = record.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(forward(stream, server, recording.clone()));
            }
        });
        Self { address, record, task }
    }

    /// With `user:password@` before the host, or nothing.
    pub(super) fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.record.heads.lock().unwrap().clone()
    }
}

/// One request of a connection; the next comes over another.
async fn forward(mut stream: TcpStream, server: SocketAddr, record: Arc<Record>) -> Option<()> {
    let head = read_head(&mut stream).await?;
    record.add(head.clone());
    let mut server = TcpStream::connect(server).await.ok()?;
    if head.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    } else {
        let (method, rest) = head.split_once(" http://")?;
        let (_, rest) = rest.split_once('/')?;
        let (line, headers) = rest.split_once("\r\n")?;
        let head = format!("{method} /{line}\r\nconnection: close\r\n{headers}");
        server.write_all(head.as_bytes()).await.ok()?;
    }
    copy_bidirectional(&mut stream, &mut server).await.ok()?;
    Some(())
}

/// What a server says, whatever it is asked.
#[derive(Clone, Copy)]
enum Script {
    /// These bytes, and nothing more.
    Say(&'static [u8]),
    /// The same, and hangs up.
    HangUpAfter(&'static [u8]),
    /// Byte after byte, for as long as the client reads.
    Dribble,
}

impl Script {
    async fn play(self, mut stream: TcpStream) -> std::io::Result<()> {
        match self {
            Self::Say(bytes) => {
                // What is said before it is asked for is no answer.
                read_head(&mut stream).await;
                stream.write_all(bytes).await?;
                // Until the client goes.
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
            }
            Self::HangUpAfter(bytes) => {
                read_head(&mut stream).await;
                stream.write_all(bytes).await
            }
            Self::Dribble => {
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(b"1\r\nx\r\n").await?;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Plays a script to whoever connects. It ends when this is dropped.
pub(super) struct RawServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RawServer {
    pub(super) async fn saying(bytes: &'static [u8]) -> Self {
        Self::start(Script::Say(bytes)).await
    }

    pub(super) async fn hanging_up_after(bytes: &'static [u8]) -> Self {
        Self::start(Script::HangUpAfter(bytes)).await
    }

    pub(super) async fn dribbling() -> Self {
        Self::start(Script::Dribble).await
    }

    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(script.play(stream));
            }
        });
        Self { address, task }
    }

    pub(super) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/", self.address)
    }
}
