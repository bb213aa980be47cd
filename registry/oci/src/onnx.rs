//! What an ONNX file says of itself, read without loading it: the few fields of its protobuf that a
//! ModelPack config and a chunk index want. Numbers of fields are those of onnx.proto.

use std::ops::Range;

/// What is said in a model's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Who wrote it: `skl2onnx`, `pytorch`.
    pub(crate) producer: String,
    /// The graph's name.
    pub(crate) graph: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) weights: Vec<Weight>,
}

/// An input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// A number, a name such as `N`, or `?`.
    pub(crate) shape: Vec<String>,
}

/// A tensor that is kept in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) elements: u64,
    /// Where its raw bytes lie in the file; none where they are kept otherwise.
    pub(crate) place: Option<Range<usize>>,
}

/// Reads a file; none when it is no ONNX.
pub(crate) fn summary(onnx: &[u8]) -> Option<Summary> {
    let mut summary = Summary::default();
    let mut has_graph = false;
    let whole = Message { bytes: onnx, start: 0 };
    for field in whole.fields() {
        match field? {
            (2, Value::Bytes(producer)) => summary.producer = producer.text(),
            (7, Value::Bytes(graph)) => {
                has_graph = true;
                read_graph(&graph, &mut summary)?;
            }
            _ => {}
        }
    }
    has_graph.then_some(summary)
}

impl Summary {
    /// The numbers of all weights.
    pub(crate) fn parameters(&self) -> u64 {
        self.weights.iter().map(|weight| weight.elements).fold(0, u64::saturating_add)
    }

    /// The types of the weights, that of the most numbers first.
    pub(crate) fn precision(&self) -> Vec<&'static str> {
        let mut kinds: Vec<(&'static str, u64)> = Vec::new();
        for weight in &self.weights {
            match kinds.iter_mut().find(|(kind, _)| *kind == weight.kind) {
                Some((_, count)) => *count = count.saturating_add(weight.elements),
                None => kinds.push((weight.kind, weight.elements)),
            }
        }
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        kinds.into_iter().map(|(kind, _)| kind).collect()
    }
}

fn read_graph(graph: &Message<'_>, summary: &mut Summary) -> Option<()> {
    for field in graph.fields() {
        match field? {
            (2, Value::Bytes(name)) => summary.graph = name.text(),
            (5, Value::Bytes(tensor)) => summary.weights.push(read_weight(&tensor)?),
            (11, Value::Bytes(port)) => summary.inputs.push(read_port(&port)?),
            (12, Value::Bytes(port)) => summary.outputs.push(read_port(&port)?),
            _ => {}
        }
    }
    // Old files list every weight among the inputs too.
    let weights = &summary.weights;
    summary.inputs.retain(|input| weights.iter().all(|weight| weight.name != input.name));
    Some(())
}

fn read_weight(tensor: &Message<'_>) -> Option<Weight> {
    let mut weight = Weight { elements: 1, kind: kind(0), ..Weight::default() };
    for field in tensor.fields() {
        match field? {
            (1, Value::Number(dimension)) => weight.elements = weight.elements.saturating_mul(dimension),
            (1, Value::Bytes(packed)) => {
                for dimension in packed.numbers() {
                    weight.elements = weight.elements.saturating_mul(dimension?);
                }
            }
            (2, Value::Number(number)) => weight.kind = kind(number),
            (8, Value::Bytes(name)) => weight.name = name.text(),
            (9, Value::Bytes(raw)) => weight.place = Some(raw.start..raw.start + raw.bytes.len()),
            _ => {}
        }
    }
    Some(weight)
}

fn read_port(port: &Message<'_>) -> Option<Port> {
    let mut read = Port { kind: kind(0), ..Port::default() };
    for field in port.fields() {
        match field? {
            (1, Value::Bytes(name)) => read.name = name.text(),
            // TypeProto.tensor_type
            (2, Value::Bytes(of)) => {
                for field in of.fields() {
                    if let (1, Value::Bytes(tensor)) = field? {
                        read_tensor_type(&tensor, &mut read)?;
                    }
                }
            }
            _ => {}
        }
    }
    Some(read)
}

