use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/service@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::service as wit;

impl wit::Host for Call<'_> {
    async fn get_status(&mut self, service: String) -> Result<wit::Status, Error> {
        Ok(self.perform(ops::GetStatus { service }).await?.into())
    }
    async fn start(&mut self, service: String) -> Result<(), Error> {
        self.perform(ops::Start { service }).await
    }
    async fn stop(&mut self, service: String) -> Result<(), Error> {
        self.perform(ops::Stop { service }).await
    }
    async fn restart(&mut self, service: String) -> Result<(), Error> {
        self.perform(ops::Restart { service }).await
    }
    async fn reload(&mut self, service: String) -> Result<(), Error> {
        self.perform(ops::Reload { service }).await
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<crate::resource::service::Status> for wit::Status {
    fn from(status: crate::resource::service::Status) -> Self {
        use crate::resource::service::Status;
        match status {
            Status::Running => Self::Running,
            Status::Stopped => Self::Stopped,
            Status::Failed => Self::Failed,
            Status::Starting => Self::Starting,
        }
    }
}
