//! Names that say too little: a number without its unit, and one name for several things. Those that there are only
//! become fewer.

use crate::structure::VagueNames;

/// Constants that are numbers and whose names say no unit.
const UNITLESS_NAMES: usize = 2;
/// Names of types that are defined in more than two modules.
const SHARED_NAMES: usize = 0;

pub(super) fn check(names: &VagueNames, problems: &mut Vec<String>) {
    if names.unitless.len() > UNITLESS_NAMES {
        problems.push(format!(
            "more than {UNITLESS_NAMES} numbers have names that say no unit, as MAX_BODY_BYTES does: {}",
            names.unitless.join(", ")
        ));
    }
    if names.shared.len() > SHARED_NAMES {
        let shared = names.shared.iter().map(|(name, places)| format!("{name} ({})", places.join(", ")));
        problems.push(format!(
            "more than {SHARED_NAMES} names of types are defined in more than two modules; say what is different: {}",
            shared.collect::<Vec<_>>().join("; ")
        ));
    }
}

/// What of the numbers above is larger than what there is.
pub(super) fn slack(names: &VagueNames) -> Option<String> {
    let (unitless, shared) = (names.unitless.len(), names.shared.len());
    (unitless < UNITLESS_NAMES || shared != SHARED_NAMES).then(|| {
        format!("only {unitless} numbers without a unit and {shared} shared names of types; say so in tidy/names.rs")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(unitless: usize, shared: usize) -> VagueNames {
        VagueNames {
            unitless: (0..unitless).map(|number| format!("new::size::LIMIT{number}")).collect(),
            shared: (0..shared).map(|number| (format!("Answer{number}"), vec!["a".to_owned()])).collect(),
        }
    }

    #[test]
    fn one_more_than_there_were_is_told_with_its_place() {
        for (names, told) in [
            (names(UNITLESS_NAMES, SHARED_NAMES), None),
            (names(UNITLESS_NAMES + 1, 0), Some("new::size::LIMIT0, ")),
            (names(0, SHARED_NAMES + 1), Some("Answer0 (a)")),
        ] {
            let mut problems = Vec::new();
            check(&names, &mut problems);
            assert_eq!(problems.len(), usize::from(told.is_some()), "{problems:?}");
            assert!(told.is_none_or(|told| problems[0].contains(told)), "{problems:?}");
        }
        assert!(slack(&names(UNITLESS_NAMES, SHARED_NAMES)).is_none());
        assert!(slack(&names(UNITLESS_NAMES - 1, SHARED_NAMES)).is_some());
    }
}
