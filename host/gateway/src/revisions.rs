use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eyot_core::{Digest, Error, Name, Result};
use eyot_deploy::{Route, Traffic};
use eyot_engine::{Census, Functions, Web};
use eyot_nn::{Pin, RanOn};
use http::{HeaderMap, Uri};
use parking_lot::RwLock;

use crate::admission::Gate;
use crate::stats::Stats;
use crate::web;
use crate::{Predictor, functions};

/// What can serve under a deployment.
pub struct Revision {
    pub deployment: Name,
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
    pub functions: Option<Arc<Functions>>,
    /// What answers HTTP itself, if it does.
    pub web: Option<Arc<Web>>,
    /// The requests that are for `web`.
    pub routes: Vec<Route>,
    /// How long a request may take, waiting included.
    pub timeout: Duration,
    /// Requests that it works on at the same time.
    pub concurrency: usize,
    /// Requests that wait before the next is refused.
    pub queue: usize,
    /// Keep its models' weights in memory for as long as it is there.
    pub pins: Vec<Pin>,
}

/// A revision that requests can reach, with what bounds and counts them. Each has a gate of its own,
/// so that a slow one does not keep requests from the others.
pub(crate) struct Live {
    pub(crate) revision: Revision,
    /// The revision's number as the protocol has it.
    pub(crate) version: String,
    pub(crate) gate: Gate,
    pub(crate) stats: Arc<Stats>,
}

impl Live {
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
    pub(crate) fn functions(&self) -> Result<&Arc<Functions>> {
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

    /// Where requests for it go.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let name = &self.revision.deployment;
        let tensors = self.revision.predictor.as_ref().map(|_| format!("POST /v2/models/{name}/infer"));
        let functions = self.revision.functions.as_ref().map(|functions| {
            let all = functions::names(functions).into_iter();
            all.map(|(function, _)| format!("POST /fn/{name}/{function}")).collect::<Vec<_>>()
        });
        let routes = self.revision.routes.iter().map(|route| format!("HTTP {route}"));
        tensors.into_iter().chain(functions.into_iter().flatten()).chain(routes).collect()
    }

    /// Its component's instances, if it has one.
    pub(crate) fn census(&self) -> Option<Census> {
        let Revision { predictor, functions, web, .. } = &self.revision;
        let tensors = predictor.as_ref().and_then(|predictor| predictor.instances());
        tensors
            .or_else(|| functions.as_ref().map(|functions| functions.census()))
            .or_else(|| web.as_ref().map(|web| web.census()))
    }

    /// What each of its models runs on.
    pub(crate) fn ran_on(&self) -> BTreeMap<String, RanOn> {
        self.revision.predictor.as_ref().map(|predictor| predictor.ran_on()).unwrap_or_default()
    }
}

/// A deployment: its revisions, and who gets which request. Never changed, only replaced.
pub(crate) struct Endpoint {
    pub(crate) name: Name,
    revisions: BTreeMap<u64, Arc<Live>>,
    pub(crate) traffic: Traffic,
    /// Requests so far, for spreading the next ones.
    turn: Arc<AtomicU64>,
    /// Requests so far that a shadow might have answered too.
    shadowable: Arc<AtomicU64>,
}

/// 2⁶⁴ by the golden ratio: multiples of it are spread over the scale as evenly as can be, however
/// many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Points on the scale from 0 to 2⁶⁴, one a call, spread evenly.
pub(crate) fn spread(turn: &AtomicU64) -> u64 {
    turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN)
}

impl Endpoint {
    fn new(name: Name) -> Self {
        let (turn, shadowable) = (Arc::default(), Arc::default());
        Self { name, revisions: BTreeMap::new(), traffic: Traffic::default(), turn, shadowable }
    }

    fn with(&self, revisions: BTreeMap<u64, Arc<Live>>, traffic: Traffic) -> Arc<Self> {
        let (turn, shadowable) = (self.turn.clone(), self.shadowable.clone());
        Arc::new(Self { name: self.name.clone(), revisions, traffic, turn, shadowable })
    }

    /// The revision for a request: of equal keys the same, without a key each as often as its weight says.
    pub(crate) fn pick(&self, key: Option<&str>) -> Option<&Arc<Live>> {
        if let (Some(only), None) = (self.only(), key) {
            return Some(only);
        }
        let point = match key {
            Some(key) => {
                let digest = Digest::of(key);
                digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
            }
            None => spread(&self.turn),
        };
        self.traffic.pick(point).and_then(|revision| self.revisions.get(&revision))
    }

    /// What keeps a request with others of its kind, if that is wished for: a header, or else a
    /// parameter.
    pub(crate) fn key(
        &self,
        header: impl Fn(&str) -> Option<String>,
        parameter: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let name = self.traffic.sticky.as_deref()?;
        header(name).or_else(|| parameter(name))
    }

