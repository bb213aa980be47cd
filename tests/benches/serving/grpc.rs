//! As much of HTTP/2 as a load generator needs: it must cost less than what it measures.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, bail, ensure};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Of HEADERS and DATA.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
/// What every peer takes in one frame.
const FRAME: usize = 16 << 10;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: i64 = 65_535;

/// One connection on which one call is made after another.
pub(crate) struct Grpc {
    stream: TcpStream,
    head: Vec<u8>,
    message: Vec<u8>,
    next: u32,
    buffer: Vec<u8>,
    /// What was read and not looked at yet.
    read: std::ops::Range<usize>,
    /// What may be sent on the connection, and on a stream that begins.
    window: i64,
    stream_window: i64,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
}

impl Grpc {
    pub(crate) fn open(address: &str, message: &[u8]) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // Answers of any size may come at once.
        let settings = [&[0, 4][..], &LARGEST_WINDOW.to_be_bytes()].concat();
        frame(&mut hello, SETTINGS, 0, 0, &settings);
        let more = LARGEST_WINDOW - FIRST_WINDOW as u32;
        frame(&mut hello, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        stream.write_all(&hello)?;
        let head = head(address);
        let (window, stream_window) = (FIRST_WINDOW, FIRST_WINDOW);
        let buffer = vec![0; 64 << 10];
        Ok(Self {
            stream,
            head,
            message: message.to_vec(),
            next: 1,
            buffer,
            read: 0..0,
            window,
            stream_window,
        })
    }

    /// Makes one call; fails unless an answer with a message comes.
    pub(crate) fn ask(&mut self) -> Result<()> {
        let id = self.next;
        self.next += 2;
        let mut out = Vec::with_capacity(self.head.len() + FRAME);
        frame(&mut out, HEADERS, END_HEADERS, id, &self.head);
        let (mut sent, mut spent) = (0, 0_i64);
        while sent < self.message.len() {
            let room = self.window.min(self.stream_window - spent);
            if room <= 0 {
                self.stream.write_all(&out)?;
                out.clear();
                let frame = self.frame()?;
                self.handle(&frame)?;
                self.skip(frame.length)?;
                continue;
            }
            let size = FRAME.min(self.message.len() - sent).min(usize::try_from(room)?);
            let last = if sent + size == self.message.len() { END_STREAM } else { 0 };
            frame(&mut out, DATA, last, id, &self.message[sent..sent + size]);
            (sent, spent, self.window) = (sent + size, spent + size as i64, self.window - size as i64);
        }
        self.stream.write_all(&out)?;
        self.answer(id)
    }

    fn answer(&mut self, id: u32) -> Result<()> {
        let mut received = 0;
        loop {
            let frame = self.frame()?;
            self.handle(&frame)?;
            if frame.stream == id && frame.kind == DATA {
                received += frame.length;
            }
            let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            self.skip(frame.length)?;
            if frame.stream == id && ends {
                // A call that fails has no message, only a status.
                ensure!(received > 5, "the call failed");
                return Ok(());
            }
        }
    }

    /// Acts on what concerns the connection; the frame's content is not taken yet.
    fn handle(&mut self, frame: &Frame) -> Result<()> {
        let acknowledged = frame.flags & ACK != 0;
        match frame.kind {
            SETTINGS if !acknowledged => {
                let content = self.content(frame.length)?.to_vec();
                for setting in content.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        self.stream_window = number(&setting[2..]);
                    }
                }
                self.send(SETTINGS, ACK, &[])
            }
            PING if !acknowledged => {
                let content = self.content(frame.length)?.to_vec();
                self.send(PING, ACK, &content)
            }
            // Those of a stream come too late to matter: what is sent on one fits its first window.
            WINDOW_UPDATE if frame.stream == 0 => {
                self.window += number(self.content(frame.length)?);
                Ok(())
            }
            RESET | GOAWAY => bail!("the server ended the stream"),
            _ => Ok(()),
        }
    }

    fn send(&mut self, kind: u8, flags: u8, content: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        frame(&mut out, kind, flags, 0, content);
        Ok(self.stream.write_all(&out)?)
    }

    fn frame(&mut self) -> Result<Frame> {
        let head = self.content(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: number(&head[5..9]) as u32 & LARGEST_WINDOW,
            length,
        };
        self.skip(9)?;
        Ok(frame)
    }

    /// The next bytes, which stay.
    fn content(&mut self, length: usize) -> Result<&[u8]> {
        ensure!(length <= self.buffer.len(), "a frame of {length} bytes");
        if self.read.len() < length {
            self.buffer.copy_within(self.read.clone(), 0);
            self.read = 0..self.read.len();
        }
        while self.read.len() < length {
            let more = self.stream.read(&mut self.buffer[self.read.end..])?;
            ensure!(more > 0, "the server closed the connection");
            self.read.end += more;
        }
        Ok(&self.buffer[self.read.start..self.read.start + length])
    }

    fn skip(&mut self, length: usize) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let step = left.min(self.buffer.len());
            self.content(step)?;
            self.read.start += step;
            left -= step;
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, content: &[u8]) {
    out.extend_from_slice(&u32::try_from(content.len()).unwrap_or_default().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(content);
}

/// The header fields of a call, none of which is remembered by the peer.
fn head(address: &str) -> Vec<u8> {
    let text = |block: &mut Vec<u8>, text: &str| {
        block.push(u8::try_from(text.len()).unwrap_or_default());
        block.extend_from_slice(text.as_bytes());
    };
    // :method POST and :scheme http, by their places in the static table.
    let mut block = vec![0x83, 0x86];
    block.push(4);
    text(&mut block, "/inference.GRPCInferenceService/ModelInfer");
    block.push(1);
    text(&mut block, address);
    block.extend([0x0f, 31 - 15]);
    text(&mut block, "application/grpc");
    block.push(0);
    text(&mut block, "te");
    text(&mut block, "trailers");
    block
}
