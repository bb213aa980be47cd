//! The planner: from a file and what its references mean to steps that can only fail by running.
//! A pure function; it reports everything that is wrong at once, each with its place in the file.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use eyot_core::interface::{Field, Function, Interface, Outputs, Type};
use eyot_core::{Digest, Error, Name, Result};
use indexmap::IndexMap;
use serde_json::Value;
use toml::Spanned;

use crate::command::{self, CommandSpec};
use crate::file::{PipelineFile, StepEntry, place};

mod order;
mod planned;
mod program;
mod values;

pub(crate) use planned::{
    ArgumentSource, ComponentInterfaces, PipelinePlan, PlannedCall, PlannedStep, PlannedWork,
};
pub use planned::{PlanRequest, ResolvedComponent};
use values::{json, list, reference, with_hint};

/// Plans a run.
///
/// Fails with `Invalid`; the message has one line for each thing that is wrong.
pub(crate) fn plan(request: &PlanRequest, interfaces: &ComponentInterfaces) -> Result<PipelinePlan> {
    let file = PipelineFile::parse(&request.source, &request.file)?;
    let mut planner =
        PipelinePlanner { request, interfaces, file: &file, problems: Vec::new(), calls: HashMap::new() };
    planner.settings();
    planner.find_calls();
    let mut steps: Vec<_> = file.steps.iter().filter_map(|(name, step)| planner.step(name, step)).collect();
    planner.order(&mut steps);
    planner.done()?;
    let params = planner.params();
    Ok(PipelinePlan { pipeline: file.pipeline.name, params, steps })
}

/// What a step calls.
#[derive(Clone)]
struct FoundFunction<'a> {
    component: Digest,
    interface: &'a Interface,
    function: Cow<'a, Function>,
    command: Option<CommandSpec>,
}

struct PipelinePlanner<'a> {
    request: &'a PlanRequest,
    interfaces: &'a ComponentInterfaces,
    file: &'a PipelineFile,
    /// Byte in the file, or none for what was said elsewhere.
    problems: Vec<(Option<usize>, String)>,
    /// The function that each step calls, where that could be found out.
    calls: HashMap<&'a str, FoundFunction<'a>>,
}

impl<'a> PipelinePlanner<'a> {
    fn say(&mut self, at: usize, problem: String) {
        self.problems.push((Some(at), problem));
    }

    fn done(&mut self) -> Result<()> {
        self.problems.sort();
        self.problems.dedup();
        let file = &self.request.file;
        let line = |(at, problem): &(Option<usize>, String)| match at {
            Some(at) => {
                let (line, column) = place(&self.request.source, *at);
                format!("{file}:{line}:{column}: {problem}")
            }
            None => format!("{file}: {problem}"),
        };
        match self.problems.as_slice() {
            [] => Ok(()),
            problems => Err(Error::invalid(problems.iter().map(line).collect::<Vec<_>>().join("\n"))),
        }
    }

    /// What was given with the request must be what the file declares.
    fn settings(&mut self) {
        for name in self.request.params.keys().filter(|name| !self.file.params.contains_key(*name)) {
            let known = list(self.file.params.keys());
            self.problems.push((None, format!("there is no parameter '{name}'; {known}")));
        }
        for name in self.request.inputs.keys().filter(|name| !self.file.inputs.contains_key(*name)) {
            let known = list(self.file.inputs.keys());
            self.problems.push((None, format!("there is no input '{name}'; {known}")));
        }
        for (name, input) in &self.file.inputs {
            if !self.request.inputs.contains_key(name) {
                self.say(input.path.span().start, format!("input '{name}' was not uploaded"));
            }
        }
        if self.file.steps.is_empty() {
            self.problems.push((None, "the pipeline has no step".to_owned()));
        }
    }

    fn params(&self) -> IndexMap<String, Value> {
        let value = |name: &String, default: &Spanned<toml::Value>| {
            self.request.params.get(name).cloned().unwrap_or_else(|| json(default.get_ref()))
        };
        self.file.params.iter().map(|(name, default)| (name.clone(), value(name, default))).collect()
    }

    /// Finds each step's function first: a reference may point to a later step.
    fn find_calls(&mut self) {
        for (name, step) in &self.file.steps {
            let Some(reference) = &step.get_ref().component else { continue };
            let at = reference.span().start;
            let digest = match self.request.components.get(reference.get_ref()) {
                Some(ResolvedComponent::Found(digest)) => *digest,
                Some(ResolvedComponent::Missing(error)) => {
                    self.say(at, with_hint(error));
                    continue;
                }
                None => {
                    self.say(
                        at,
                        format!("'{}' is no reference to a component; write NAME:TAG", reference.get_ref()),
                    );
                    continue;
                }
            };
            let interface = match self.interfaces.get(&digest) {
                Some(Ok(interface)) => interface,
                Some(Err(error)) => {
                    self.say(at, with_hint(error));
                    continue;
                }
                None => {
                    self.say(at, format!("the interface of {digest} is not known"));
                    continue;
                }
            };
            let (wanted, at) = match &step.get_ref().call {
                Some(call) => (call.get_ref().as_str(), call.span().start),
                None => (name.as_str(), at),
            };
            let program = interface.program();
            match (exported(interface, wanted), program) {
                (Some(function), _) if !function.is_program() => {
                    let function = Cow::Borrowed(function);
                    let called = FoundFunction { component: digest, interface, function, command: None };
                    self.calls.insert(name, called);
                }
                (Some(_), Some(export)) | (None, Some(export))
                    if step.get_ref().call.is_none() || wanted == "run" =>
                {
                    let (function, command) = command::of(export, step.get_ref());
                    let function = Cow::Owned(function);
                    let called =
                        FoundFunction { component: digest, interface, function, command: Some(command) };
                    self.calls.insert(name, called);
                }
                _ => {
                    let known = list(interface.functions.iter().map(|function| &function.name));
                    self.say(at, format!("{} exports no function '{wanted}'; {known}", reference.get_ref()));
                }
            }
        }
    }