    fn only(&self) -> Option<&Arc<Live>> {
        let mut weighted = self.traffic.weights.iter().filter(|(_, weight)| **weight > 0);
        match (weighted.next(), weighted.next()) {
            (Some((revision, _)), None) => self.revisions.get(revision),
            _ => None,
        }
    }

    /// The revision of that number, whatever its share.
    pub(crate) fn version(&self, version: &str) -> Option<&Arc<Live>> {
        // One spelling only: 01 is no version.
        self.revisions.values().find(|live| live.version == version)
    }

    /// The revision with the largest share.
    pub(crate) fn main(&self) -> Option<&Arc<Live>> {
        self.traffic.main().and_then(|revision| self.revisions.get(&revision))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Live>> {
        self.revisions.values()
    }

    /// The revision that shall answer beside the one that answers, if it is this request's turn.
    pub(crate) fn shadow(&self) -> Option<&Arc<Live>> {
        let shadow = self.traffic.shadow.as_ref()?;
        let percent = (u128::from(spread(&self.shadowable)) * 100) >> 64;
        if percent < u128::from(shadow.percent) { self.revisions.get(&shadow.revision) } else { None }
    }
}

/// What serves now. A request that has looked up its revision keeps it until it ends.
#[derive(Default)]
pub(crate) struct Revisions {
    endpoints: RwLock<HashMap<Name, Arc<Endpoint>>>,
    routes: RwLock<Routes>,
}

/// Routes by the first segment of their path, the most exact first; those whose first segment may be
/// anything under the empty one.
type Routes = HashMap<String, Vec<Arc<web::Mounted>>>;

fn routes<'a>(endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) -> Routes {
    let mut routes = Routes::new();
    for endpoint in endpoints {
        let Some(main) = endpoint.main() else { continue };
        for route in &main.revision.routes {
            let first = route.first().unwrap_or_default().to_owned();
            routes.entry(first).or_default().push(web::Mounted::new(route, endpoint));
        }
    }
    for found in routes.values_mut() {
        found.sort_by(|one, other| {
            (other.route.rank(), &one.endpoint.name).cmp(&(one.route.rank(), &other.endpoint.name))
        });
    }
    routes
}

impl Revisions {
    /// Lets requests that name the revision reach it.
    pub(crate) fn add(&self, revision: Revision) {
        let (name, number) = (revision.deployment.clone(), revision.revision);
        let gate = Gate::new(revision.concurrency, revision.queue);
        let live = Live { version: number.to_string(), gate, stats: Arc::default(), revision };
        let mut serving = self.endpoints.write();
        let endpoint = serving.entry(name.clone()).or_insert_with(|| Arc::new(Endpoint::new(name)));
        let mut revisions = endpoint.revisions.clone();
        revisions.insert(number, Arc::new(live));
        *endpoint = endpoint.with(revisions, endpoint.traffic.clone());
        *self.routes.write() = routes(serving.values());
    }

    /// The deployment that answers a request to this address itself: the one with the most exact route.
    pub(crate) fn web(&self, uri: &Uri, headers: &HeaderMap) -> Option<web::Found> {
        let routes = self.routes.read();
        if routes.is_empty() {
            return None;
        }
        let path = uri.path();
        let host = web::host(uri, headers).map(str::to_ascii_lowercase);
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let best = [first, ""].into_iter().filter_map(|first| routes.get(first)).flatten();
        let fits = best.filter_map(|mounted| {
            let there = mounted.route.host().is_none_or(|wanted| host.as_deref() == Some(wanted));
            let matched = there.then(|| mounted.route.matches(path)).flatten()?;
            Some(web::Found { mounted: mounted.clone(), matched })
        });
        fits.max_by(|one, other| one.mounted.route.rank().cmp(&other.mounted.route.rank()))
    }

    /// The deployment that has this very route, if another than `name` does.
    pub(crate) fn claimed(&self, name: &Name, route: &Route) -> Option<Name> {
        let routes = self.routes.read();
        let all = routes.get(route.first().unwrap_or_default())?;
        let other = all.iter().find(|mounted| mounted.route == *route && mounted.endpoint.name != *name);
        other.map(|mounted| mounted.endpoint.name.clone())
    }

    /// Splits requests from now on, and lets go of revisions that are not among `live`.
    pub(crate) fn route(&self, name: &Name, traffic: &Traffic, live: &BTreeSet<u64>) {
        let mut serving = self.endpoints.write();
        let Some(endpoint) = serving.get_mut(name) else { return };
        let mut revisions = endpoint.revisions.clone();
        revisions.retain(|revision, _| live.contains(revision));
        *endpoint = endpoint.with(revisions, traffic.clone());
        *self.routes.write() = routes(serving.values());
    }

    pub(crate) fn remove(&self, name: &Name) {
        let mut serving = self.endpoints.write();
        serving.remove(name);
        *self.routes.write() = routes(serving.values());
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.read().get(name).cloned()
    }

    /// Every deployment, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Endpoint>> {
        let mut all: Vec<_> = self.endpoints.read().values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.all().iter().map(|endpoint| endpoint.name.to_string()).collect()
    }
}
