//! An order of steps in which each stands after those it needs.

use std::collections::BTreeSet;

use eyot_core::Name;

use super::PlannedStep;

/// Sorts the steps so that each stands after those it needs; the order they had decides the rest.
///
/// Fails when there is none, with the steps of a circle: the first comes again at the end.
pub(super) fn sort(steps: &mut Vec<PlannedStep>) -> Result<(), Vec<String>> {
    let mut waiting = std::mem::take(steps);
    let known: BTreeSet<Name> = waiting.iter().map(|step| step.name.clone()).collect();
    let mut done: BTreeSet<Name> = BTreeSet::new();
    // A step that is not there is a problem of its own, and no reason to speak of a circle.
    let ready = |step: &PlannedStep, done: &BTreeSet<Name>| {
        step.needs.iter().all(|need| done.contains(need) || !known.contains(need))
    };
    while let Some(position) = waiting.iter().position(|step| ready(step, &done)) {
        let step = waiting.remove(position);
        done.insert(step.name.clone());
        steps.push(step);
    }
    waiting.first().map_or(Ok(()), |first| Err(circle(&waiting, first)))
}

/// Follows needs from `first` until a step comes up twice.
fn circle(waiting: &[PlannedStep], first: &PlannedStep) -> Vec<String> {
    let mut path: Vec<&Name> = vec![&first.name];
    loop {
        let Some(last) = path.last() else { return Vec::new() };
        let step = waiting.iter().find(|step| step.name == **last);
        let next = step
            .and_then(|step| step.needs.iter().find(|need| waiting.iter().any(|other| other.name == **need)));
        let Some(next) = next else { return path.iter().map(ToString::to_string).collect() };
        if let Some(start) = path.iter().position(|name| *name == next) {
            let circle = path[start..].iter().copied().chain([next]);
            return circle.map(ToString::to_string).collect();
        }
        path.push(next);
    }
}
