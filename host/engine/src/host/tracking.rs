use eyot_world::imports::eyot::ml::tracking::Host;

use crate::guest::Guest;

impl Host for Guest {
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
