//! The words that every other crate speaks: digests, names, references, units, errors, the types of a
//! component's interface, what ONNX files say of themselves, configuration and the clock. Pure: no I/O but reading the configuration
//! file, no async.

mod clock;
pub mod config;
mod digest;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod glob;
mod id;
pub mod interface;
mod name;
mod nullable;
pub mod onnx;
mod permission;
mod project;
#[cfg(test)]
mod properties;
mod reference;
mod stored;
mod text_form;
mod units;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use digest::{Digest, Digester};
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use id::new_id;
pub use name::Name;
pub use nullable::nullable;
pub use permission::{Permission, Role};
pub use project::{DEFAULT_PROJECT, ProjectName, ScopedName};
pub use reference::{Reference, Selector};
pub use stored::{StoredFormat, read_stored, write_stored};
pub use units::{ByteCount, Period};
