//! What a deployment that is taken away tells the statements that it still runs.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use eyot_core::ScopedName;
use parking_lot::Mutex;

/// When a deployment was taken away, if it was. Its revisions share one.
#[derive(Debug, Default)]
pub(crate) struct StoreClosing(OnceLock<Instant>);

impl StoreClosing {
    /// When it was taken away.
    pub(crate) fn closed_at(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    fn close(&self) {
        self.0.get_or_init(Instant::now);
    }
}

/// Those of all deployments, for as long as one of their revisions is there.
#[derive(Debug, Default)]
pub(crate) struct StoreClosings(Mutex<HashMap<ScopedName, Weak<StoreClosing>>>);

impl StoreClosings {
    /// That of a deployment.
    pub(crate) fn of(&self, name: &ScopedName) -> Arc<StoreClosing> {
        let mut all = self.0.lock();
        if let Some(closing) = all.get(name).and_then(Weak::upgrade) {
            return closing;
        }
        all.retain(|_, closing| closing.strong_count() > 0);
        let closing = Arc::<StoreClosing>::default();
        all.insert(name.clone(), Arc::downgrade(&closing));
        closing
    }

    /// A deployment is taken away. One that comes later under its name is another.
    pub(crate) fn close(&self, name: &ScopedName) {
        if let Some(closing) = self.0.lock().remove(name).and_then(|closing| closing.upgrade()) {
            closing.close();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_deployment_is_closed_once_and_its_successor_is_open() {
        let closings = StoreClosings::default();
        let name: ScopedName = "notes".parse().unwrap();
        let (one, same) = (closings.of(&name), closings.of(&name));
        closings.close(&name);
        assert!(one.closed_at().is_some() && same.closed_at().is_some());
        assert_eq!(closings.of(&name).closed_at(), None);
        (0..100).for_each(|number| drop(closings.of(&format!("gone-{number}").parse().unwrap())));
        assert!(closings.0.lock().len() < 3, "what is gone is forgotten");
    }
}
