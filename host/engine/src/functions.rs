//! Functions of a component as calls with JSON: the component's own types are the contract.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use eyot_core::interface::{Docs, Function};
use eyot_core::{Error, Result};
use serde_json::{Map, Value};
use wasmtime::component::{ComponentExportIndex, Instance, InstancePre, Val};

use crate::guest::GuestState;
use crate::pool::{InstancePool, WarmInstance, in_time};
use crate::{
    Component, ExecutionMode, GuestGrants, InferenceUsage, InstanceLimits, InstancePolicy, InstanceStats,
    reflect,
};

/// The functions of a component that can be called with JSON, with what the component was granted.
pub struct JsonFunctions {
    pool: Arc<InstancePool<InstancePre<GuestState>>>,
    all: Vec<Arc<ServedFunction>>,
    /// The places of those that a name means.
    named: HashMap<String, Vec<usize>>,
}

struct ServedFunction {
    function: Function,
    export: ComponentExportIndex,
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionReply {
    /// It went well; `null` where the function gives nothing.
    Value(Value),
    /// It went well, and the function gives bytes.
    Bytes(Vec<u8>),
    /// The function answered an error of its own.
    Error(Value),
}

/// A call that came to an end of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletedCall {
    pub reply: FunctionReply,
    /// What the call used of inference.
    pub usage: InferenceUsage,
}

/// The deadline of a call, and where it starts.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// When it must have ended at the latest.
    pub deadline: Option<Instant>,
    /// It will take long, if only for the size of its arguments, and starts on background threads.
    pub in_background: bool,
}

/// Arguments of a call.
#[derive(Clone, Debug)]
pub enum CallArguments {
    /// Values by parameter name.
    Values(Map<String, Value>),
    /// The function's only parameter, where that is a list of bytes.
    Bytes(Vec<u8>),
}

impl JsonFunctions {
    /// The functions that `component` exports for callers: those whose values have a JSON form, in
    /// interfaces that are its own. `docs` is what their author says of them, by full name.
    ///
    /// Fails with `Invalid` where there is none.
    pub fn new(
        component: Component,
        docs: &BTreeMap<String, Docs>,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Result<Arc<Self>> {
        if component.mode() != ExecutionMode::Serving {
            return Err(Error::internal("functions were compiled for steps"));
        }
        let mut all = Vec::new();
        for function in component.interface().callable() {
            let mut function = function.clone();
            function.docs = docs.get(&function.name).cloned();
            all.push(Arc::new(ServedFunction { export: component.export(&function.name)?, function }));
        }
        if all.is_empty() {
            let exports = component.interface().exports.join(", ");
            return Err(Error::invalid(format!(
                "component {} exports no function that can be called with JSON",
                component.digest()
            ))
            .hint(if exports.is_empty() {
                "it exports nothing".to_owned()
            } else {
                format!("it exports {exports}")
            }));
        }
        let mut named: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, served) in all.iter().enumerate() {
            let names: BTreeSet<String> = served.function.called().into();
            names.into_iter().for_each(|name| named.entry(name).or_default().push(place));
        }
        let start = component.instance().clone();
        let pool = Arc::new(InstancePool::new(component, start, grants, limits, instances)?);
        Ok(Arc::new(Self { pool, all, named }))
    }

    /// The component.
    pub fn component(&self) -> &Component {
        self.pool.component()
    }

    /// Its instances now, and why some ended.
    pub fn stats(&self) -> InstanceStats {
        self.pool.stats()
    }

    /// What can be called.
    pub fn all(&self) -> impl Iterator<Item = &Function> {
        self.all.iter().map(|served| &served.function)
    }

    /// The function of that name; see [`eyot_core::interface::Function::called`].
    ///
    /// Fails with `NotFound` that lists those there are, and `Invalid` where the name fits several.
    pub fn find(&self, name: &str) -> Result<&Function> {
        self.served(name).map(|served| &served.function)
    }

    fn served(&self, name: &str) -> Result<&Arc<ServedFunction>> {
        let mut found = self.named.get(name).into_iter().flatten().filter_map(|place| self.all.get(*place));
        let names = || self.all().map(Function::short).collect::<Vec<_>>().join(", ");
        match (found.next(), found.next()) {
            (Some(served), None) => Ok(served),
            (None, _) => Err(Error::not_found(format!("there is no function '{name}'"))
                .hint(format!("there are: {}", names()))),
            (Some(one), Some(other)) => Err(Error::invalid(format!("there are several functions '{name}'"))
                .hint(format!("write {} or {}", one.function.short(), other.function.short()))),
        }
    }

    /// Starts an instance ahead of the first call.
    ///
    /// Fails as a call would that needed a fresh instance.
    pub async fn prepare(&self) -> Result<()> {
        self.pool.prepare().await
    }

