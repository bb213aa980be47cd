//! The tools of each language.

mod c;
mod go;
mod javascript;
mod python;
mod rust;

pub use c::ClangToolchain;
pub use go::GoToolchain;
pub(crate) use javascript::JAVASCRIPT_SDK;
pub use javascript::JavaScriptToolchain;
pub use python::PythonToolchain;
pub use rust::RustToolchain;
pub(crate) use rust::rust_artifact;
