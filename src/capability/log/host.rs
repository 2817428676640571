use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Stop,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/log@0.1.0;",
        imports: { default: async | trappable },
    });
}
use bindings::backout::host::log as wit;

impl wit::Host for Call<'_> {
    async fn debug(&mut self, message: String) -> wasmtime::Result<()> {
        Ok(self.perform(ops::Debug { message: self.counted(message)? }).await?)
    }
    async fn info(&mut self, message: String) -> wasmtime::Result<()> {
        Ok(self.perform(ops::Info { message: self.counted(message)? }).await?)
    }
    async fn warn(&mut self, message: String) -> wasmtime::Result<()> {
        self.gate.warned(&message);
        Ok(self.perform(ops::Warn { message: self.counted(message)? }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl Call<'_> {
    /// A log that never ends would fill the disk: what a step may write is limited.
    fn counted(&self, message: String) -> Result<String, Stop> {
        self.gate.count_log(message.len())?;
        Ok(message)
    }
}
