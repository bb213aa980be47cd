//! The worlds of components in a release, as WIT.

/// The media type of a world's text.
pub(crate) const WORLD_TYPE: &str = "application/vnd.eyot.world.v1+wit";

/// What a world gained and lost, a line each; capabilities are told elsewhere.
pub(crate) fn changes(name: &str, old: &str, new: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| line.len() > 1 && !line.starts_with("import ")).map(str::to_owned).collect()
    };
    let (old, new) = (lines(old), lines(new));
    let only = |here: &[String], there: &[String], word: &str| -> Vec<String> {
        let missing = here.iter().filter(|line| !there.contains(line));
        missing.map(|line| format!("world of component '{name}' {word} `{line}`")).collect()
    };
    [only(&old, &new, "lost"), only(&new, &old, "gained")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines_that_are_only_on_one_side() {
        let old = "world root {\n  import a:b/c;\n  export twice: func(number: u32) -> u32;\n}\n";
        let new = "world root {\n  import a:b/d;\n  export twice: func(number: u64) -> u64;\n}\n";
        let said = changes("x", old, new);
        assert!(said.len() == 2 && said[0].contains("lost `export twice: func(number: u32)"), "{said:?}");
        assert!(changes("x", old, old).is_empty());
    }
}