    fn step(&mut self, name: &str, spanned: &'a Spanned<StepEntry>) -> Option<PlannedStep> {
        let (step, at) = (spanned.get_ref(), spanned.span().start);
        let parsed = match name.parse::<Name>() {
            Ok(name) => name,
            Err(error) => {
                self.say(at, with_hint(&error));
                return None;
            }
        };
        let mut needs = BTreeSet::new();
        for other in &step.after {
            self.need(other.get_ref(), other.span().start, &mut needs);
        }
        let work = match (&step.component, &step.register) {
            (Some(_), None) => self.call(name, step, at, &mut needs)?,
            (None, Some(model)) => self.register(name, step, model, at, &mut needs)?,
            _ => {
                self.say(at, format!("step '{name}' needs either 'component' or 'register'"));
                return None;
            }
        };
        Some(PlannedStep { name: parsed, work, needs })
    }

    fn need(&mut self, other: &str, at: usize, needs: &mut BTreeSet<Name>) {
        match other.parse() {
            Ok(name) if self.file.steps.contains_key(other) => {
                needs.insert(name);
            }
            _ => {
                let known = list(self.file.steps.keys());
                self.say(at, format!("there is no step '{other}'; {known}"));
            }
        }
    }

    fn call(
        &mut self,
        name: &str,
        step: &'a StepEntry,
        at: usize,
        needs: &mut BTreeSet<Name>,
    ) -> Option<PlannedWork> {
        for (key, set) in [("model", step.model.is_some()), ("alias", step.alias.is_some())] {
            if set {
                self.say(
                    at,
                    format!("'{key}' belongs to a step with 'register'; step '{name}' calls a component"),
                );
            }
        }
        let FoundFunction { component, interface, function, command } = self.calls.get(name)?.clone();
        if command.is_some() {
            self.files(step);
            let arguments = self.program(step, needs);
            return Some(PlannedWork::Call(Box::new(PlannedCall {
                component,
                function: function.into_owned(),
                interface: interface.clone(),
                arguments,
                command,
                timeout: step.timeout.map(|period| period.0),
                memory: step.memory.map(|memory| memory.0),
                cache: step.cache.unwrap_or(true),
            })));
        }
        for (key, set) in [
            ("args", step.args.is_some()),
            ("env", !step.env.is_empty()),
            ("outputs", !step.outputs.is_empty()),
        ] {
            if set {
                self.say(
                    at,
                    format!("'{key}' belongs to a step that is a command; {} is a function", function.name),
                );
            }
        }
        for (argument, value) in &step.with {
            if !function.params.iter().any(|param| param.name == *argument) {
                self.say(
                    value.span().start,
                    format!("{} has no parameter '{argument}': it is {function}", function.name),
                );
            }
        }
        let mut arguments = IndexMap::new();
        for param in &function.params {
            match step.with.get(&param.name) {
                Some(value) => {
                    let argument = self.argument(value, param, needs);
                    arguments.extend(argument.map(|argument| (param.name.clone(), argument)));
                }
                None if param.ty.is_optional() => {}
                None => self.say(at, format!("step '{name}' does not give '{}: {}'", param.name, param.ty)),
            }
        }
        Some(PlannedWork::Call(Box::new(PlannedCall {
            component,
            function: function.into_owned(),
            interface: interface.clone(),
            arguments,
            command: None,
            timeout: step.timeout.map(|period| period.0),
            memory: step.memory.map(|memory| memory.0),
            cache: step.cache.unwrap_or(true),
        })))
    }

    fn register(
        &mut self,
        name: &str,
        step: &'a StepEntry,
        model: &Spanned<String>,
        at: usize,
        needs: &mut BTreeSet<Name>,
    ) -> Option<PlannedWork> {
        let only_calls = [
            ("call", step.call.is_some()),
            ("with", !step.with.is_empty()),
            ("timeout", step.timeout.is_some()),
            ("memory", step.memory.is_some()),
            ("args", step.args.is_some()),
            ("env", !step.env.is_empty()),
            ("outputs", !step.outputs.is_empty()),
            ("cache", step.cache.is_some()),
        ];
        for (key, _) in only_calls.iter().filter(|(_, set)| *set) {
            self.say(
                at,
                format!("'{key}' belongs to a step with 'component'; step '{name}' registers a model"),
            );
        }
        let parsed = self.name(model);
        let alias = step.alias.as_ref().map(|alias| self.name(alias));
        let Some(weights) = &step.model else {
            self.say(at, format!("step '{name}' does not say which 'model' to register"));
            return None;
        };
        let param = Field { name: "model".to_owned(), ty: Type::Artifact };
        let weights = self.argument(weights, &param, needs)?;
        let alias = match alias {
            Some(alias) => Some(alias?),
            None => None,
        };
        Some(PlannedWork::Register { model: parsed?, weights, alias })
    }

