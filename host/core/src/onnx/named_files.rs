//! Whether an ONNX file names another file. Walks the protobuf as it lies there, whatever the messages
//! mean: a list of the places where the format has tensors would miss the next one.

use std::ops::ControlFlow;

use super::wire::{WireMessage, WireValue};

/// An entry of `TensorProto.external_data`, and its key that names the file.
const EXTERNAL_DATA_ID: u64 = 13;
const LOCATION_KEY: &[u8] = b"location";
/// Parsers of ONNX go no deeper than 100 messages.
const MAX_DEPTH: usize = 128;

/// The first file that a tensor anywhere in these bytes is said to lie in.
pub fn first_named_file(onnx: &[u8]) -> Option<String> {
    let mut first = None;
    let _ = in_message(WireMessage::whole(onnx), MAX_DEPTH, &mut |name| {
        first = Some(name);
        ControlFlow::Break(())
    });
    first
}

/// Every one of them, as often as it is named.
pub fn named_files(onnx: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let _ = in_message(WireMessage::whole(onnx), MAX_DEPTH, &mut |name| {
        all.push(name);
        ControlFlow::Continue(())
    });
    all
}

/// Any message may lie in any field that has a length. What is no message shows soon, since its first bytes
/// are no field; what came before that counts, for other parsers may be more patient.
fn in_message(
    message: WireMessage<'_>,
    depth: usize,
    found: &mut dyn FnMut(String) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(depth) = depth.checked_sub(1) else { return ControlFlow::Continue(()) };
    message.messages().try_for_each(|(number, content)| {
        let here = if number == EXTERNAL_DATA_ID { location(content) } else { None };
        match here {
            Some(name) => found(name),
            None => in_message(content, depth, found),
        }
    })
}

/// What an entry names, if it is one that names a file. A value called "location" that a graph declares looks
/// alike: its second field is its type.
fn location(entry: WireMessage<'_>) -> Option<String> {
    let text =
        |wanted| entry.messages().filter(move |(number, _)| *number == wanted).map(|(_, text)| text.bytes);
    if !text(1).any(|key| key == LOCATION_KEY) {
        return None;
    }
    let value = text(2).last().unwrap_or_default();
    (!is_type(value)).then(|| String::from_utf8_lossy(value).into_owned())
}

/// Whether bytes are a type, and no path that was made to look like one: that would have a separator in it.
fn is_type(bytes: &[u8]) -> bool {
    let mut has_type = false;
    for field in WireMessage::whole(bytes).fields() {
        match field {
            Some((1 | 4 | 5 | 7 | 8 | 9, WireValue::Message(_))) => has_type = true,
            Some((6, WireValue::Message(_))) => {}
            _ => return false,
        }
    }
    has_type && !bytes.iter().any(|byte| matches!(byte, b'/' | b'\\'))
}
