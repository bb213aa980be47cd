use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, Period};

/// The registry under `/v2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistrySettings {
    /// What a client without a token may do; `auto` is everything while the control plane listens on a
    /// loopback address, and nothing elsewhere.
    pub anonymous: AnonymousAccess,
    /// Which tags name the same manifest for ever.
    pub immutable_tags: ImmutableTags,
    /// Whether clients may delete tags, manifests and blobs.
    pub delete: bool,
    /// How long a blob that no manifest uses yet, or any longer, is kept.
    pub lease: Period,
    /// How long an upload that nobody touches is kept.
    pub upload_expiry: Period,
    /// How long a token that a client got from `/v2/token` is good; at least a minute.
    pub token_lifetime: Period,
    /// How often a server collects garbage; 0 is never.
    pub collect_every: Period,
    /// How often a server hashes every blob again; 0 is never.
    pub scrub_every: Period,
    /// What stands before a wasm package's name to make its repository: with `wasm/`, wkg finds
    /// `acme:steps` in `wasm/acme/steps`.
    pub wasm_prefix: String,
    /// The address by which clients know this server, as in `https://registry.example`; empty is the
    /// one that they asked.
    pub url: String,
    /// What a collection removes beside blobs that nothing uses.
    pub retention: Vec<Retention>,
    /// How much repositories may hold.
    pub quota: Vec<Quota>,
    /// Other registries whose repositories are served here.
    pub mirror: Vec<Mirror>,
}

/// What a client without a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnonymousAccess {
    #[default]
    Auto,
    None,
    Pull,
    All,
}

/// Which tags never move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImmutableTags {
    /// Those that are versions: `1.2.3`, `v1.2.3-rc.1`.
    #[default]
    Semver,
    All,
    None,
}

/// A rule of retention. What an index, a subject that is still there, or somebody outside of the
/// registry uses stays whatever a rule says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// Which repositories, `*` standing for any text.
    pub repository: String,
    /// Which tags, `*` standing for any text.
    #[serde(default = "everything")]
    pub tags: String,
    /// How many of those tags stay, the last pushed first; 0 is all.
    #[serde(default)]
    pub keep_tags: usize,
    /// How long a manifest without a tag stays; 0 is for ever.
    #[serde(default = "never")]
    pub untagged_after: Period,
}

/// How much some repositories may hold in all: a project is those that its name begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quota {
    /// Which repositories, `*` standing for any text, as in `acme/*`.
    pub repository: String,
    /// The most that their blobs and manifests may take. A blob counts once in each repository.
    pub size: ByteCount,
}

/// A registry whose repositories are served here under a prefix, and kept once they were asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mirror {
    /// What stands here before a repository's name there: with `ghcr/`, `acme/x` is `ghcr/acme/x`.
    pub prefix: String,
    /// The other registry, as in `https://ghcr.io`.
    pub upstream: String,
    /// Which of its repositories, by their names there, `*` standing for any text.
    pub repositories: Vec<String>,
    /// A file with one line, `NAME:PASSWORD`, shown to the other registry and to whoever gives tokens
    /// for it; empty for none.
    #[serde(default)]
    pub credentials: PathBuf,
    /// Hosts beside the other registry itself that give tokens for it, as in `auth.docker.io`.
    #[serde(default)]
    pub token_hosts: Vec<String>,
    /// How long a tag is served without asking the other registry again.
    #[serde(default = "a_minute")]
    pub fresh: Period,
    /// Whether the other registry, or what it sends on to, may be on this machine or in a private
    /// network.
    #[serde(default)]
    pub private_addresses: bool,
    /// Authorities to trust beside those of the system, a PEM file; empty for none.
    #[serde(default)]
    pub ca: PathBuf,
}

fn a_minute() -> Period {
    Period(Duration::from_secs(60))
}

fn everything() -> String {
    "*".to_owned()
}

fn never() -> Period {
    Period(Duration::ZERO)
}

impl Default for RegistrySettings {
    fn default() -> Self {
        let hours = |hours: u64| Period(Duration::from_secs(3600 * hours));
        Self {
            anonymous: AnonymousAccess::Auto,
            immutable_tags: ImmutableTags::Semver,
            delete: true,
            lease: hours(1),
            upload_expiry: hours(24),
            token_lifetime: Period(Duration::from_secs(300)),
            collect_every: hours(1),
            scrub_every: hours(168),
            wasm_prefix: String::new(),
            url: String::new(),
            retention: Vec::new(),
            quota: Vec::new(),
            mirror: Vec::new(),
        }
    }
}
