//! Frames of HTTP/2, by hand: what a library would not send.

use std::io::Read as _;
use std::net::TcpStream;

/// The preface of HTTP/2 with empty settings behind it.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;

pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame that came.
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request on stream 1, none of it compressed; `flags` says whether that is all.
pub(super) fn head(method: &str, path: &str, others: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let mut block = Vec::new();
    let literal = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).unwrap());
        block.extend_from_slice(text.as_bytes());
    };
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    for (name, value) in pseudo.iter().chain(others) {
        block.push(0);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    frame(HEADERS, flags | END_HEADERS, 1, &block)
}

/// The next frame; none once the server has ended the connection.
pub(super) fn next(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let [a, b, c, kind, flags, ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some(Frame { kind, flags, payload })
}

/// The next frame of that kind.
pub(super) fn next_of(stream: &mut TcpStream, kind: u8) -> Option<Frame> {
    std::iter::from_fn(|| next(stream)).find(|frame| frame.kind == kind)
}
