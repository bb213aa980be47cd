//! The table of what serves now, by name and by route.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use eyot_core::{DEFAULT_PROJECT, ScopedName};
use eyot_deploy::{Route, Traffic};
use http::{HeaderMap, Uri};
use parking_lot::RwLock;

use crate::serving::admission::AdmissionGate;
use crate::serving::endpoint::{DeploymentEntry, LoadedRevision, ServingRevision};
use crate::serving::mounted::{MountedRoute, RouteMatch, host};

/// What serves now. A request that has looked up its revision keeps it until it ends.
#[derive(Default)]
pub(crate) struct RouteTable {
    endpoints: RwLock<HashMap<ScopedName, Arc<DeploymentEntry>>>,
    routes: RwLock<RouteIndex>,
}

/// Routes by the first segment of their path, the most exact first; those whose first segment may be
/// anything under the empty one.
type RouteIndex = HashMap<String, Vec<Arc<MountedRoute>>>;

fn routes<'a>(endpoints: impl Iterator<Item = &'a Arc<DeploymentEntry>>) -> RouteIndex {
    let mut routes = RouteIndex::new();
    for endpoint in endpoints {
        let Some(main) = endpoint.main() else { continue };
        for route in &main.revision.routes {
            let first = route.first().unwrap_or_default().to_owned();
            routes.entry(first).or_default().push(MountedRoute::new(route, endpoint));
        }
    }
    for found in routes.values_mut() {
        found.sort_by(|one, other| {
            (other.route.rank(), &one.endpoint.name).cmp(&(one.route.rank(), &other.endpoint.name))
        });
    }
    routes
}

/// The project of a deployment's name, as a client has it.
pub(crate) fn project_of(name: &str) -> &str {
    name.split_once('~').map_or(DEFAULT_PROJECT, |(project, _)| project)
}

impl RouteTable {
    /// Lets requests that name the revision reach it.
    pub(crate) fn add(&self, revision: LoadedRevision) {
        let (name, number) = (revision.deployment.clone(), revision.revision);
        let gate = AdmissionGate::new(revision.concurrency, revision.queue);
        let live = ServingRevision { version: number.to_string(), gate, stats: Arc::default(), revision };
        let mut serving = self.endpoints.write();
        let endpoint = serving.entry(name.clone()).or_insert_with(|| Arc::new(DeploymentEntry::new(name)));
        let mut revisions = endpoint.revisions.clone();
        revisions.insert(number, Arc::new(live));
        *endpoint = endpoint.with(revisions, endpoint.traffic.clone());
        *self.routes.write() = routes(serving.values());
    }

    /// The deployment that answers a request to this address itself: the one with the most exact route.
    pub(crate) fn web(&self, uri: &Uri, headers: &HeaderMap) -> Option<RouteMatch> {
        let routes = self.routes.read();
        if routes.is_empty() {
            return None;
        }
        let path = uri.path();
        let host = host(uri, headers).map(str::to_ascii_lowercase);
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let best = [first, ""].into_iter().filter_map(|first| routes.get(first)).flatten();
        let fits = best.filter_map(|mounted| {
            let there = mounted.route.host().is_none_or(|wanted| host.as_deref() == Some(wanted));
            let matched = there.then(|| mounted.route.matches(path)).flatten()?;
            Some(RouteMatch { mounted: mounted.clone(), matched })
        });
        fits.max_by(|one, other| one.mounted.route.rank().cmp(&other.mounted.route.rank()))
    }

    /// The deployment that has this very route, if another than `name` does.
    pub(crate) fn claimed(&self, name: &ScopedName, route: &Route) -> Option<ScopedName> {
        let routes = self.routes.read();
        let all = routes.get(route.first().unwrap_or_default())?;
        let other = all.iter().find(|mounted| mounted.route == *route && mounted.endpoint.name != *name);
        other.map(|mounted| mounted.endpoint.name.clone())
    }

    /// Splits requests from now on, and lets go of revisions that are not among `live`.
    pub(crate) fn route(&self, name: &ScopedName, traffic: &Traffic, live: &BTreeSet<u64>) {
        let mut serving = self.endpoints.write();
        let Some(endpoint) = serving.get_mut(name) else { return };
        let mut revisions = endpoint.revisions.clone();
        revisions.retain(|revision, _| live.contains(revision));
        *endpoint = endpoint.with(revisions, traffic.clone());
        *self.routes.write() = routes(serving.values());
    }

    pub(crate) fn remove(&self, name: &ScopedName) {
        let mut serving = self.endpoints.write();
        serving.remove(name);
        *self.routes.write() = routes(serving.values());
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<DeploymentEntry>> {
        self.endpoints.read().get(name).cloned()
    }

    /// Every deployment of every project, by name.
    pub(crate) fn all(&self) -> Vec<Arc<DeploymentEntry>> {
        let mut all: Vec<_> = self.endpoints.read().values().cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The deployments of a project, by name.
    pub(crate) fn all_in(&self, project: &str) -> Vec<Arc<DeploymentEntry>> {
        let mut all = self.all();
        all.retain(|endpoint| endpoint.name.project() == project);
        all
    }

    /// Their names in the project.
    pub(crate) fn names(&self, project: &str) -> Vec<String> {
        self.all_in(project).iter().map(|endpoint| endpoint.name.name().to_owned()).collect()
    }
}
