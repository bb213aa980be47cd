//! The network as an ONNX file, written field by field: the numbers are those of onnx.proto.

use crate::data::{DIGITS, PIXELS};
use crate::network::{Network, SCALE};

const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// A message of protocol buffers under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// An input, an output: its first dimension is the number of rows.
fn value(name: &str, element: u64, width: Option<usize>) -> Message {
    let mut shape = Message::default().message(1, &Message::default().text(2, "rows"));
    if let Some(width) = width {
        shape = shape.message(1, &Message::default().number(1, width as u64));
    }
    let tensor = Message::default().number(1, element).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

fn weights(name: &str, dims: &[usize], numbers: &[f32]) -> Message {
    let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let message = dims.iter().fold(Message::default(), |message, dim| message.number(1, *dim as u64));
    message.number(2, FLOAT).text(8, name).bytes(9, &raw)
}

fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, u64)]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    let node = node.text(2, output).text(3, output).text(4, operator);
    attributes.iter().fold(node, |node, (name, number)| {
        // 2 is the type INT of an attribute.
        node.message(5, &Message::default().text(1, name).number(3, *number).number(20, 2))
    })
}

/// The file: `pixels` FP32 [rows, 64] from 0 to 16 give `label` INT64 [rows] and `probabilities` FP32
/// [rows, 10].
pub fn write(network: &Network) -> Vec<u8> {
    let transposed = [("transB", 1)];
    let graph = Message::default()
        .message(1, &node("Div", &["pixels", "scale"], "scaled", &[]))
        .message(1, &node("Gemm", &["scaled", "first", "first_bias"], "sum", &transposed))
        .message(1, &node("Relu", &["sum"], "hidden", &[]))
        .message(1, &node("Gemm", &["hidden", "second", "second_bias"], "scores", &transposed))
        .message(1, &node("Softmax", &["scores"], "probabilities", &[("axis", 1)]))
        .message(1, &node("ArgMax", &["scores"], "label", &[("axis", 1), ("keepdims", 0)]))
        .text(2, "digits")
        .message(5, &weights("scale", &[], &[SCALE]))
        .message(5, &weights("first", &[network.hidden, PIXELS], &network.first))
        .message(5, &weights("first_bias", &[network.hidden], &network.first_bias))
        .message(5, &weights("second", &[DIGITS, network.hidden], &network.second))
        .message(5, &weights("second_bias", &[DIGITS], &network.second_bias))
        .message(11, &value("pixels", FLOAT, Some(PIXELS)))
        .message(12, &value("label", INT64, None))
        .message(12, &value("probabilities", FLOAT, Some(DIGITS)));
    let opset = Message::default().text(1, "").number(2, 13);
    let model = Message::default().number(1, 8).text(2, "eyot").message(7, &graph).message(8, &opset);
    model.0
}
