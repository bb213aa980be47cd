//! C and C++: zig's clang compiles, component.wit says what is exported; without one it is a command.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::config::Language;
use eyot_core::{Error, Result, ResultExt};
use wit_bindgen_core::Files;
use wit_component::StringEncoding;
use wit_parser::{Resolve, WorldId, WorldKey};

use crate::component_source::ComponentSource;
use crate::contracts;
use crate::process::{run_tool, tool_output};
use crate::reporter::BuildReporter;
use crate::tool_folder::{PackageSource, ToolFolder, ToolPackage};

/// The header that sources include.
const HEADER_TEXT: &str = include_str!("../../../../components/sdk/c/eyot.h");
/// clang, lld and wasi-libc in one package.
const TOOL_PACKAGE: ToolPackage = ToolPackage {
    name: "zig 0.17.1, whose clang compiles C for WASI",
    folder: "c-zig-0.17.1",
    size: "95 MB to fetch, 410 MB on disk",
    source: PackageSource::Pip(&["ziglang==0.17.1"]),
};
/// What is exported, in WIT; a folder without one holds a command.
const WORLD_FILE: &str = "component.wit";

/// How C components are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClangToolchain {
    /// The machine's own zig.
    Zig { version: String },
    /// The package of PyPI, once it is needed.
    Package,
}

impl ClangToolchain {
    /// Looks for a compiler.
    pub fn find() -> Result<Self> {
        if let Ok(version) = tool_output("zig", &["version"], "") {
            return Ok(Self::Zig { version });
        }
        tool_output("python3", &["-m", "pip", "--version"], "install zig, or Python 3 with pip")?;
        Ok(Self::Package)
    }

    /// In words, for eyot doctor.
    pub fn describe(&self, tools: &ToolFolder) -> String {
        match (self, tools.find(&TOOL_PACKAGE)) {
            (Self::Zig { version }, _) => format!("zig {version}"),
            (Self::Package, Some(_)) => "zig 0.17.1 among Eyot's tools".to_owned(),
            (Self::Package, None) => "eyot build installs zig when it is first needed".to_owned(),
        }
    }

    fn compiler(&self, tools: &ToolFolder, reporter: &dyn BuildReporter) -> Result<Command> {
        Ok(match self {
            Self::Zig { .. } => Command::new("zig"),
            Self::Package => {
                let folder = tools.get(&TOOL_PACKAGE, reporter)?;
                let mut command = Command::new("python3");
                command.args(["-m", "ziglang"]).env("PYTHONPATH", folder);
                command
            }
        })
    }

    /// Makes the component of a project's sources.
    pub(crate) fn build(
        &self,
        source: &ComponentSource,
        tools: &ToolFolder,
        reporter: &dyn BuildReporter,
    ) -> Result<()> {
        let (dir, into, work) = (source.dir.as_path(), source.artifact.as_path(), source.work_dir());
        let driver = if source.component.language == Language::Cpp { "c++" } else { "cc" };
        let mut sources = sources(dir, source.component.language)?;
        let world = if dir.join(WORLD_FILE).is_file() { Some(ClangWorld::read(dir, work)?) } else { None };
        let module = work.join("module.wasm");
        contracts::file(&work.join("include/eyot.h"), HEADER_TEXT)?;
        let mut compile = self.compiler(tools, reporter)?;
        compile.args([driver, "-target", "wasm32-wasi", "-O2", "-msimd128", "-Wl,--strip-debug", "-Wall"]);
        compile.arg("-I").arg(work.join("include")).arg("-I").arg(dir);
        if let Some(world) = &world {
            sources.push(world.bindings(&work.join("include"))?);
            compile.arg("-mexec-model=reactor").args(world.defines());
        }
        if source.component.language == Language::Cpp {
            // Its library for WASI has none.
            compile.arg("-fno-exceptions");
        }
        for source in &sources {
            // The driver of C++ would take a source of C for one of its own.
            let language = if source.extension().is_some_and(|ending| ending == "c") { "c" } else { "c++" };
            compile.args(["-x", language]).arg(source);
        }
        compile.arg("-o").arg(&module);
        reporter.progress("compiling");
        run_tool(compile, &dir.display().to_string(), reporter)?;
        let core = std::fs::read(&module).context(|| format!("cannot read {}", module.display()))?;
        let component = match world {
            Some(world) => world.component(core)?,
            None => adapted(&core)?,
        };
        std::fs::write(into, component).context(|| format!("cannot write {}", into.display()))
    }
}

