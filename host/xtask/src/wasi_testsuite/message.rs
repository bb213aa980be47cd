//! HTTP/1.1 as far as tests of it need: heads, bodies of a length or in chunks, trailers.

use std::io::{BufRead, Read as _};

use anyhow::{Context as _, Result, ensure};

/// What a head or a body may be long at most: what runs here is under test.
const MESSAGE_MAX_BYTES: u64 = 1 << 20;

pub(super) type HeaderFields = Vec<(String, String)>;

/// A request or an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HttpMessage {
    /// Its first line.
    pub(super) line: String,
    pub(super) fields: HeaderFields,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderFields,
}

impl HttpMessage {
    /// Reads the next message; `None` where the connection ends instead. An answer without a length lasts until the
    /// connection ends, a request without one has no body.
    pub(super) fn read(reader: &mut impl BufRead, is_answer: bool) -> Result<Option<Self>> {
        let mut reader = reader.take(MESSAGE_MAX_BYTES);
        let line = line(&mut reader)?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut message = Self { line, fields: fields(&mut reader)?, ..Self::default() };
        let length = message.field("content-length").map(str::parse::<u64>).transpose();
        let length = length.context("content-length is no number")?;
        let chunked = message.field("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
        match length {
            _ if chunked => (message.body, message.trailers) = chunks(&mut reader)?,
            Some(length) => {
                let read = (&mut reader).take(length).read_to_end(&mut message.body)? as u64;
                ensure!(read == length, "the body ended after {read} of {length} bytes");
            }
            None if is_answer => drop(reader.read_to_end(&mut message.body)?),
            None => {}
        }
        Ok(Some(message))
    }

    /// The first field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }
}

/// A line without its end; nothing at the end of the connection.
fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    // A value may hold any byte.
    let text: String = line.iter().map(|byte| char::from(*byte)).collect();
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn fields(reader: &mut impl BufRead) -> Result<HeaderFields> {
    let mut fields = HeaderFields::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').with_context(|| format!("'{line}' is no field"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn chunks(reader: &mut impl BufRead) -> Result<(Vec<u8>, HeaderFields)> {
    let mut body = Vec::new();
    loop {
        let head = line(reader)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size =
            u64::from_str_radix(size, 16).with_context(|| format!("'{head}' is no size of a chunk"))?;
        if size == 0 {
            return Ok((body, fields(reader)?));
        }
        let read = reader.take(size).read_to_end(&mut body)? as u64;
        ensure!(read == size, "a chunk ended after {read} of {size} bytes");
        line(reader)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_answer: bool) -> Result<Option<HttpMessage>> {
        HttpMessage::read(&mut text.as_bytes(), is_answer)
    }

    #[test]
    fn bodies_have_a_length_or_chunks_or_last_to_the_end() {
        let body = |text: &str, is_answer| read(text, is_answer).unwrap().unwrap();
        assert_eq!(body("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", false).body, b"abc");
        assert_eq!(body("GET / HTTP/1.1\r\n\r\nabcd", false).body, b"");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nabcd", true).body, b"abcd");
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\nsum: 9\r\n\r\n";
        let message = body(chunked, false);
        assert_eq!((message.body, message.trailers), (b"abcd".to_vec(), vec![("sum".into(), "9".into())]));
        assert_eq!(read("", false).unwrap(), None);
        for broken in [
            "POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nnothing\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfoo\r\n",
        ] {
            assert!(read(broken, false).is_err(), "{broken}");
        }
    }
}
