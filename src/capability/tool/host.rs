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

#[cfg(test)]
mod tests {
    use super::{wit::Host, *};
    use crate::{
        gate::{Events, Gate, Stop},
        journal::{Entry, Header, Journal, Place, Reader},
        resource::{
            Access, CallCtx, Failure, FailureKind, Lend, Lent, ResourceId, Resources, Right, Tool,
            tool::{Looked, Mutate, Observe, Terms},
        },
    };
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };
    use tokio_util::sync::CancellationToken;

    /// Never ends by itself, and nobody can say afterwards what it has done.
    #[derive(Default)]
    struct Endless(AtomicU32);

    #[async_trait::async_trait]
    impl Observe for Endless {
        async fn running(&self, _: &str) -> Result<bool, Failure> {
            Ok(false)
        }
        async fn end(&self, call: &CallCtx) -> Result<(), Failure> {
            assert!(call.key.ends_with("/1/1"), "the key of the call that was begun: {}", call.key);
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        async fn look(&self, _: &[serde_json::Value], _: &CallCtx) -> Result<Looked, Failure> {
            assert_eq!(self.0.load(Ordering::Relaxed), 1, "only when nothing of it goes on any more");
            Ok(Looked::Unclear("look at the shop".into()))
        }
    }
    #[async_trait::async_trait]
    impl Mutate for Endless {
        async fn run(&self, _: &CallCtx) -> Result<String, Failure> {
            std::future::pending().await
        }
    }

    async fn run(idempotent: bool, rights: &[Right], label: &str) -> (Result<String, Error>, u32, Vec<Entry>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let (journal, run) = Journal::begin(&path, Header::default(), Arc::new(|_| ())).unwrap();
        let place = Place::new("assess", false, "", 1);
        let gate = Gate::new(Arc::new(journal), run, place, Events::default(), CancellationToken::new());
        let tool = Arc::new(Endless::default());
        let lend = Lend::<Tool> {
            id: ResourceId::new("tool", "shop-migrate"),
            rights: rights.iter().copied().collect(),
            terms: Terms { idempotent, timeout: Duration::from_millis(50) },
            uses: Vec::new(),
            access: Access { observer: tool.clone(), mutator: tool.clone() },
        };
        let resources = Resources { tool: Lent([("migrate".to_owned(), lend)].into()), ..Resources::default() };
        let result = Call { gate: &gate, resources: &resources }.run(label.to_owned()).await;
        gate.journal().unwrap().flush().await.unwrap();
        let entries = Reader::open(&path).unwrap().entries(run).unwrap();
        (result, tool.0.load(Ordering::Relaxed), entries.into_iter().map(|recorded| recorded.entry).collect())
    }

    fn class(entries: &[Entry]) -> &str {
        let intent = entries.iter().find_map(|entry| match entry {
            Entry::Intent(request) => Some(request.class.as_str()),
            _ => None,
        });
        intent.unwrap_or("none")
    }

    #[tokio::test]
    async fn the_site_says_whether_it_may_run_twice() {
        let (result, ends, entries) = run(false, &[Right::Run], "migrate").await;
        assert!(matches!(result, Err(Error::Stop(Stop::InDoubt { .. }))), "{result:?}");
        assert_eq!((class(&entries), ends), ("once", 1));
        assert!(!entries.iter().any(|entry| matches!(entry, Entry::Outcome { .. })), "nobody knows the outcome");

        let (result, ends, entries) = run(true, &[Right::Run], "migrate").await;
        let Err(Error::Answer(failure)) = result else { panic!("{result:?}") };
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert_eq!((class(&entries), ends), ("idempotent", 1), "said when nothing goes on any more");
    }

    #[tokio::test]
    async fn what_is_not_granted_is_denied_and_journalled() {
        for (rights, label) in [(&[][..], "migrate"), (&[Right::Run], "another")] {
            let (result, _, entries) = run(true, rights, label).await;
            let Err(Error::Answer(failure)) = result else { panic!("{result:?}") };
            assert_eq!(failure.kind, FailureKind::Denied);
            assert_eq!(entries.iter().filter(|entry| matches!(entry, Entry::Denied { .. })).count(), 1);
            assert_eq!(class(&entries), "none");
        }
    }
}
