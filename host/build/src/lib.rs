//! What makes components: the toolchains of their languages, the templates that projects begin with, and the linking of
//! several into one. No part of a server: nothing that serves depends on it, nor on what it stands on.

mod app_description;
mod component_source;
mod contracts;
mod linker;
mod process;
mod project;
mod reporter;
mod templates;
mod tool_folder;
mod toolchain;
mod wit_docs;

pub use component_source::BuildProfile;
pub use linker::{LinkInput, link_components};
pub use project::{ComponentBuilder, ComponentProject, component_artifact, component_manifest};
pub use reporter::BuildReporter;
pub use templates::{TemplateKind, write_template};
pub use tool_folder::ToolFolder;
pub use toolchain::{ClangToolchain, GoToolchain, JavaScriptToolchain, PythonToolchain, RustToolchain};
