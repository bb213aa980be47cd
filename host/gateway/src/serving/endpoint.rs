//! What serves under one name: its revisions, what bounds and counts each, and who gets which request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use eyot_core::{Digest, Error, Result, ScopedName};
use eyot_deploy::{Route, Traffic};
use eyot_engine::{HttpComponent, InstanceStats, JsonFunctions};
use eyot_nn::{ModelPin, RanOn};

use crate::Predictor;
use crate::serving::admission::AdmissionGate;
use crate::serving::sampling::low_discrepancy_point;
use crate::serving::stats::RevisionStats;

/// What can serve under a deployment.
pub struct LoadedRevision {
    pub deployment: ScopedName,
    /// The version that the protocol names.
    pub revision: u64,
    /// `onnx` for a model alone, `eyot_component` for a handler.
    pub platform: String,
    /// The handler's component.
    pub component: Option<Digest>,
    /// The models it was granted.
    pub models: BTreeMap<String, Digest>,
    /// What answers tensors, if it does.
    pub predictor: Option<Arc<dyn Predictor>>,
    /// What is called with JSON, if it has such functions.
    pub functions: Option<Arc<JsonFunctions>>,
    /// What answers HTTP itself, if it does.
    pub web: Option<Arc<HttpComponent>>,
    /// The requests that are for `web`.
    pub routes: Vec<Route>,
    /// How long a request may take, waiting included.
    pub timeout: Duration,
    /// Requests that it works on at the same time.
    pub concurrency: usize,
    /// Requests that wait before the next is refused.
    pub queue: usize,
    /// Keep its models' weights in memory for as long as it is there.
    pub pins: Vec<ModelPin>,
}

/// A revision that requests can reach, with what bounds and counts them. Each has a gate of its own,
/// so that a slow one does not keep requests from the others.
pub(crate) struct ServingRevision {
    pub(crate) revision: LoadedRevision,
    /// The revision's number as the protocol has it.
    pub(crate) version: String,
    pub(crate) gate: AdmissionGate,
    pub(crate) stats: Arc<RevisionStats>,
}

impl ServingRevision {
    /// What answers tensors. Fails with `NotFound` that says what answers instead.
    pub(crate) fn predictor(&self) -> Result<&Arc<dyn Predictor>> {
        self.revision.predictor.as_ref().ok_or_else(|| {
            let name = &self.revision.deployment;
            Error::not_found(format!("'{name}' answers no tensors")).hint(match self.revision.functions {
                Some(_) => format!("it has functions: GET /fn/{name} lists them"),
                None if !self.revision.routes.is_empty() => {
                    format!("it answers HTTP at {}", self.revision.routes[0])
                }
                None => "eyot inspect shows what its component exports".to_owned(),
            })
        })
    }

    /// What is called with JSON. Fails with `NotFound` that says what answers instead.
    pub(crate) fn functions(&self) -> Result<&Arc<JsonFunctions>> {
        self.revision.functions.as_ref().ok_or_else(|| {
            let name = &self.revision.deployment;
            Error::not_found(format!("'{name}' has no functions to call")).hint(
                match self.revision.predictor {
                    Some(_) => format!("it answers tensors: POST /v2/models/{name}/infer"),
                    None => "eyot inspect shows what its component exports".to_owned(),
                },
            )
        })
    }

    /// What answers HTTP. Fails with `NotFound` where this revision has no such thing.
    pub(crate) fn web(&self) -> Result<&Arc<HttpComponent>> {
        self.revision.web.as_ref().ok_or_else(|| {
            let (name, revision) = (&self.revision.deployment, self.revision.revision);
            Error::not_found(format!("revision {revision} of '{name}' answers no HTTP"))
                .hint("eyot traffic sends requests to a revision that does")
        })
    }

    /// Its component's instances, if it has one.
    pub(crate) fn instance_stats(&self) -> Option<InstanceStats> {
        let LoadedRevision { predictor, functions, web, .. } = &self.revision;
        let tensors = predictor.as_ref().and_then(|predictor| predictor.instances());
        tensors
            .or_else(|| functions.as_ref().map(|functions| functions.stats()))
            .or_else(|| web.as_ref().map(|web| web.stats()))
    }

    /// What each of its models runs on.
    pub(crate) fn ran_on(&self) -> BTreeMap<String, RanOn> {
        self.revision.predictor.as_ref().map(|predictor| predictor.ran_on()).unwrap_or_default()
    }

    /// What runs its models; several names when it has models on several.
    pub(crate) fn backends(&self) -> String {
        self.distinct(|ran_on| ran_on.backend)
    }

    /// Of what runs its models, one part: each that there is, once.
    pub(crate) fn distinct(&self, part: impl Fn(RanOn) -> String) -> String {
        let parts: BTreeSet<String> = self.ran_on().into_values().map(part).collect();
        parts.into_iter().collect::<Vec<_>>().join(",")
    }
}

