//! Whether an ONNX file names another file. Walks the protobuf as it lies there, whatever the messages
//! mean: a list of the places where the format has tensors would miss the next one.

use std::ops::ControlFlow;

/// An entry of `TensorProto.external_data`, and its key that names the file.
const EXTERNAL_DATA: u64 = 13;
const LOCATION: &[u8] = b"location";
/// Parsers of ONNX go no deeper than 100 messages.
const DEPTH: usize = 128;

/// The first file that a tensor anywhere in these bytes is said to lie in.
pub(crate) fn named_file(onnx: &[u8]) -> Option<String> {
    let mut first = None;
    let _ = in_message(onnx, DEPTH, &mut |name| {
        first = Some(name);
        ControlFlow::Break(())
    });
    first
}

/// Every one of them, as often as it is named.
pub(crate) fn named_files(onnx: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let _ = in_message(onnx, DEPTH, &mut |name| {
        all.push(name);
        ControlFlow::Continue(())
    });
    all
}

/// Any message may lie in any field that has a length. What is no message shows soon, since its first bytes
/// are no field; what came before that counts, for other parsers may be more patient.
fn in_message(
    bytes: &[u8],
    depth: usize,
    found: &mut dyn FnMut(String) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(depth) = depth.checked_sub(1) else { return ControlFlow::Continue(()) };
    fields(bytes).try_for_each(|(number, content)| {
        let here = if number == EXTERNAL_DATA { location(content) } else { None };
        match here {
            Some(name) => found(name),
            None => in_message(content, depth, found),
        }
    })
}

/// What an entry names, if it is one that names a file. A value called "location" that a graph declares looks
/// alike: its second field is its type.
fn location(entry: &[u8]) -> Option<String> {
    let text = |wanted| fields(entry).filter(move |(number, _)| *number == wanted).map(|(_, text)| text);
    if !text(1).any(|key| key == LOCATION) {
        return None;
    }
    let value = text(2).last().unwrap_or_default();
    (!is_type(value)).then(|| String::from_utf8_lossy(value).into_owned())
}

/// Whether bytes are a type, and no path that was made to look like one: that would have a separator in it.
fn is_type(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let mut has_type = false;
    while !reader.0.is_empty() {
        match reader.field() {
            Some((1 | 4 | 5 | 7 | 8 | 9, Some(_))) => has_type = true,
            Some((6, Some(_))) => {}
            _ => return false,
        }
    }
    has_type && !bytes.iter().any(|byte| matches!(byte, b'/' | b'\\'))
}

/// The fields with a length, as far as the bytes are a message.
fn fields(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut reader = Reader(bytes);
    std::iter::from_fn(move || {
        loop {
            if let (number, Some(content)) = reader.field()? {
                return Some((number, content));
            }
        }
    })
}

/// Bytes that are read as the fields of a message, one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The number of the next field, and its bytes if it has a length. The fields of a group, of which only
    /// the ends are marked, count as fields of the message around it.
    fn field(&mut self) -> Option<(u64, Option<&'a [u8]>)> {
        let tag = self.number()?;
        let content = match tag & 7 {
            0 => self.number().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Some(self.take(length)?)
            }
            3 | 4 => None,
            5 => self.take(4).map(|_| None)?,
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, content))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
