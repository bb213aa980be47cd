//! Which export makes a component a program.

use super::{Function, Interface};

/// The interface of a program, of any version.
const RUN: &str = "wasi:cli/run@";

impl Interface {
    /// What runs a component that is a program. One may export several versions of `wasi:cli/run`: what a compiler of
    /// WASI 0.2 makes of a `main` that nobody wrote for it, beside that of 0.3 which the program is. The newest counts.
    pub fn program(&self) -> Option<&Function> {
        let versions =
            self.functions.iter().filter_map(|function| Some((version(&function.name)?, function)));
        versions.max_by_key(|(version, _)| *version).map(|(_, function)| function)
    }

    /// Whether it exports nothing that could be called beside what runs it.
    pub fn is_only_program(&self) -> bool {
        !self.functions.is_empty() && self.functions.iter().all(Function::is_program)
    }
}

impl Function {
    /// Whether it runs a program.
    pub fn is_program(&self) -> bool {
        version(&self.name).is_some()
    }
}

/// The version of the interface that a program is run through, to be compared: a release is newer than its candidates.
fn version(name: &str) -> Option<([u64; 3], bool)> {
    let text = name.strip_prefix(RUN)?.strip_suffix("#run")?;
    let (numbers, candidate) = text.split_once('-').map_or((text, false), |(numbers, _)| (numbers, true));
    let mut parts = numbers.split('.').map(|part| part.parse().unwrap_or(0));
    let numbers = [(); 3].map(|()| parts.next().unwrap_or(0));
    Some((numbers, !candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(names: &[&str]) -> Interface {
        let function =
            |name: &&str| Function { name: (*name).to_owned(), params: Vec::new(), result: None, docs: None };
        let functions = names.iter().map(function).collect();
        Interface { imports: Vec::new(), exports: Vec::new(), functions }
    }

    #[test]
    fn the_newest_version_of_run_is_the_program() {
        for (names, expected, alone) in [
            (&["wasi:cli/run@0.2.0#run", "wasi:cli/run@0.3.0#run"][..], "wasi:cli/run@0.3.0#run", true),
            (&["wasi:cli/run@0.2.12#run", "wasi:cli/run@0.2.6#run"], "wasi:cli/run@0.2.12#run", true),
            (
                &["wasi:cli/run@0.3.0#run", "wasi:cli/run@0.3.0-rc-2026-03-15#run"],
                "wasi:cli/run@0.3.0#run",
                true,
            ),
            (&["wasi:cli/run@0.2.6#run", "acme:rows/steps#clean"], "wasi:cli/run@0.2.6#run", false),
        ] {
            let interface = interface(names);
            assert_eq!(interface.program().map(|function| function.name.as_str()), Some(expected));
            assert_eq!(interface.is_only_program(), alone, "{names:?}");
        }
        for names in [&[][..], &["run"], &["wasi:cli/run@0.2.0#stop"], &["acme:cli/run@0.2.0#run"]] {
            assert_eq!(interface(names).program(), None, "{names:?}");
            assert!(!interface(names).is_only_program());
        }
    }
}
