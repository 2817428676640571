use super::ops;
use crate::{
    capability::{AsCall, Call, bounded},
    condition,
    gate::Error,
    resource::probe::{MAX_PATH, Response},
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/probe@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
/// The interface as a trait, so that it can be called without a component.
pub use bindings::backout::host::probe as wit;

impl wit::Host for Call<'_> {
    async fn get(&mut self, probe: String, path: String) -> Result<wit::Response, Error> {
        let path = bounded("path", path, MAX_PATH)?;
        Ok(self.perform(ops::Get { probe, path }).await?.into())
    }
    async fn check(&mut self, probe: String, path: String, that: String) -> Result<(), Error> {
        let (path, that) = (bounded("path", path, MAX_PATH)?, bounded("condition", that, condition::MAX_LENGTH)?);
        Ok(self.perform(ops::Check { probe, path, that }).await?.answer()?)
    }
    async fn until(&mut self, probe: String, path: String, that: String, within: u32) -> Result<(), Error> {
        let (path, that) = (bounded("path", path, MAX_PATH)?, bounded("condition", that, condition::MAX_LENGTH)?);
        Ok(self.perform(ops::Until { probe, path, that, within }).await?.answer()?)
    }
    async fn check_load(
        &mut self,
        probe: String,
        path: String,
        clients: u32,
        time: u32,
        that: String,
    ) -> Result<(), Error> {
        let (path, that) = (bounded("path", path, MAX_PATH)?, bounded("condition", that, condition::MAX_LENGTH)?);
        Ok(self.perform(ops::CheckLoad { probe, path, clients, time, that }).await?.answer()?)
    }
    async fn tcp(&mut self, probe: String) -> Result<(), Error> {
        Ok(self.perform(ops::Tcp { probe }).await?.answer()?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<Response> for wit::Response {
    fn from(response: Response) -> Self {
        // A float becomes the nearest number that fits.
        Self { status: response.status, body: response.body, millis: response.millis.round() as u32 }
    }
}
