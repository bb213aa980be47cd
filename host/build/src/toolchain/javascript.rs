//! JavaScript and TypeScript: what an app exports is read off its types, esbuild makes one module of
//! it, componentize-js the component.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::config::Language;
use eyot_core::{Error, Result};

use crate::app_description::AppDescription;
use crate::component_source::ComponentSource;
use crate::contracts;
use crate::process::{run_tool, tool_output};
use crate::reporter::BuildReporter;
use crate::tool_folder::{PackageSource, ToolFolder, ToolPackage};

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../components/sdk/javascript/", $path)))),*]
    };
}

/// The module `eyot` that apps import.
pub(crate) const JAVASCRIPT_SDK: &[(&str, &str)] = files![
    "eyot/package.json",
    "eyot/artifact.js",
    "eyot/errors.js",
    "eyot/exports.js",
    "eyot/handler.js",
    "eyot/index.d.ts",
    "eyot/index.js",
    "eyot/model.js",
    "eyot/tensor.js",
    "eyot/tracking.js",
    "eyot/outside/artifacts.js",
    "eyot/outside/models.js",
    "eyot/outside/tracking.js",
];
/// What reads an app and makes its component; it lies beside the packages that it uses.
const BUILD_SCRIPTS: &[(&str, &str)] =
    files!["build/types.js", "build/describe.js", "build/reach.js", "build/componentize.js"];
/// The WASI whose names the engine inside of componentize-js has built in; a host of a later one links it.
const WASI_VERSION: &str = "0.2.10";
/// componentize-js, esbuild and TypeScript.
const TOOL_PACKAGE: ToolPackage = ToolPackage {
    name: "the JavaScript tools: componentize-js 0.23.0, esbuild, TypeScript",
    folder: "javascript-0.23.0",
    size: "90 MB to fetch, 420 MB on disk",
    source: PackageSource::Npm {
        manifest: include_str!("../../../../components/sdk/javascript/build/package.json"),
        lock: include_str!("../../../../components/sdk/javascript/build/package-lock.json"),
    },
};

/// How JavaScript components are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JavaScriptToolchain {
    version: String,
}

impl JavaScriptToolchain {
    /// Looks for Node.js.
    pub fn find() -> Result<Self> {
        let missing =
            "install Node.js 20 or newer: https://nodejs.org, or on Debian 13: apt-get install nodejs npm";
        let version = tool_output("node", &["--version"], missing)?;
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
        if major.is_none_or(|major: u32| major < 18) {
            return Err(Error::unavailable(format!("Node.js {version} is too old")).hint(missing));
        }
        Ok(Self { version })
    }

    /// In words, for eyot doctor.
    pub fn describe(&self, tools: &ToolFolder) -> String {
        let rest = match tools.find(&TOOL_PACKAGE) {
            Some(_) => "componentize-js is installed",
            None => "eyot build installs componentize-js when it is first needed",
        };
        format!("Node.js {}, {rest}", self.version)
    }

    /// Makes components of apps. They share one process: the tool takes seconds until it is warm.
    pub(crate) fn build(
        &self,
        apps: &[&ComponentSource],
        tools: &ToolFolder,
        reporter: &dyn BuildReporter,
    ) -> Result<()> {
        let scripts = scripts(&tools.get(&TOOL_PACKAGE, reporter)?)?;
        let mut componentize = Command::new("node");
        componentize.arg(scripts.join("componentize.js"));
        for app in apps {
            reporter.progress(&format!("reading {}", app.dir.display()));
            componentize.args(prepare(app, &scripts)?);
        }
        reporter.progress("making components");
        let names: Vec<_> = apps.iter().map(|app| app.component.name.as_str()).collect();
        run_tool(componentize, &names.join(", "), reporter)
    }
}

/// Bundles an app and writes its contracts; answers what makes its component of them.
fn prepare(app: &ComponentSource, scripts: &Path) -> Result<[PathBuf; 4]> {
    let source = entry(&app.dir, app.component.language)?;
    let work = app.work_dir();
    JAVASCRIPT_SDK.iter().try_for_each(|(path, text)| contracts::file(&work.join("sdk").join(path), text))?;
    let (bundle, wit) = (work.join("bundle.js"), work.join("wit"));
    let mut describe = Command::new("node");
    describe.arg(scripts.join("describe.js")).arg(&source).arg(work.join("sdk/eyot")).arg(&bundle);
    let described = AppDescription::read(describe, &source)?;
    contracts::write_for(
        &wit,
        &described.world(app.component.package.as_deref(), WASI_VERSION),
        WASI_VERSION,
    )?;
    let kind = if described.http { "http" } else { "none" };
    Ok([bundle, wit, app.artifact.clone(), PathBuf::from(kind)])
}

