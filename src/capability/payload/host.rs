use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
    resource::{Failure, run::RUN},
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/payload@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::payload as wit;

impl wit::Host for Call<'_> {
    async fn read(&mut self, name: String) -> Result<Vec<u8>, Error> {
        self.perform(ops::Read { name: name.clone() }).await?;
        match self.resources.run.0.get(RUN) {
            Some(run) => Ok(ops::content(&run.access.observer, &name).await?),
            None => Err(Failure::denied("there is no run").into()),
        }
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