    fn name(&mut self, text: &Spanned<String>) -> Option<Name> {
        let parsed = text.get_ref().parse::<Name>();
        parsed.map_err(|error| self.say(text.span().start, with_hint(&error))).ok()
    }

    /// An argument for a parameter, with its type checked.
    fn argument(
        &mut self,
        value: &Spanned<toml::Value>,
        param: &Field,
        needs: &mut BTreeSet<Name>,
    ) -> Option<ArgumentSource> {
        let at = value.span().start;
        let (value, what) = match reference(value.get_ref()) {
            Some(("from", text)) => return self.output(text, at, param, needs),
            Some(("param", name)) => {
                if !self.file.params.contains_key(name) {
                    let known = list(self.file.params.keys());
                    self.say(at, format!("there is no parameter '{name}'; {known}"));
                    return None;
                }
                (self.params().swap_remove(name)?, format!("parameter '{name}'"))
            }
            Some((_, name)) => return self.input(name, at, param),
            None => (json(value.get_ref()), "the value".to_owned()),
        };
        match param.ty.check(&value) {
            Ok(()) => Some(ArgumentSource::Value(value)),
            Err(error) => {
                self.say(at, format!("{what} does not fit '{}': {error}", param.name));
                None
            }
        }
    }

    fn input(&mut self, name: &str, at: usize, param: &Field) -> Option<ArgumentSource> {
        let Some(input) = self.file.inputs.get(name) else {
            let known = list(self.file.inputs.keys());
            self.say(at, format!("there is no input '{name}'; {known}"));
            return None;
        };
        if !fits(&Type::Artifact, &param.ty) {
            self.say(at, format!("input '{name}' is an artifact, '{}' is {}", param.name, param.ty));
            return None;
        }
        let digest = *self.request.inputs.get(name)?;
        Some(ArgumentSource::File { digest, media_type: input.media_type.clone() })
    }

    fn output(
        &mut self,
        text: &str,
        at: usize,
        param: &Field,
        needs: &mut BTreeSet<Name>,
    ) -> Option<ArgumentSource> {
        let Some((step, output)) = text.rsplit_once('.') else {
            self.say(at, format!("'{text}' names no output; write STEP.OUTPUT"));
            return None;
        };
        let before = self.problems.len();
        self.need(step, at, needs);
        if self.problems.len() > before {
            return None;
        }
        let name = step.parse().ok()?;
        let outputs = self.outputs_of(step)?;
        let Some(field) = outputs.iter().find(|field| field.name == output) else {
            let known = list(outputs.iter().map(|field| &field.name));
            self.say(at, format!("step '{step}' has no output '{output}'; {known}"));
            return None;
        };
        if !fits(&field.ty, &param.ty) {
            self.say(at, format!("{text} is {}, '{}' is {}", field.ty, param.name, param.ty));
            return None;
        }
        Some(ArgumentSource::Output { step: name, output: output.to_owned() })
    }

    /// None where the step's own problem has been said already.
    fn outputs_of(&self, step: &str) -> Option<Vec<Field>> {
        if self.file.steps.get(step)?.get_ref().register.is_some() {
            let field = |name: &str, ty| Field { name: name.to_owned(), ty };
            return Some(vec![
                field("model", Type::String),
                field("version", Type::U64),
                field("source", Type::String),
            ]);
        }
        let Outputs(fields) = self.calls.get(step)?.function.outputs();
        Some(fields)
    }

    /// Sorts the steps so that each stands after those it needs.
    fn order(&mut self, steps: &mut Vec<PlannedStep>) {
        if let Err(circle) = order::sort(steps) {
            let first = circle.first().map(String::as_str).unwrap_or_default();
            let at = self.file.steps.get(first).map_or(0, |step| step.span().start);
            self.say(at, format!("steps need each other in a circle: {}", circle.join(" -> ")));
        }
    }
}

/// Whether what one step gives can be taken by another.
fn fits(given: &Type, wanted: &Type) -> bool {
    given == wanted || matches!(wanted, Type::Option(inner) if fits(given, inner))
}

fn exported<'a>(interface: &'a Interface, name: &str) -> Option<&'a Function> {
    let functions = &interface.functions;
    let exact = functions.iter().find(|function| function.name == name);
    exact.or_else(|| {
        let mut inside = functions
            .iter()
            .filter(|function| function.name.rsplit_once('#').is_some_and(|(_, bare)| bare == name));
        inside.next().filter(|_| inside.next().is_none())
    })
}