    /// Calls a function. An instance that fails in any way is never used again.
    ///
    /// Fails with `Invalid` when the arguments do not fit the function's types, naming parameter and
    /// path, `Failed` when the component traps, `Timeout` at its deadline or `deadline`.
    pub async fn call(
        &self,
        name: &str,
        arguments: CallArguments,
        deadline: Option<Instant>,
    ) -> Result<CompletedCall> {
        self.call_then(name, arguments, CallOptions { deadline, in_background: false }, |called| called).await
    }

    /// As [`JsonFunctions::call`]; `then` is called on the thread of the call, so that a large answer is encoded on
    /// background threads too.
    pub async fn call_then<T: Send + 'static>(
        &self,
        name: &str,
        arguments: CallArguments,
        when: CallOptions,
        then: impl FnOnce(CompletedCall) -> T + Send + 'static,
    ) -> Result<T> {
        let served = self.served(name)?.clone();
        check(&served.function, &arguments)?;
        let call = self.pool.call(when.in_background, |pool, time_slice| async move {
            let mut warm = pool.take().await?;
            let passed = match arguments {
                CallArguments::Bytes(bytes) => Ok(around(&served.function, bytes)),
                CallArguments::Values(values) => reflect::arguments(
                    &mut warm.store,
                    &served.function,
                    |name| values.get(name),
                    &BTreeMap::new(),
                ),
            };
            let passed = match passed {
                Ok(passed) => passed,
                Err(error) => {
                    // The caller's mistake, which the instance has not seen.
                    pool.keep(warm);
                    return Err(error);
                }
            };
            let (deadline, busy) = pool.begin(&mut warm, time_slice, when.deadline);
            let called = in_time(deadline, invoke(&mut warm, &served, &passed)).await;
            let (result, mut warm) = pool.settle(called, warm, &served.function.name, busy)?;
            let reply = reply(&mut warm, &served.function, result)?;
            let usage = warm.store.data().usage;
            pool.keep(warm);
            Ok(then(CompletedCall { reply, usage }))
        });
        call.await
    }
}

async fn invoke(
    warm: &mut WarmInstance<Instance>,
    served: &ServedFunction,
    passed: &[Val],
) -> wasmtime::Result<Option<Val>> {
    let callee = warm.exports.get_func(&mut warm.store, served.export);
    let callee = callee.ok_or_else(|| wasmtime::Error::msg("the export is no function"))?;
    let mut results = vec![Val::Bool(false); usize::from(served.function.result.is_some())];
    callee.call_async(&mut warm.store, passed, &mut results).await?;
    Ok(results.pop())
}

/// Refuses what the function has no parameter for.
fn check(function: &Function, arguments: &CallArguments) -> Result<()> {
    let values = match arguments {
        CallArguments::Values(values) => values,
        CallArguments::Bytes(_) if function.takes_bytes().is_some() => return Ok(()),
        CallArguments::Bytes(_) => {
            let message = format!("{} does not take bytes alone", function.short());
            return Err(Error::invalid(message)
                .hint(format!("send its arguments as JSON; its signature is {function}")));
        }
    };
    match values.keys().find(|name| !function.params.iter().any(|param| param.name == **name)) {
        None => Ok(()),
        Some(extra) => {
            let names: Vec<&str> = function.params.iter().map(|param| param.name.as_str()).collect();
            let takes = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Err(Error::invalid(format!("{} has no parameter '{extra}'", function.short()))
                .hint(format!("it takes {takes}")))
        }
    }
}

/// The arguments of a function that takes these bytes and nothing else that it needs.
fn around(function: &Function, bytes: Vec<u8>) -> Vec<Val> {
    let mut list = Some(Val::List(bytes.into_iter().map(Val::U8).collect()));
    let value = |param: &eyot_core::interface::Field| match param.ty.is_bytes() {
        true => list.take().unwrap_or(Val::Option(None)),
        false => Val::Option(None),
    };
    function.params.iter().map(value).collect()
}

fn reply(
    warm: &mut WarmInstance<Instance>,
    function: &Function,
    result: Option<Val>,
) -> Result<FunctionReply> {
    let (ok, err) = function.answers();
    let (ty, value) = match (result, err) {
        (Some(Val::Result(Err(error))), Some(err)) => {
            return Ok(FunctionReply::Error(match (err, error) {
                (Some(ty), Some(error)) => reflect::from_val(&mut warm.store, ty, *error)?,
                _ => Value::Null,
            }));
        }
        (Some(Val::Result(Ok(value))), Some(_)) => (ok, value.map(|value| *value)),
        (value, _) => (ok, value),
    };
    Ok(match (ty, value) {
        (Some(ty), Some(Val::List(items))) if ty.is_bytes() => FunctionReply::Bytes(reflect::bytes(items)),
        (Some(ty), Some(value)) => FunctionReply::Value(reflect::from_val(&mut warm.store, ty, value)?),
        (None, _) | (_, None) => FunctionReply::Value(Value::Null),
    })
}
