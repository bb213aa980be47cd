//! What is planned, and of what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use eyot_core::interface::{Function, Interface};
use eyot_core::{Digest, Error, Name, Result};
use indexmap::IndexMap;
use serde_json::Value;

use crate::command::CommandSpec;

/// A pipeline to run, with everything outside of the file that it refers to.
#[derive(Debug)]
pub struct PlanRequest {
    /// The file's text.
    pub source: String,
    /// Its name, for errors.
    pub file: String,
    /// Parameters in place of the file's.
    pub params: BTreeMap<String, Value>,
    /// The input files, already in the store.
    pub inputs: BTreeMap<String, Digest>,
    /// What each component reference means.
    pub components: BTreeMap<String, ResolvedComponent>,
}

/// What a component reference means.
#[derive(Debug)]
pub enum ResolvedComponent {
    Found(Digest),
    Missing(Error),
}

/// Interfaces of the components, or why one cannot be used.
pub(crate) type ComponentInterfaces = HashMap<Digest, Result<Interface>>;

/// Steps in an order in which each stands after those it needs.
#[derive(Debug)]
pub(crate) struct PipelinePlan {
    pub(crate) pipeline: Name,
    pub(crate) params: IndexMap<String, Value>,
    pub(crate) steps: Vec<PlannedStep>,
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedStep {
    pub(crate) name: Name,
    pub(crate) work: PlannedWork,
    /// The steps that must succeed first.
    pub(crate) needs: BTreeSet<Name>,
}

#[derive(Clone, Debug)]
pub(crate) enum PlannedWork {
    Call(Box<PlannedCall>),
    Register { model: Name, weights: ArgumentSource, alias: Option<Name> },
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedCall {
    pub(crate) component: Digest,
    pub(crate) function: Function,
    pub(crate) interface: Interface,
    pub(crate) arguments: IndexMap<String, ArgumentSource>,
    /// How it is called, if it is a whole program.
    pub(crate) command: Option<CommandSpec>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) memory: Option<u64>,
    pub(crate) cache: bool,
}

/// Where an argument comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ArgumentSource {
    Value(Value),
    /// An input file of the run.
    File {
        digest: Digest,
        media_type: String,
    },
    Output {
        step: Name,
        output: String,
    },
}
