//! Something that is asked, alone and under load.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use eyot_tests::{cpu, quantile};

use crate::grpc::Grpc;
use crate::request::{Case, Form};

/// Connections of a round under load.
pub(crate) const CONNECTIONS: usize = 16;

/// A server, and the request that it gets again and again.
pub(crate) struct Subject {
    pub(crate) name: String,
    address: String,
    request: Vec<u8>,
    form: Form,
    pid: u32,
    alone: usize,
    each: usize,
}

impl Subject {
    /// Asks the deployment `to` of the server at `url`.
    pub(crate) fn new(what: &str, case: &Case, form: Form, url: &str, to: &str, pid: u32) -> Result<Self> {
        let address = url.trim_start_matches("http://").to_owned();
        let request = case.request(form, to, &address)?;
        let name = format!("{what}, {}", form.as_str());
        Ok(Self { name, address, request, form, pid, alone: case.alone, each: case.each })
    }

    /// The median of a round's times in microseconds, and its 99th percentile.
    pub(crate) fn alone(&self) -> Result<(f64, f64)> {
        let mut connection = Connection::open(self)?;
        let mut taken = Vec::with_capacity(self.alone);
        for _ in 0..self.alone {
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
                (0..self.each).try_for_each(|_| connection.ask())
            };
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })?;
        let requests = (CONNECTIONS * self.each) as f64;
        Ok((requests / started.elapsed().as_secs_f64(), (cpu(self.pid)? - before) * 1e6 / requests))
    }
}

/// One kept connection; what it reads is checked to be an answer.
enum Connection<'a> {
    Http(Http<'a>),
    Grpc(Box<Grpc>),
}

impl<'a> Connection<'a> {
    fn open(subject: &'a Subject) -> Result<Self> {
        Ok(match subject.form {
            Form::Grpc => Self::Grpc(Box::new(Grpc::open(&subject.address, &subject.request)?)),
            Form::Json | Form::Binary => Self::Http(Http::open(subject)?),
        })
    }

    fn ask(&mut self) -> Result<()> {
        match self {
            Self::Http(connection) => connection.ask(),
            Self::Grpc(connection) => connection.ask(),
        }
    }
}

struct Http<'a> {
    stream: TcpStream,
    request: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Http<'a> {
    fn open(subject: &'a Subject) -> Result<Self> {
        let stream = TcpStream::connect(&subject.address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: &subject.request, buffer: vec![0; 1 << 17] })
    }

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
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.context("the answer has no length")?;
            if body.len() >= length {
                ensure!(
                    body.windows(9).any(|nine| nine == b"\"outputs\""),
                    "{}",
                    String::from_utf8_lossy(body)
                );
                return Ok(());
            }
        }
    }
}
