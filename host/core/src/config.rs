//! The configuration of a node: defaults, then `eyot.toml`, then `EYOT_*`, then flags.
//!
//! Every option has one name: `gateway.listen` in the file is `EYOT_GATEWAY__LISTEN` in the
//! environment and `--set gateway.listen=…` on the command line. A name that does not exist is an
//! error wherever it stands, so that a misspelt limit is not a missing limit.

mod api;
mod data;
mod grants;
mod http;
mod inference;
mod precision;
mod registry;
mod schema;
mod steps;
mod storage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, Error, Period, Result, ResultExt};

pub use api::ApiSettings;
pub use data::DataSettings;
pub use grants::{ComponentGrants, ModelGrants};
pub use http::HttpSettings;
pub use inference::{BackendChoice, InferenceSettings, Optimization};
pub use precision::{Precision, Target, Tolerance};
pub use registry::{AnonymousAccess, ImmutableTags, Mirror, Quota, RegistrySettings, Retention};
pub use steps::StepSettings;
pub use storage::{DatabaseUrl, StorageSettings};

/// All options of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where state and back ends lie.
    pub data: DataSettings,
    /// Where rows are kept.
    pub storage: StorageSettings,
    /// The control plane: API and registry.
    pub api: ApiSettings,
    /// The data plane: predictions.
    pub gateway: GatewaySettings,
    /// Connections to either plane.
    pub http: HttpSettings,
    /// The registry.
    pub registry: RegistrySettings,
    /// Limits of one prediction.
    pub handlers: LimitSettings,
    /// Limits of one step run.
    pub steps: StepSettings,
    /// Inference.
    pub inference: InferenceSettings,
    /// The component that is built from the folder of this file, if it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentSettings>,
}

/// A component that `eyot build` builds and `eyot push` pushes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ComponentSettings {
    /// The repository in the registry.
    pub name: String,
    /// The tag under which it is pushed.
    pub version: String,
    /// What it is written in.
    pub language: Language,
    /// The WIT package of the interface `functions` that its functions are in, where its language makes
    /// that: python, javascript and typescript [default: eyot:component]. Others import them by that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Components that are linked into it when it is built: its imports, and theirs, are filled with their
    /// exports. A path that begins with '.' or '/' is the folder of a component or a .wasm file, anything else a
    /// reference in the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plug: Vec<String>,
    /// What it may reach where it serves.
    #[serde(default, skip_serializing_if = "ComponentGrants::is_empty")]
    pub grants: ComponentGrants,
}

/// What a component is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    Rust,
    Python,
    #[serde(rename = "javascript")]
    JavaScript,
    #[serde(rename = "typescript")]
    TypeScript,
    C,
    Cpp,
    Go,
}

impl Language {
    /// Every language that `eyot build` knows.
    pub const ALL: [Language; 7] = [
        Language::Rust,
        Language::Python,
        Language::JavaScript,
        Language::TypeScript,
        Language::C,
        Language::Cpp,
        Language::Go,
    ];

    /// Its name in `eyot.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Go => "go",
        }
    }
}

