use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/approval@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::approval as wit;

impl wit::Host for Call<'_> {
    async fn ask(&mut self, question: String, role: String) -> Result<String, Error> {
        self.perform(ops::Ask { question, role }).await
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
