//! The few fields of a model that a ModelPack config and a chunk index want. Numbers of fields are those of onnx.proto.

use std::ops::Range;

use super::wire::{WireMessage, WireValue};

/// What is said in a model's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxHeader {
    /// Who wrote it: `skl2onnx`, `pytorch`.
    pub producer: String,
    /// The graph's name.
    pub graph: String,
    pub inputs: Vec<OnnxPort>,
    pub outputs: Vec<OnnxPort>,
    pub weights: Vec<OnnxWeight>,
}

/// An input or output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxPort {
    pub name: String,
    pub kind: &'static str,
    /// A number, a name such as `N`, or `?`.
    pub shape: Vec<String>,
}

/// A tensor that is kept in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnnxWeight {
    pub name: String,
    pub kind: &'static str,
    pub elements: u64,
    /// Where its raw bytes lie in the file; none where they are kept otherwise.
    pub place: Option<Range<usize>>,
}

impl OnnxHeader {
    /// Reads a file; none when it is no ONNX.
    pub fn read(onnx: &[u8]) -> Option<Self> {
        let (mut header, mut has_graph) = (Self::default(), false);
        for field in WireMessage::whole(onnx).fields() {
            match field? {
                (2, WireValue::Message(producer)) => header.producer = producer.text(),
                (7, WireValue::Message(graph)) => {
                    has_graph = true;
                    read_graph(&graph, &mut header)?;
                }
                _ => {}
            }
        }
        has_graph.then_some(header)
    }

    /// The numbers of all weights.
    pub fn parameters(&self) -> u64 {
        self.weights.iter().map(|weight| weight.elements).fold(0, u64::saturating_add)
    }

    /// The types of the weights, that of the most numbers first.
    pub fn precision(&self) -> Vec<&'static str> {
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

fn read_graph(graph: &WireMessage<'_>, header: &mut OnnxHeader) -> Option<()> {
    for field in graph.fields() {
        match field? {
            (2, WireValue::Message(name)) => header.graph = name.text(),
            (5, WireValue::Message(tensor)) => header.weights.push(read_weight(&tensor)?),
            (11, WireValue::Message(port)) => header.inputs.push(read_port(&port)?),
            (12, WireValue::Message(port)) => header.outputs.push(read_port(&port)?),
            _ => {}
        }
    }
    // Old files list every weight among the inputs too.
    let weights = &header.weights;
    header.inputs.retain(|input| weights.iter().all(|weight| weight.name != input.name));
    Some(())
}

fn read_weight(tensor: &WireMessage<'_>) -> Option<OnnxWeight> {
    let mut weight = OnnxWeight { elements: 1, kind: kind(0), ..OnnxWeight::default() };
    for field in tensor.fields() {
        match field? {
            (1, WireValue::Number(dimension)) => weight.elements = weight.elements.saturating_mul(dimension),
            (1, WireValue::Message(packed)) => {
                for dimension in packed.numbers() {
                    weight.elements = weight.elements.saturating_mul(dimension?);
                }
            }
            (2, WireValue::Number(number)) => weight.kind = kind(number),
            (8, WireValue::Message(name)) => weight.name = name.text(),
            (9, WireValue::Message(raw)) => weight.place = Some(raw.start..raw.start + raw.bytes.len()),
            _ => {}
        }
    }
    Some(weight)
}

fn read_port(port: &WireMessage<'_>) -> Option<OnnxPort> {
    let mut read = OnnxPort { kind: kind(0), ..OnnxPort::default() };
    for field in port.fields() {
        match field? {
            (1, WireValue::Message(name)) => read.name = name.text(),
            // TypeProto.tensor_type
            (2, WireValue::Message(of)) => {
                for field in of.fields() {
                    if let (1, WireValue::Message(tensor)) = field? {
                        read_tensor_type(&tensor, &mut read)?;
                    }
                }
            }
            _ => {}
        }
    }
    Some(read)
}

fn read_tensor_type(tensor: &WireMessage<'_>, port: &mut OnnxPort) -> Option<()> {
    for field in tensor.fields() {
        match field? {
            (1, WireValue::Number(number)) => port.kind = kind(number),
            (2, WireValue::Message(shape)) => {
                for field in shape.fields() {
                    let (1, WireValue::Message(dimension)) = field? else { continue };
                    let mut shown = "?".to_owned();
                    for field in dimension.fields() {
                        match field? {
                            (1, WireValue::Number(number)) => shown = number.to_string(),
                            (2, WireValue::Message(name)) => shown = name.text(),
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
        let dense = OnnxHeader::read(&bytes).unwrap();
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
            assert_eq!(OnnxHeader::read(bytes), None);
        }
        for at in 0..good.len().min(400) {
            let mut damaged = good.clone();
            damaged[at] ^= 0xff;
            let _ = OnnxHeader::read(&damaged);
        }
    }
}
