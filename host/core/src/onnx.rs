//! What an ONNX file says of itself, read off its protobuf as it lies there, without loading the model and without a
//! schema: its header, and the files beside it that it names. The one reader of that in the tree; what a back end loads,
//! it parses whole.

mod header;
mod named_files;
mod wire;

pub use header::{OnnxHeader, OnnxPort, OnnxWeight};
pub use named_files::{first_named_file, named_files};
