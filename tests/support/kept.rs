//! A connection that benchmarks keep: a request as bytes, an answer as bytes, and nothing between that would
//! be measured with them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};

/// One kept connection over HTTP/1.1.
pub struct Kept {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Kept {
    /// Connects to `address`; answers may be as long as `longest`.
    pub fn open(address: &str, longest: usize) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; longest] })
    }

    /// Sends a whole request and reads its answer, which has a length or comes in chunks; gives its body as
    /// it came.
    ///
    /// Fails unless the status is 200.
    pub fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request)?;
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
            if length.map_or(body.ends_with(b"0\r\n\r\n"), |length| body.len() >= length) {
                return Ok(&self.buffer[end + 4..filled]);
            }
        }
    }
}