fn read_tensor_type(tensor: &Message<'_>, port: &mut Port) -> Option<()> {
    for field in tensor.fields() {
        match field? {
            (1, Value::Number(number)) => port.kind = kind(number),
            (2, Value::Bytes(shape)) => {
                for field in shape.fields() {
                    let (1, Value::Bytes(dimension)) = field? else { continue };
                    let mut shown = "?".to_owned();
                    for field in dimension.fields() {
                        match field? {
                            (1, Value::Number(number)) => shown = number.to_string(),
                            (2, Value::Bytes(name)) => shown = name.text(),
                            _ => {}
                        }
                    }
                    port.shape.push(shown);
                }
            }
            _ => {}
        }
    }
    Some(())
}

/// ModelPack's words for ONNX's numbers of types.
fn kind(number: u64) -> &'static str {
    match number {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => "string",
        9 => "bool",
        10 => "float16",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        16 => "bfloat16",
        _ => "other",
    }
}

/// A message of protobuf, and where in the file it begins.
struct Message<'a> {
    bytes: &'a [u8],
    start: usize,
}

enum Value<'a> {
    Number(u64),
    Bytes(Message<'a>),
}

impl<'a> Message<'a> {
    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// Its fields; the last item is none where the bytes are no message.
    fn fields(&self) -> impl Iterator<Item = Option<(u64, Value<'a>)>> + use<'a> {
        let (mut rest, mut at, mut broken) = (self.bytes, self.start, false);
        std::iter::from_fn(move || {
            if broken || rest.is_empty() {
                return None;
            }
            let before = rest.len();
            let field = field(&mut rest, at);
            at += before - rest.len();
            broken = field.is_none();
            Some(field)
        })
    }

    /// Numbers one after the other.
    fn numbers(&self) -> impl Iterator<Item = Option<u64>> + use<'a> {
        let (mut rest, mut broken) = (self.bytes, false);
        std::iter::from_fn(move || {
            if broken || rest.is_empty() {
                return None;
            }
            let number = varint(&mut rest);
            broken = number.is_none();
            Some(number)
        })
    }
}

fn field<'a>(rest: &mut &'a [u8], at: usize) -> Option<(u64, Value<'a>)> {
    let before = rest.len();
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        1 => Value::Bytes(take(rest, 8, at, before)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length, at, before)?)
        }
        5 => Value::Bytes(take(rest, 4, at, before)?),
        _ => return None,
    };
    Some((tag >> 3, value))
}

/// The next bytes. `at` is where in the file the field begins, of which `before` bytes were left then.
fn take<'a>(rest: &mut &'a [u8], length: usize, at: usize, before: usize) -> Option<Message<'a>> {
    let start = at + (before - rest.len());
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(Message { bytes, start })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx");
        std::fs::read(fixtures.join(name).with_extension("onnx")).unwrap()
    }

    #[test]
    fn a_file_says_what_it_takes_gives_and_weighs() {
        let bytes = fixture("dense");
        let dense = summary(&bytes).unwrap();
        assert_eq!((dense.inputs.len(), dense.outputs.len()), (1, 1), "{dense:?}");
        assert!(dense.parameters() > 0 && dense.precision()[0] == "float32", "{dense:?}");
        for weight in &dense.weights {
            let place = weight.place.clone().unwrap();
            assert_eq!(
                (place.len() as u64, place.end <= bytes.len()),
                (weight.elements * 4, true),
                "{weight:?}"
            );
        }
    }

    #[test]
    fn what_is_no_onnx_is_none() {
        let good = fixture("dense");
        for bytes in [&b""[..], b"weights", &[0xff; 100], &good[..good.len() / 2]] {
            assert_eq!(summary(bytes), None);
        }
        for at in 0..good.len().min(400) {
            let mut damaged = good.clone();
            damaged[at] ^= 0xff;
            let _ = summary(&damaged);
        }
    }
}
