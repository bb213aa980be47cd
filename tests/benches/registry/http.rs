//! The load: kept connections that do no more than they must, so that the servers are what is measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail, ensure};
use eyot_core::Digest;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A connection to one server.
pub(crate) struct Connection {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
    /// Bytes of the buffer that hold an answer.
    filled: usize,
}

impl Connection {
    pub(crate) fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address: address.to_owned(), buffer: vec![0; 256 << 10], filled: 0 })
    }

    /// The bytes of a request without a body, made once and sent often.
    pub(crate) fn request(address: &str, method: &str, path: &str) -> Vec<u8> {
        // Without the first, docker-registry has no manifest of the OCI.
        let accept = "application/vnd.oci.image.manifest.v1+json, */*";
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\n\r\n").into_bytes()
    }

    /// Sends a request, and checks that the answer is 200 with a body that is `expected`.
    pub(crate) fn expect(&mut self, request: &[u8], expected: &[u8]) -> Result<()> {
        self.stream.write_all(request)?;
        let (end, length) = self.read_head()?;
        ensure!(
            self.buffer.starts_with(b"HTTP/1.1 200") && length == expected.len(),
            "{}",
            String::from_utf8_lossy(&self.buffer[..end])
        );
        let mut compared = self.filled - end;
        ensure!(self.buffer[end..self.filled] == expected[..compared], "the server sent other bytes");
        while compared < length {
            let read = self.stream.read(&mut self.buffer)?;
            ensure!(read > 0, "the server closed the connection");
            ensure!(
                self.buffer[..read] == expected[compared..compared + read],
                "the server sent other bytes"
            );
            compared += read;
        }
        Ok(())
    }

    /// Reads until the end of the head; answers where the body begins, and its length.
    fn read_head(&mut self) -> Result<(usize, usize)> {
        self.filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[self.filled..])?;
            ensure!(read > 0, "the server closed the connection");
            self.filled += read;
            let found = self.buffer[..self.filled].windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = found else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = match length {
                Some((_, length)) => length.trim().parse()?,
                None if head.contains(" 204 ") || head.contains(" 201 ") => 0,
                None => bail!("the answer has no length: {head}"),
            };
            return Ok((end + 4, length));
        }
    }

    /// Sends a request with a body; answers whatever comes.
    pub(crate) fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let (address, length) = (&self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        let (end, length) = self.read_head()?;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let mut body = self.buffer[end..self.filled].to_vec();
        body.resize(length, 0);
        self.stream.read_exact(&mut body[self.filled - end..])?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        Ok(Answer { status, head, body })
    }

    fn ask_for(&mut self, status: u16, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let answer = self.ask(method, path, kind, body)?;
        ensure!(
            answer.status == status,
            "{method} {path}: {} {}",
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer)
    }

    /// Pushes a blob as docker does: an upload, its bytes in one piece, the end.
    pub(crate) fn push_blob(&mut self, repository: &str, digest: &Digest, bytes: &[u8]) -> Result<()> {
        const BYTES: &str = "application/octet-stream";
        let path = format!("/v2/{repository}/blobs/uploads/");
        let location = self.ask_for(202, "POST", &path, BYTES, b"")?;
        let path = self.place(&location)?;
        let location = self.ask_for(202, "PATCH", &path, BYTES, bytes)?;
        let path = self.place(&location)?;
        let separator = if path.contains('?') { '&' } else { '?' };
        self.ask_for(201, "PUT", &format!("{path}{separator}digest={digest}"), BYTES, b"").map(drop)
    }

    /// Where an upload goes on: some servers write a path, some a whole URL.
    fn place(&self, answer: &Answer) -> Result<String> {
        let location = answer.header("location").context("the answer has no location")?;
        let server = format!("http://{}", self.address);
        Ok(location.strip_prefix(&server).unwrap_or(location).to_owned())
    }

    pub(crate) fn push_manifest(&mut self, repository: &str, target: &str, bytes: &[u8]) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{target}");
        self.ask_for(201, "PUT", &path, "application/vnd.oci.image.manifest.v1+json", bytes).map(drop)
    }
}