/// The data plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewaySettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest request body; a larger one is answered 413.
    pub max_body: ByteCount,
    /// How long the body of a request may take to arrive; a slower one is answered 408.
    pub body_timeout: Period,
    /// Bytes a second at which a client that is waited for may send for longer than body-timeout, where a
    /// component that answers HTTP reads a body as it comes; a slower body is ended. 0 ends none.
    pub body_rate: ByteCount,
    /// Requests that one deployment works on at the same time.
    pub concurrency: usize,
    /// Requests that wait for a deployment before the next is answered 429.
    pub queue: usize,
    /// How long a drain waits for requests in flight after SIGTERM.
    pub drain: Period,
    /// The certificate chain for TLS, a PEM file; empty for none.
    pub tls_cert: PathBuf,
    /// The certificate's private key, a PEM file.
    pub tls_key: PathBuf,
    /// Names by which this server is known, as in `models.example.com` or `*.example.com`; a request that names
    /// another is refused, `*` lets all in. Addresses, localhost and the hosts of routes always are.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask for predictions from a browser (CORS), as in `https://app.example.com`; `*` for all.
    pub origins: Vec<String>,
    /// Who may call what is deployed: public for everybody who reaches the data plane, project for those who show a token
    /// of somebody with a part in the deployment's project.
    pub access: EndpointAccess,
    /// Whether clients of the data plane may load and unload models.
    pub model_control: bool,
    /// A collector of traces that takes OTLP over HTTP or HTTPS, as in `http://127.0.0.1:4318`; where it is
    /// empty, that of the variable OTEL_EXPORTER_OTLP_ENDPOINT, if there is one.
    pub otlp_endpoint: String,
    /// The share of requests without a trace of their own that are traced, from 0 to 1; a client that
    /// sends W3C trace context decides for itself.
    pub trace_share: f64,
    /// The share of predictions that is written to predictions/NAME.jsonl in the data folder, from 0 to 1.
    pub prediction_log: f64,
    /// How large a file of the prediction log may grow; one older file is kept.
    pub prediction_log_size: ByteCount,
}

/// Who may call what is deployed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointAccess {
    /// Everybody who reaches the data plane.
    #[default]
    Public,
    /// Who shows a token of somebody with a part in the deployment's project.
    Project,
}

impl GatewaySettings {
    /// Certificate and key, if the data plane speaks TLS.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        (!self.tls_cert.as_os_str().is_empty()).then_some((&self.tls_cert, &self.tls_key))
    }
}

/// Limits of one call into a component that answers predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitSettings {
    /// Linear memory of one instance.
    pub memory: ByteCount,
    /// Wall time of one call.
    pub timeout: Period,
    /// Resource handles that one instance may hold.
    pub handles: usize,
    /// Calls that one instance serves before it is replaced by a fresh one; 1 is a fresh one each.
    pub reuse: u64,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body: ByteCount(64 << 20),
            body_timeout: Period(std::time::Duration::from_secs(60)),
            body_rate: ByteCount(240),
            concurrency: 64,
            queue: 1024,
            drain: Period(std::time::Duration::from_secs(30)),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            hosts: Vec::new(),
            origins: Vec::new(),
            access: EndpointAccess::Public,
            model_control: false,
            otlp_endpoint: String::new(),
            trace_share: 1.0,
            prediction_log: 0.0,
            prediction_log_size: ByteCount(64 << 20),
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            memory: ByteCount(256 << 20),
            timeout: Period(std::time::Duration::from_secs(30)),
            handles: 10_000,
            reuse: 1000,
        }
    }
}

/// Options whose values may hold a password.
const SECRET_OPTIONS: [&str; 1] = ["storage.database"];

/// One setting from outside of the file: a dotted name and its value as text.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `gateway.listen`.
    pub name: String,
    /// The value, unquoted: text, number or boolean, whichever the option wants; a list with commas.
    pub value: String,
    /// Where it was said, for errors: a variable's name or the flag.
    pub origin: String,
}

impl Setting {
    /// `NAME=VALUE`, as the flag `--set` takes it.
    pub fn from_flag(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("'{text}' is no setting"))
                .hint("write --set NAME=VALUE, as in --set gateway.queue=100")
        })?;
        // Errors and logs tell what was said, but no password.
        let said = if SECRET_OPTIONS.contains(&name) { name } else { text };
        Ok(Self { name: name.to_owned(), value: value.to_owned(), origin: format!("--set {said}") })
    }

    /// The settings among environment variables: `EYOT_SECTION__OPTION`. Variables with other
    /// meanings, such as `EYOT_SERVER`, have no double underscore.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        variables
            .filter_map(|(variable, value)| {
                let name = variable.strip_prefix("EYOT_").filter(|name| name.contains("__"))?;
                let name = name.to_lowercase().replace("__", ".").replace('_', "-");
                Some(Self { name, value, origin: variable })
            })
            .collect()
    }
}

