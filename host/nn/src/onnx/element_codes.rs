//! The numbers by which a file names the types of elements (`TensorProto.DataType` of onnx.proto), for patterns.

use crate::onnx::messages::tensor_proto::DataType;

pub(crate) const FLOAT_CODE: i32 = DataType::Float as i32;
pub(crate) const INT32_CODE: i32 = DataType::Int32 as i32;
pub(crate) const INT64_CODE: i32 = DataType::Int64 as i32;
pub(crate) const STRING_CODE: i32 = DataType::String as i32;
pub(crate) const BOOL_CODE: i32 = DataType::Bool as i32;
