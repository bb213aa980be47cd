//! What stands behind the handles of a guest.

use wasmtime::component::Resource;

use crate::guest::GuestState;

impl GuestState {
    /// Puts `value` behind a handle whose type in the bindings is the marker `M`.
    pub(crate) fn push<M: 'static, V: Send + 'static>(&mut self, value: V) -> wasmtime::Result<Resource<M>> {
        Ok(Resource::new_own(self.table.push(value)?.rep()))
    }

    pub(crate) fn get<M: 'static, V: Send + 'static>(&self, handle: &Resource<M>) -> wasmtime::Result<&V> {
        Ok(self.table.get(&Resource::<V>::new_borrow(handle.rep()))?)
    }

    pub(crate) fn get_mut<M: 'static, V: Send + 'static>(
        &mut self,
        handle: &Resource<M>,
    ) -> wasmtime::Result<&mut V> {
        Ok(self.table.get_mut(&Resource::<V>::new_borrow(handle.rep()))?)
    }

    pub(crate) fn take<M: 'static, V: Send + 'static>(&mut self, handle: Resource<M>) -> wasmtime::Result<V> {
        Ok(self.table.delete(Resource::<V>::new_own(handle.rep()))?)
    }
}
