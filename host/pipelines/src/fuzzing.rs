//! What the fuzz target of `tests/fuzz` calls: it takes any bytes, and panics where something that must hold does not.

use std::collections::BTreeMap;

use eyot_core::interface::Interface;
use eyot_core::{Digest, Error};

use crate::plan::{ComponentInterfaces, PlanRequest, ResolvedComponent, plan};
use crate::{component_references, input_files};

/// A pipeline file, of whose components every other one is there and exports nothing. What is wrong with it is told
/// by lines that it has.
pub fn pipeline(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let digest = Digest::of("component");
    let found = component_references(source).into_iter().enumerate().map(|(place, reference)| {
        let found = match place % 2 {
            0 => ResolvedComponent::Found(digest),
            _ => ResolvedComponent::Missing(Error::not_found("none")),
        };
        (reference, found)
    });
    let file = "pipeline.toml".to_owned();
    let inputs = input_files(source, &file);
    let held = inputs.as_ref().ok().into_iter().flat_map(|inputs| inputs.files.keys().cloned());
    let request = PlanRequest {
        source: source.to_owned(),
        inputs: held.map(|name| (name, digest)).collect(),
        file,
        params: BTreeMap::new(),
        components: found.collect(),
    };
    let interfaces = ComponentInterfaces::from([(digest, Ok(Interface::default()))]);
    match plan(&request, &interfaces) {
        Ok(plan) => assert!(inputs.is_ok() && !plan.steps.is_empty(), "{source:?}"),
        Err(error) => {
            let lines = source.lines().count().max(1);
            let told = error.to_string();
            let places = told.split("pipeline.toml:").skip(1);
            for line in places.filter_map(|rest| rest.split(':').next()?.parse::<usize>().ok()) {
                assert!((1..=lines + 1).contains(&line), "line {line} of {lines}: {told}");
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/pipeline");
        let files = std::fs::read_dir(corpus).unwrap();
        let count = files.map(|file| super::pipeline(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(count > 0);
    }
}
