use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/database@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::database as wit;

impl wit::Host for Call<'_> {
    async fn fence(&mut self, database: String, within: u32) -> Result<(), Error> {
        self.perform(ops::Fence { database, within }).await
    }
    async fn unfence(&mut self, database: String) -> Result<(), Error> {
        self.perform(ops::Unfence { database }).await
    }
    async fn activity(&mut self, database: String) -> Result<Vec<wit::Session>, Error> {
        Ok(self.perform(ops::Activity { database }).await?.into_iter().map(Into::into).collect())
    }
    async fn check_unchanged(&mut self, database: String) -> Result<(), Error> {
        let then = ops::restore_point_of(self.resources, &database);
        Ok(self.perform(ops::CheckUnchanged { database, then }).await?.answer()?)
    }
    async fn query(&mut self, database: String, sql: String) -> Result<Vec<Vec<String>>, Error> {
        self.perform(ops::Query { database, sql }).await
    }
    async fn execute(&mut self, database: String, sql: String) -> Result<u64, Error> {
        self.perform(ops::Execute { database, sql }).await
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<crate::resource::database::Session> for wit::Session {
    fn from(session: crate::resource::database::Session) -> Self {
        Self { who: session.who, state: session.state, age: session.age_seconds }
    }
}
