use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Stop,
    resource::run::RUN,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/store@0.1.0;",
        imports: { default: async | trappable },
    });
}
use bindings::backout::host::store as wit;

impl wit::Host for Call<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.perform(ops::Get { key }).await?)
    }
    async fn set(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        let limit = self.gate.quota.store_bytes;
        let others: usize = match self.resources.run.0.get(RUN) {
            Some(run) => run.access.observer.memory().store.iter().filter(|(k, _)| **k != key).map(|(k, v)| k.len() + v.len()).sum(),
            None => 0,
        };
        if (others + key.len() + value.len()) as u64 > limit {
            return Err(Stop::Limit { what: "bytes in the store", limit }.into());
        }
        Ok(self.perform(ops::Set { key, value }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
