//! Something that is asked over HTTP, alone and under load.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use eyot_tests::{cpu, quantile};

/// Requests of a round on one connection.
const ALONE: usize = 2000;
/// Connections of a round under load, and requests on each.
pub(crate) const CONNECTIONS: usize = 16;
const EACH: usize = 1000;

/// A server, and the request that it gets again and again.
pub(crate) struct Subject {
    pub(crate) name: String,
    address: String,
    request: Vec<u8>,
    pid: u32,
}

impl Subject {
    pub(crate) fn new(name: &str, url: &str, path: &str, body: &str, pid: u32) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
        Self { name: name.to_owned(), address, request: format!("{head}{body}").into_bytes(), pid }
    }

    /// The median of a round's times in microseconds, and its 99th percentile.
    pub(crate) fn alone(&self) -> Result<(f64, f64)> {
        let mut connection = Connection::open(self)?;
        let mut taken = Vec::with_capacity(ALONE);
        for _ in 0..ALONE {
            let started = Instant::now();
            connection.ask()?;
            taken.push(started.elapsed().as_secs_f64() * 1e6);
        }
        taken.sort_by(f64::total_cmp);
        Ok((quantile(&taken, 0.5), quantile(&taken, 0.99)))
    }

    /// A round's requests a second, and the server's CPU time for each in microseconds.
    pub(crate) fn together(&self) -> Result<(f64, f64)> {
        let (before, started) = (cpu(self.pid)?, Instant::now());
        std::thread::scope(|scope| {
            let ask = || {
                let mut connection = Connection::open(self)?;
                (0..EACH).try_for_each(|_| connection.ask())
            };
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })?;
        let requests = (CONNECTIONS * EACH) as f64;
        Ok((requests / started.elapsed().as_secs_f64(), (cpu(self.pid)? - before) * 1e6 / requests))
    }
}

/// One kept connection.
struct Connection<'a> {
    stream: TcpStream,
    request: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Connection<'a> {
    fn open(subject: &'a Subject) -> Result<Self> {
        let stream = TcpStream::connect(&subject.address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: &subject.request, buffer: vec![0; 1 << 16] })
    }

    /// Sends the request and reads its answer, which has a length or comes in chunks.
    fn ask(&mut self) -> Result<()> {
        self.stream.write_all(self.request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the server closed the connection, or its answer is too long");
            filled += read;
            let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let (head, body) = (std::str::from_utf8(&self.buffer[..end])?, &self.buffer[end + 4..filled]);
            ensure!(head.starts_with("HTTP/1.1 200"), "{head}\n{}", String::from_utf8_lossy(body));
            let length: Option<usize> = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let done = match length {
                Some(length) => body.len() >= length,
                None => body.ends_with(b"0\r\n\r\n"),
            };
            if done {
                ensure!(!body.is_empty(), "an empty answer: {head}");
                return Ok(());
            }
        }
    }
}