impl Config {
    /// Reads the file, if there is one, and lays the settings over it, later ones over earlier.
    ///
    /// Fails when the file cannot be read or parsed, when an option is unknown or a value does not fit.
    pub fn load(file: Option<&Path>, settings: &[Setting]) -> Result<Self> {
        let mut table = match file {
            Some(path) => read(path)?,
            None => toml::Table::new(),
        };
        for setting in settings {
            apply(&mut table, setting)?;
        }
        let config = Self::deserialize(table).map_err(|error| invalid(error.message()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("gateway.concurrency", self.gateway.concurrency as u64),
            ("gateway.max-body", self.gateway.max_body.0),
            ("gateway.body-timeout", self.gateway.body_timeout.0.as_micros() as u64),
            ("gateway.prediction-log-size", self.gateway.prediction_log_size.0),
            ("handlers.memory", self.handlers.memory.0),
            ("handlers.reuse", self.handlers.reuse),
            ("handlers.timeout", self.handlers.timeout.0.as_micros() as u64),
            ("http.header-timeout", self.http.header_timeout.0.as_micros() as u64),
            ("http.idle-timeout", self.http.idle_timeout.0.as_micros() as u64),
            ("http.write-timeout", self.http.write_timeout.0.as_micros() as u64),
            ("api.body-timeout", self.api.body_timeout.0.as_micros() as u64),
            ("inference.queue", self.inference.queue as u64),
            ("inference.intra-threads", self.inference.intra_threads as u64),
            ("inference.max-batch", self.inference.max_batch as u64),
            ("steps.memory", self.steps.memory.0),
            ("steps.timeout", self.steps.timeout.0.as_micros() as u64),
            ("registry.lease", self.registry.lease.0.as_micros() as u64),
            ("registry.upload-expiry", self.registry.upload_expiry.0.as_micros() as u64),
            ("registry.token-lifetime", self.registry.token_lifetime.0.as_micros() as u64),
        ];
        for (section, cert, key) in [
            ("api", &self.api.tls_cert, &self.api.tls_key),
            ("gateway", &self.gateway.tls_cert, &self.gateway.tls_key),
        ] {
            if cert.as_os_str().is_empty() != key.as_os_str().is_empty() {
                return Err(Error::invalid(format!(
                    "of {section}.tls-cert and {section}.tls-key there is only one"
                ))
                .hint("TLS needs both; without TLS leave out both"));
            }
        }
        let shares = [
            ("gateway.prediction-log", self.gateway.prediction_log),
            ("gateway.trace-share", self.gateway.trace_share),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Error::invalid(format!("{name} is {share}"))
                .hint("it is a share, from 0 for none to 1 for all"));
        }
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => {
                Err(Error::invalid(format!("{name} is 0")).hint(format!("{name} must be more than 0")))
            }
            None => Ok(()),
        }
    }

    /// The whole configuration as a file that [`Config::load`] reads back.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }
}

fn invalid(message: &str) -> Error {
    Error::invalid(format!("configuration: {message}")).hint("eyot config --defaults lists every option")
}

fn read(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
    // Parsing into the final type first gives errors with line and column; the table is for merging.
    toml::from_str::<Config>(&text).map_err(|error| {
        Error::invalid(format!("{}: {}", path.display(), error.to_string().trim_end()))
            .hint("eyot config --defaults lists every option")
    })?;
    toml::from_str(&text).map_err(|error| invalid(error.message()))
}

