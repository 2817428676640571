use super::ops;
use crate::capability::{AsCall, Call};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/clock@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::clock as wit;

impl wit::Host for Call<'_> {
    async fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.perform(ops::Now {}).await?)
    }
    async fn sleep(&mut self, time: u32) -> wasmtime::Result<()> {
        Ok(self.perform(ops::Sleep { millis: u64::from(time) * 1000 }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
