use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/tool@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::tool as wit;

impl wit::Host for Call<'_> {
    async fn run(&mut self, tool: String) -> Result<String, Error> {
        let terms = ops::terms_of(self.resources, &tool);
        if terms.idempotent {
            self.perform(ops::RunAgain::new(tool, &terms)).await
        } else {
            self.perform(ops::RunOnce::new(tool, &terms)).await
        }
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
