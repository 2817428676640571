use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Stop,
    resource::run::{Memory, RUN},
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
        let bytes = |memory: &Memory| memory.store.bytes_with(&key, &value);
        // What is only told again takes the room that it took then.
        let then = self.gate.past().and_then(|past| past.remembered(bytes));
        let now = || Some(bytes(&self.resources.run.0.get(RUN)?.access.observer.memory()));
        if then.or_else(now).is_some_and(|bytes| bytes > limit) {
            return Err(Stop::Limit { what: "bytes in the store", limit }.into());
        }
        Ok(self.perform(ops::Set { key, value }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