/// The scripts of this version of `eyot`, beside the packages: another version may have written others.
fn scripts(tool: &Path) -> Result<PathBuf> {
    let digest = eyot_core::Digest::of(BUILD_SCRIPTS.iter().map(|(_, text)| *text).collect::<String>());
    let folder = tool.join(format!("eyot-{}", digest.short()));
    if !folder.is_dir() {
        let work = tempfile::Builder::new().prefix(".scripts-").tempdir_in(tool)?;
        for (path, text) in BUILD_SCRIPTS {
            contracts::file(&work.path().join(path.trim_start_matches("build/")), text)?;
        }
        // Another process may have been faster; what it wrote is the same.
        if let Err(error) = std::fs::rename(work.path(), &folder)
            && !folder.is_dir()
        {
            return Err(Error::from(error).context(format!("cannot write {}", folder.display())));
        }
    }
    Ok(folder)
}

/// The app of a folder: paths are whole, since tools run elsewhere.
fn entry(dir: &Path, language: Language) -> Result<PathBuf> {
    let names: &[&str] = if language == Language::TypeScript { &["app.ts"] } else { &["app.js", "app.mjs"] };
    let found = names.iter().map(|name| dir.join(name)).find(|path| path.is_file());
    let found = found.ok_or_else(|| {
        let name = language.name();
        Error::not_found(format!("there is no {}", dir.join(names[0]).display())).hint(format!(
            "a component in {name} is a folder with eyot.toml and {}; eyot new --lang {name} makes one",
            names[0]
        ))
    })?;
    Ok(found.canonicalize()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct SilentReporter;

    impl BuildReporter for SilentReporter {
        fn progress(&self, _: &str) {}

        fn note(&self, _: &str) {}
    }

    /// Prints for each of its arguments whether it can reach `fetch`.
    const ASK_SCRIPT: &str = "const [reach, ...sources] = process.argv.slice(1); \
        const { reachesFetch } = await import(reach); \
        console.log(sources.map(reachesFetch).join(' '));";

    #[test]
    fn what_can_reach_fetch_is_told_from_what_cannot() {
        let tools = ToolFolder::new(&eyot_core::config::DataSettings::default().tools);
        // Nobody has built anything in JavaScript on a new machine yet.
        let found = match std::env::var_os("CI") {
            Some(_) => Some(tools.get(&TOOL_PACKAGE, &SilentReporter).unwrap()),
            None => tools.find(&TOOL_PACKAGE),
        };
        let Some(tool) = found else {
            return eprintln!("ignored: the JavaScript tools are not installed");
        };
        let reach = scripts(&tool).unwrap().join("reach.js");
        for (expected, sources) in [
            (
                "true",
                &[
                    "fetch('x')",
                    "globalThis.fetch('x')",
                    "const f = globalThis['fet' + 'ch']",
                    "const { fetch: g } = globalThis",
                    "const f = fetch; f()",
                    "self.fetch('x')",
                    "new Function('return fetch')()",
                    "eval('fetch')",
                    "Reflect.get(globalThis, 'fetch')",
                    "export const o = { fetch }",
                    "class A { x = fetch }",
                    "globalThis.globalThis.fetch('x')",
                    "const { a = fetch } = b",
                    "(() => {}).constructor('return fetch')()",
                    "[].map['constructor']('return fetch')()",
                ][..],
            ),
            (
                "false",
                &[
                    "store.fetch('x')",
                    "export default { fetch(request) { return request; } }",
                    "class A { fetch() {} }",
                    "const { fetch: mine } = store",
                    "globalThis.console.log('fetch')",
                    "x.constructor.name",
                    "import { fetch as f } from 'eyot:ml/models@0.1.0'",
                ],
            ),
        ] {
            let node = Command::new("node")
                .args(["--input-type=module", "-e", ASK_SCRIPT])
                .arg(&reach)
                .args(sources)
                .output()
                .unwrap();
            let said = String::from_utf8(node.stdout).unwrap();
            let told: Vec<_> = said.split_whitespace().collect();
            assert_eq!(told.len(), sources.len(), "{}", String::from_utf8_lossy(&node.stderr));
            for (told, source) in told.iter().zip(sources) {
                assert_eq!(*told, expected, "{source}");
            }
        }
    }
}
