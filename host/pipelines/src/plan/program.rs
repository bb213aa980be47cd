//! Planning steps that are whole programs.

use std::collections::BTreeSet;

use eyot_core::Name;
use eyot_core::interface::{Field, Type};
use indexmap::IndexMap;

use super::values::{json, reference};
use super::{ArgumentSource, PipelinePlanner};
use crate::command;
use crate::file::StepEntry;

impl<'a> PipelinePlanner<'a> {
    /// The files that a command says it writes.
    pub(super) fn files(&mut self, step: &StepEntry) {
        for (name, value) in step.env.iter().filter(|(name, _)| name.is_empty() || name.contains('=')) {
            self.say(value.span().start, format!("'{name}' is no name of an environment variable"));
        }
        for (name, output) in &step.outputs {
            let path = output.get_ref().path();
            if !command::is_inside(path) {
                let at = output.span().start;
                self.say(at, format!("output '{name}' is no file below /out: '{path}'"));
            }
        }
    }

    /// The arguments of a command: each has the type of what is given.
    pub(super) fn program(
        &mut self,
        step: &'a StepEntry,
        needs: &mut BTreeSet<Name>,
    ) -> IndexMap<String, ArgumentSource> {
        let mut arguments = IndexMap::new();
        for (name, value) in &step.with {
            let at = value.span().start;
            let ty = match reference(value.get_ref()) {
                Some(("from", text)) => {
                    let found = text.rsplit_once('.').and_then(|(step, output)| {
                        self.outputs_of(step)?.into_iter().find(|field| field.name == output)
                    });
                    // What is wrong with it is said where it is looked up.
                    Some(found.map_or(Type::Artifact, |field| field.ty))
                }
                Some(("param", name)) => self.params().get(name).map_or(Some(Type::String), command::type_of),
                Some(_) => Some(Type::Artifact),
                None => command::type_of(&json(value.get_ref())),
            };
            let simple = |ty: &Type| !matches!(ty, Type::List(_) | Type::Tuple(_) | Type::Record(_));
            let Some(ty) = ty.filter(simple) else {
                self.say(at, format!("'{name}' of a command is text, a number, a boolean or an artifact"));
                continue;
            };
            let param = Field { name: name.clone(), ty };
            let argument = self.argument(value, &param, needs);
            arguments.extend(argument.map(|argument| (name.clone(), argument)));
        }
        arguments
    }
}