/// A deployment: its revisions, and who gets which request. Never changed, only replaced.
pub(crate) struct DeploymentEntry {
    pub(crate) name: ScopedName,
    pub(crate) revisions: BTreeMap<u64, Arc<ServingRevision>>,
    pub(crate) traffic: Traffic,
    /// Requests so far, for spreading the next ones.
    turn: Arc<AtomicU64>,
    /// Requests so far that a shadow might have answered too.
    shadowable: Arc<AtomicU64>,
}

impl DeploymentEntry {
    pub(crate) fn new(name: ScopedName) -> Self {
        let (turn, shadowable) = (Arc::default(), Arc::default());
        Self { name, revisions: BTreeMap::new(), traffic: Traffic::default(), turn, shadowable }
    }

    pub(crate) fn with(&self, revisions: BTreeMap<u64, Arc<ServingRevision>>, traffic: Traffic) -> Arc<Self> {
        let (turn, shadowable) = (self.turn.clone(), self.shadowable.clone());
        Arc::new(Self { name: self.name.clone(), revisions, traffic, turn, shadowable })
    }

    /// The revision that a request gets: the one it names, or the one that is its turn.
    ///
    /// Fails with `NotFound` naming those there are.
    pub(crate) fn route(&self, version: Option<&str>, key: Option<&str>) -> Result<Arc<ServingRevision>> {
        let name = &self.name;
        let Some(version) = version.filter(|version| !version.is_empty()) else {
            return self.pick(key).cloned().ok_or_else(|| {
                Error::unavailable(format!("no revision of '{name}' can answer now"))
                    .hint("eyot deployments shows why; eyot traffic moves its requests elsewhere")
            });
        };
        self.version(version).cloned().ok_or_else(|| {
            let shown: String = version.chars().take(40).collect();
            let known: Vec<&str> = self.all().map(|live| live.version.as_str()).collect();
            let hint = match known.as_slice() {
                [only] => format!("version {only} serves"),
                known => format!("versions are {}", known.join(", ")),
            };
            Error::not_found(format!("model '{name}' has no version '{shown}'")).hint(hint)
        })
    }

    /// The revision for a request: of equal keys the same, without a key each as often as its weight says.
    pub(crate) fn pick(&self, key: Option<&str>) -> Option<&Arc<ServingRevision>> {
        if let (Some(only), None) = (self.only(), key) {
            return Some(only);
        }
        let point = match key {
            Some(key) => {
                let digest = Digest::of(key);
                digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
            }
            None => low_discrepancy_point(&self.turn),
        };
        self.traffic.pick(point).and_then(|revision| self.revisions.get(&revision))
    }

    /// What keeps a request with others of its kind, if that is wished for: a header, or else a
    /// parameter.
    pub(crate) fn sticky_key(
        &self,
        header: impl Fn(&str) -> Option<String>,
        parameter: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let name = self.traffic.sticky.as_deref()?;
        header(name).or_else(|| parameter(name))
    }

    fn only(&self) -> Option<&Arc<ServingRevision>> {
        let mut weighted = self.traffic.weights.iter().filter(|(_, weight)| **weight > 0);
        match (weighted.next(), weighted.next()) {
            (Some((revision, _)), None) => self.revisions.get(revision),
            _ => None,
        }
    }

    /// The revision of that number, whatever its share.
    pub(crate) fn version(&self, version: &str) -> Option<&Arc<ServingRevision>> {
        // One spelling only: 01 is no version.
        self.revisions.values().find(|live| live.version == version)
    }

    /// The revision with the largest share.
    pub(crate) fn main(&self) -> Option<&Arc<ServingRevision>> {
        self.traffic.main().and_then(|revision| self.revisions.get(&revision))
    }

    /// The revision that stands for the deployment: the one that is named, else that with the largest share.
    pub(crate) fn shown(&self, version: Option<&str>) -> Result<Arc<ServingRevision>> {
        match version.filter(|version| !version.is_empty()) {
            None => self.main().cloned().map_or_else(|| self.route(None, None), Ok),
            version => self.route(version, None),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ServingRevision>> {
        self.revisions.values()
    }

    /// The revision that answers a share of the requests beside the one that is heard, if there is one.
    pub(crate) fn shadow(&self) -> Option<&Arc<ServingRevision>> {
        self.traffic.shadow.as_ref().and_then(|shadow| self.revisions.get(&shadow.revision))
    }

    /// Whether it is this request's turn to be answered by the shadow too.
    pub(crate) fn takes_shadow_turn(&self) -> bool {
        self.traffic.shadow.as_ref().is_some_and(|shadow| {
            let percent = (u128::from(low_discrepancy_point(&self.shadowable)) * 100) >> 64;
            percent < u128::from(shadow.percent)
        })
    }
}
