//! Something that is asked, alone and under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use eyot_tests::{Kept, cpu, quantile};

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

    /// Asks on one connection until it is `over`, and counts.
    pub(crate) fn keep_asking(&self, over: &AtomicBool, answered: &AtomicU64) -> Result<()> {
        let mut connection = Connection::open(self)?;
        while !over.load(Ordering::Relaxed) {
            connection.ask()?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
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
    kept: Kept,
    request: &'a [u8],
}

impl<'a> Http<'a> {
    fn open(subject: &'a Subject) -> Result<Self> {
        Ok(Self { kept: Kept::open(&subject.address, 1 << 17)?, request: &subject.request })
    }

    fn ask(&mut self) -> Result<()> {
        let body = self.kept.ask(self.request)?;
        let answered = body.windows(9).any(|nine| nine == b"\"outputs\"");
        ensure!(answered, "{}", String::from_utf8_lossy(body));
        Ok(())
    }
}
