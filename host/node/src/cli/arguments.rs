//! Global options may stand before a command and after it, and all of them count.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::CliArguments;

/// The arguments with the global options that stand before a command moved behind its name, before those that stand
/// there already: of an option that is given in both places, clap would forget the first.
pub(crate) fn in_one_place(arguments: Vec<OsString>) -> Vec<OsString> {
    let root = CliArguments::command();
    let globals: Vec<_> = root.get_arguments().filter(|argument| argument.is_global_set()).collect();
    let mut arguments = arguments.into_iter().peekable();
    let mut names: Vec<OsString> = arguments.next().into_iter().collect();
    let (mut options, mut command) = (Vec::new(), &root);
    while let Some(next) = arguments.peek().and_then(|next| next.to_str()) {
        let (name, value) = next.split_once('=').map_or((next, None), |(name, value)| (name, Some(value)));
        let option = name
            .strip_prefix("--")
            .and_then(|long| globals.iter().find(|argument| argument.get_long() == Some(long)));
        let has_separate_value = value.is_none() && option.is_some_and(|it| it.get_action().takes_values());
        match (option, command.find_subcommand(next)) {
            (Some(_), _) => options.extend(arguments.by_ref().take(1 + usize::from(has_separate_value))),
            (None, Some(found)) => {
                command = found;
                names.extend(arguments.next());
            }
            (None, None) => break,
        }
    }
    names.into_iter().chain(options).chain(arguments).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser as _;

    use super::*;

    fn parsed(words: &[&str]) -> CliArguments {
        let words = ["eyot"].iter().chain(words).map(OsString::from).collect();
        CliArguments::try_parse_from(in_one_place(words)).unwrap()
    }

    /// What the global options say, as far as they say anything.
    fn said(arguments: &CliArguments) -> String {
        let global = &arguments.global;
        let (data, config, server, project) = (&global.data, &global.config, &global.server, &global.project);
        let places = format!("{server:?} {project:?} {data:?} {config:?}");
        format!("{} {:?} {places} {:?}", global.json, global.color, global.settings)
    }

    #[test]
    fn every_global_option_counts_before_and_after_a_command() {
        let options: &[(&str, &[&str], &[&str])] = &[
            ("json", &["--json"], &["--json"]),
            ("color", &["--color", "always"], &["--color=never"]),
            ("server", &["--server", "http://a"], &["--server=http://b"]),
            ("project", &["--project", "aa"], &["--project=bb"]),
            ("data", &["--data=/a"], &["--data", "/b"]),
            ("config", &["--config", "/a.toml"], &["--config", "/b.toml"]),
            ("settings", &["--set", "gateway.queue=1"], &["--set=gateway.queue=2"]),
        ];
        let known = CliArguments::command();
        let globals = known.get_arguments().filter(|argument| argument.is_global_set());
        let tested: Vec<_> = options.iter().map(|(name, ..)| *name).collect();
        assert_eq!(globals.map(|argument| argument.get_id().as_str()).collect::<Vec<_>>(), tested);
        for (name, one, other) in options {
            for command in [&["ls"][..], &["token", "ls"], &["backend", "list"]] {
                let (first, rest) = command.split_at(1);
                let alone = said(&parsed(&[one, command].concat()));
                assert_eq!(alone, said(&parsed(&[command, *one].concat())), "{name}");
                assert_eq!(alone, said(&parsed(&[first, one, rest].concat())), "{name}");
                assert_ne!(alone, said(&parsed(command)), "{name}");
                let both = said(&parsed(&[*one, command, *other].concat()));
                assert_eq!(both, said(&parsed(&[command, *one, *other].concat())), "{name}");
                assert_eq!(both, said(&parsed(&[*one, *other, command].concat())), "{name}");
                assert_eq!(both, said(&parsed(&[*one, first, *other, rest].concat())), "{name}");
                if *name == "settings" {
                    assert!(both.contains(r#"["gateway.queue=1", "gateway.queue=2"]"#), "{both}");
                } else {
                    assert_eq!(both, said(&parsed(&[command, *other].concat())), "{name}: the last counts");
                }
            }
        }
    }

    #[test]
    fn what_is_no_global_option_stays_where_it_is() {
        for words in [
            &["--help"][..],
            &["--set", "a=b"],
            &["--set"],
            &["deploy", "--name", "ls", "--json"],
            &["--version", "ls"],
            &["nothing", "--json"],
            &[],
        ] {
            let words: Vec<OsString> = ["eyot"].iter().chain(words).map(OsString::from).collect();
            assert_eq!(in_one_place(words.clone()), words);
        }
    }
}
