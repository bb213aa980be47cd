use std::path::PathBuf;

use clap::Args;
use eyot_build::{TemplateKind, write_template};
use eyot_core::config::Language;
use eyot_core::{Error, Name, Result};

use crate::output::CommandOutput;

/// Makes a project: a component that builds and passes its own test as it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot new --lang python --kind handler scorer\n  eyot new --lang rust --kind step cleaner\n  \
    eyot new --lang typescript --kind function features"
)]
pub(crate) struct NewCommand {
    /// The component's name, and that of its folder.
    name: Name,
    /// What it is written in.
    #[arg(long, value_enum)]
    lang: LanguageChoice,
    /// What it is.
    #[arg(long, value_enum)]
    kind: KindChoice,
    /// The folder [default: the name].
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LanguageChoice {
    Rust,
    Python,
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    C,
    #[value(alias = "c++")]
    Cpp,
    Go,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum KindChoice {
    /// Answers predictions: tensors in, tensors out.
    Handler,
    /// A step of a pipeline: typed values and artifacts in and out.
    Step,
    /// A typed function, served as JSON: values in, values out.
    Function,
    /// Answers HTTP requests.
    Http,
    /// A program: files in, files out.
    Command,
}

impl NewCommand {
    pub(crate) fn run(self, output: &CommandOutput) -> Result<()> {
        let dir = self.dir.unwrap_or_else(|| PathBuf::from(self.name.as_str()));
        let language = match self.lang {
            LanguageChoice::Rust => Language::Rust,
            LanguageChoice::Python => Language::Python,
            LanguageChoice::JavaScript => Language::JavaScript,
            LanguageChoice::TypeScript => Language::TypeScript,
            LanguageChoice::C => Language::C,
            LanguageChoice::Cpp => Language::Cpp,
            LanguageChoice::Go => Language::Go,
        };
        let kind = match self.kind {
            KindChoice::Handler => TemplateKind::Handler,
            KindChoice::Step => TemplateKind::Step,
            KindChoice::Function => TemplateKind::Function,
            KindChoice::Http => TemplateKind::Http,
            KindChoice::Command => TemplateKind::Command,
        };
        // Cargo's rule is narrower than ours: a package is no number and has no dot.
        if language == Language::Rust && !is_package(self.name.as_str()) {
            return Err(Error::invalid(format!("'{}' is no name of a Rust package", self.name))
                .hint("start with a letter, and use letters, digits, '-' and '_'"));
        }
        write_template(&dir, &self.name, language, kind)?;
        let path = dir.display().to_string();
        output.result(&serde_json::json!({ "name": self.name, "path": path }), |_| {
            format!("made {path}; {path}/README.md says what is next")
        })
    }
}

fn is_package(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.contains('.')
}