/// The sources of a folder, in one order on every machine.
fn sources(dir: &Path, language: Language) -> Result<Vec<PathBuf>> {
    let endings: &[&str] = match language {
        Language::Cpp => &["cpp", "cc", "cxx", "c"],
        _ => &["c"],
    };
    let mut found = Vec::new();
    for folder in [dir.to_owned(), dir.join("src")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            // Tests of their own have a main of their own.
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let is_source =
                endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending));
            if is_source && !name.starts_with("test_") {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let (ending, name) = (endings[0], language.name());
        return Err(Error::not_found(format!("there is no .{ending} file in {}", dir.display())).hint(format!(
            "a component in {name} is a folder with eyot.toml and sources; eyot new --lang {name} makes one"
        )));
    }
    Ok(found)
}

/// What a component in C exports and imports.
struct ClangWorld {
    resolve: Resolve,
    world: WorldId,
}

impl ClangWorld {
    fn read(dir: &Path, work: &Path) -> Result<Self> {
        let file = dir.join(WORLD_FILE);
        let text = std::fs::read_to_string(&file).context(|| format!("cannot read {}", file.display()))?;
        let wit = work.join("wit");
        contracts::write(&wit, &text)?;
        let mut resolve = Resolve::default();
        let wrong = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("{}: {error:#}", file.display()))
                .hint("it holds: package eyot:component; world component { … }")
        };
        let (package, _) = resolve.push_dir(&wit).map_err(|error| wrong(&error))?;
        let world = resolve.select_world(&[package], Some("component")).map_err(|error| wrong(&error))?;
        Ok(Self { resolve, world })
    }

    /// Writes the bindings; answers the source among them.
    fn bindings(&self, into: &Path) -> Result<PathBuf> {
        let options = wit_bindgen_c::Opts {
            // The types are put into the module afterwards: not every linker keeps them.
            no_object_file: true,
            autodrop_borrows: wit_bindgen_c::Enabled::Yes,
            ..Default::default()
        };
        let mut files = Files::default();
        let mut resolve = self.resolve.clone();
        let made = options.build().generate(&mut resolve, self.world, &mut files);
        made.map_err(|error| Error::invalid(format!("{WORLD_FILE} has no bindings in C: {error:#}")))?;
        for (name, bytes) in files.iter() {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if name.ends_with(".c") {
                // The bindings hold on to an object file, which the module does without.
                text.push_str("\nvoid __component_type_object_force_link_component(void) {}\n");
            }
            contracts::file(&into.join(name), &text)?;
        }
        Ok(into.join("component.c"))
    }

    /// Which parts of eyot.h there are.
    fn defines(&self) -> Vec<&'static str> {
        let world = &self.resolve.worlds[self.world];
        let named = |key: &WorldKey| self.resolve.name_world_key(key);
        let imports: Vec<_> = world.imports.keys().map(named).collect();
        let exports: Vec<_> = world.exports.keys().map(named).collect();
        [
            ("-DEYOT_ARTIFACTS", "eyot:ml/artifacts@", &imports),
            ("-DEYOT_MODELS", "eyot:ml/models@", &imports),
            ("-DEYOT_TRACKING", "eyot:ml/tracking@", &imports),
            ("-DEYOT_HANDLER", "eyot:ml/handler@", &exports),
        ]
        .into_iter()
        .filter(|(_, interface, names)| names.iter().any(|name| name.starts_with(interface)))
        .map(|(define, _, _)| define)
        .collect()
    }

    fn component(&self, mut core: Vec<u8>) -> Result<Vec<u8>> {
        wit_component::embed_component_metadata(&mut core, &self.resolve, self.world, StringEncoding::UTF8)
            .map_err(|error| Error::internal(format!("{WORLD_FILE} cannot be put into the module: {error:#}")))?;
        adapted(&core)
    }
}

/// A module for WASI preview 1 inside of the official adapter.
fn adapted(core: &[u8]) -> Result<Vec<u8>> {
    let made = eyot_component::componentize(core).map(std::borrow::Cow::into_owned);
    made.map_err(|error| {
        error.hint("every function of component.wit must be defined, and no other may be imported")
    })
}
