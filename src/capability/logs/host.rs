use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/logs@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::logs as wit;

impl wit::Host for Call<'_> {
    async fn mark(&mut self, service: String) -> Result<(), Error> {
        let mark = self.perform(ops::Mark { service: service.clone() }).await?;
        ops::remember(self.resources, &service, mark);
        Ok(())
    }
    async fn search(&mut self, service: String, text: String) -> Result<Vec<String>, Error> {
        let since = ops::mark_of(self.resources, &service);
        self.perform(ops::Search::new(service, text, since)).await
    }
    async fn check(&mut self, service: String, unwanted: Vec<String>) -> Result<(), Error> {
        let since = ops::mark_of(self.resources, &service);
        Ok(self.perform(ops::Check::new(service, unwanted, since)).await?.answer()?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
