use crate::{
    capability::{AsCall, Call},
    gate::Error,
    resource::copies::{Lost, Snapshot},
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/backup@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
/// The interface as a trait, so that it can be called without a component.
pub use bindings::backout::host::backup as wit;

impl wit::Host for Call<'_> {
    async fn take(&mut self, resource: String) -> Result<wit::Snapshot, Error> {
        Ok(self.backup_take(resource).await?.into())
    }
    async fn refresh(&mut self) -> Result<Vec<wit::Snapshot>, Error> {
        Ok(self.backup_refresh().await?.into_iter().map(Into::into).collect())
    }
    async fn restore(&mut self, resource: String) -> Result<Vec<wit::Lost>, Error> {
        Ok(self.backup_restore(resource).await?.lost.into_iter().map(Into::into).collect())
    }
    async fn loss(&mut self, resource: String) -> Result<Vec<wit::Lost>, Error> {
        Ok(self.backup_loss(resource).await?.into_iter().map(Into::into).collect())
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<Snapshot> for wit::Snapshot {
    fn from(snapshot: Snapshot) -> Self {
        Self { id: snapshot.id, bytes: snapshot.bytes, proven: snapshot.proven }
    }
}
impl From<Lost> for wit::Lost {
    fn from(lost: Lost) -> Self {
        Self { table: lost.part, rows: lost.rows, changed: lost.changed, missing: lost.missing }
    }
}
