use eyot_world::imports::eyot::ml::tracking::{Host, add_to_linker};
use wasmtime::component::HasSelf;

use super::{HostCapability, OfferedInterface};
use crate::guest::GuestState;

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[OfferedInterface::new("eyot:ml/tracking", "0.1.")],
    grant: None,
    link: |linker, _| add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest),
};

impl Host for GuestState {
    fn log_param(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        self.grants.sink.param(&key, &value);
        Ok(())
    }

    fn log_metric(&mut self, key: String, value: f64, step: i64) -> wasmtime::Result<()> {
        self.grants.sink.metric(&key, value, step);
        Ok(())
    }

    fn set_tag(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        self.grants.sink.tag(&key, &value);
        Ok(())
    }
}
