//! Components read as data, without compiling them: what they import and export, in names and in types; what their
//! authors say of them; what they were made of. And core modules of preview 1 made into components.
//!
//! The one reader of component interfaces in the tree: registry, engine and builder all ask here. What a host offers is
//! no matter of a component's bytes, and said elsewhere.

mod composition;
mod core_module;
mod decoded;
mod description;
mod function_docs;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod names;
mod producers;
#[cfg(test)]
mod properties;
mod sections;
mod wit_types;
mod world_text;

pub use composition::{Composition, LinkedPart};
pub use core_module::componentize;
pub use description::ComponentDescription;
pub use function_docs::{DOCS_SECTION, function_docs};
pub use names::{ComponentNames, WasmContent, component_names, outer_names};
pub use producers::{Producer, producers};
pub use sections::{CustomSection, custom_section, custom_sections};
pub use world_text::world_text;
