//! Something that is asked over HTTP, alone and under load.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use eyot_tests::{Kept, cpu, quantile};

/// Requests of a round on one connection.
const ALONE: usize = 2000;
/// Connections of a round under load, and requests on each.
pub(crate) const CONNECTIONS: usize = 16;
const EACH: usize = 1000;
/// Bytes of an answer, its head among them.
const LONGEST: usize = 1 << 16;

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

    /// The same, with these lines in the head of the request.
    pub(crate) fn telling(mut self, lines: &str) -> Self {
        let first = self.request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.request.splice(first..first, lines.bytes());
        self
    }

    fn ask(&self, connection: &mut Kept) -> Result<()> {
        let body = connection.ask(&self.request)?;
        ensure!(!body.is_empty(), "{} answered nothing", self.name);
        Ok(())
    }

    /// The median of a round's times in microseconds, and its 99th percentile.
    pub(crate) fn alone(&self) -> Result<(f64, f64)> {
        let mut connection = Kept::open(&self.address, LONGEST)?;
        let mut taken = Vec::with_capacity(ALONE);
        for _ in 0..ALONE {
            let started = Instant::now();
            self.ask(&mut connection)?;
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
                let mut connection = Kept::open(&self.address, LONGEST)?;
                (0..EACH).try_for_each(|_| self.ask(&mut connection))
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