fn apply(table: &mut toml::Table, setting: &Setting) -> Result<()> {
    let unknown = || {
        Error::invalid(format!("{}: there is no option '{}'", setting.origin, setting.name))
            .hint("eyot config --defaults lists every option")
    };
    let (section, option) = setting.name.split_once('.').ok_or_else(unknown)?;
    let known = toml::Table::try_from(Config::default()).map_err(|error| invalid(&error.to_string()))?;
    let default = known.get(section).and_then(|section| section.get(option)).ok_or_else(unknown)?;
    let text = setting.value.clone();
    let value = match default {
        toml::Value::Integer(_) => text
            .parse()
            .map(toml::Value::Integer)
            .map_err(|_| Error::invalid(format!("{}: '{text}' is no whole number", setting.origin)))?,
        toml::Value::Float(_) => text
            .parse()
            .map(toml::Value::Float)
            .map_err(|_| Error::invalid(format!("{}: '{text}' is no number", setting.origin)))?,
        toml::Value::Boolean(_) => text
            .parse()
            .map(toml::Value::Boolean)
            .map_err(|_| Error::invalid(format!("{}: '{text}' is neither true nor false", setting.origin)))?,
        // A list of names; of anything else, the check below says that it does not fit.
        toml::Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            toml::Value::Array(parts.map(|part| toml::Value::String(part.to_owned())).collect())
        }
        _ => toml::Value::String(text),
    };
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    section.as_table_mut().ok_or_else(unknown)?.insert(option.to_owned(), value);
    let checked = Config::deserialize(table.clone());
    checked.map(drop).map_err(|error| Error::invalid(format!("{}: {}", setting.origin, error.message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str) -> Setting {
        Setting { name: name.into(), value: value.into(), origin: "test".into() }
    }

    #[test]
    fn later_layers_win_and_unknown_names_are_refused() {
        let dir = std::env::temp_dir().join(crate::new_id());
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("eyot.toml");
        std::fs::write(&file, "[gateway]\nqueue = 7\nmax-body = \"1 MiB\"\n").unwrap();
        let config =
            Config::load(Some(&file), &[setting("gateway.queue", "8"), setting("gateway.queue", "9")])
                .unwrap();
        assert_eq!((config.gateway.queue, config.gateway.max_body), (9, ByteCount(1 << 20)));
        assert_eq!(Config::load(None, &[]).unwrap(), Config::default());

        std::fs::write(&file, "[gateway]\nqueu = 7\n").unwrap();
        let error = Config::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("unknown field `queu`"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();

        for (name, value) in [
            ("gateway.queu", "1"),
            ("queue", "1"),
            ("gateway.queue", "many"),
            ("gateway.listen", "nowhere"),
            ("handlers.memory", "0"),
            ("gateway.tls-cert", "cert.pem"),
            ("api.tls-key", "key.pem"),
            ("gateway.prediction-log", "1.5"),
            ("gateway.prediction-log", "NaN"),
            ("gateway.prediction-log", "often"),
            ("inference.backend", "magic"),
            ("inference.optimization", "much"),
            ("inference.max-batch", "0"),
        ] {
            assert!(Config::load(None, &[setting(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        let config = Config::load(None, &[setting("api.listen", "127.0.0.1:0")]).unwrap();
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn lists_are_written_with_commas() {
        let listed = Config::load(None, &[setting("api.hosts", "a.example, *.b.example")]).unwrap();
        assert_eq!(listed.api.hosts, ["a.example", "*.b.example"]);
        assert_eq!(Config::load(None, &[setting("api.hosts", "")]).unwrap().api.hosts, [""; 0]);
        assert!(Config::load(None, &[setting("registry.quota", "x")]).is_err());
    }

    #[test]
    fn environment_names_map_to_options() {
        let variables = [("EYOT_GATEWAY__MAX_BODY", "5 MB"), ("EYOT_SERVER", "http://x"), ("HOME", "/")];
        let settings = Setting::from_environment(variables.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        assert_eq!(settings.len(), 1);
        assert_eq!(settings[0].name, "gateway.max-body");
    }
}
