use super::ops;
use crate::{
    capability::{AsCall, Call, bounded},
    gate::Error,
    resource::channel::{MAX_TEXT, MAX_TITLE},
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/notify@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
/// The interface as a trait, so that it can be called without a component.
pub use bindings::backout::host::notify as wit;

impl wit::Host for Call<'_> {
    async fn send(&mut self, channel: String, title: String, text: String) -> Result<(), Error> {
        let (title, text) = (bounded("title", title, MAX_TITLE)?, bounded("text", text, MAX_TEXT)?);
        self.perform(ops::Send::new(channel, title, text, self.resources)).await
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}
