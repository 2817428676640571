use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
    resource::{
        run::RUN,
        tree::{Entry, EntryKind},
    },
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/files@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::files as wit;

impl wit::Host for Call<'_> {
    async fn read(&mut self, tree: String, path: String) -> Result<Vec<u8>, Error> {
        Ok(self.perform(ops::Read { tree, path }).await?.0)
    }
    async fn list(&mut self, tree: String, path: String) -> Result<Vec<wit::Entry>, Error> {
        Ok(self.perform(ops::List { tree, path }).await?.into_iter().map(Into::into).collect())
    }
    async fn write(&mut self, tree: String, path: String, content: Vec<u8>) -> Result<(), Error> {
        self.perform(ops::Write { tree, path, content }).await
    }
    async fn install(&mut self, tree: String, path: String, payload: String) -> Result<(), Error> {
        let run = self.resources.run.0.get(RUN);
        let archive = run.and_then(|run| run.access.observer.facts.payloads.get(&payload).cloned());
        self.perform(ops::Install { tree, path, payload, archive }).await
    }
    async fn link(&mut self, tree: String, path: String, target: String) -> Result<(), Error> {
        self.perform(ops::Link { tree, path, target }).await
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<Entry> for wit::Entry {
    fn from(entry: Entry) -> Self {
        let kind = match entry.kind {
            EntryKind::File => wit::EntryKind::File,
            EntryKind::Folder => wit::EntryKind::Folder,
            EntryKind::Link => wit::EntryKind::Link,
            EntryKind::Other => wit::EntryKind::Other,
        };
        Self { name: entry.name, kind, bytes: entry.bytes, target: entry.target }
    }
}
