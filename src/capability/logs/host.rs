use super::ops;
use crate::{
    capability::{AsCall, Call},
    gate::Error,
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/logs@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::logs as wit;

impl wit::Host for Call<'_> {
    async fn mark(&mut self, service: String) -> Result<(), Error> {
        self.perform(ops::Mark { service }).await?;
        Ok(())
    }
    async fn search(&mut self, service: String, text: String) -> Result<Vec<String>, Error> {
        let since = ops::mark_of(self.resources, &service);
        self.perform(ops::Search::new(service, text, since)).await
    }
    async fn check(&mut self, service: String, unwanted: Vec<String>) -> Result<(), Error> {
        let since = ops::mark_of(self.resources, &service);
        Ok(self.perform(ops::Check::new(service, unwanted, since)).await?.answer()?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

#[cfg(test)]
mod tests {
    use super::{
        ops::{MAX_TEXT, MAX_TEXTS},
        wit::Host,
        *,
    };
    use crate::{
        gate::{Events, Gate},
        journal::{Entry, Header, Journal, Place, Reader},
        resource::{
            Access, CallCtx, Failure, FailureKind, Lend, Lent, ResourceId, Resources, Right, Rights, Run, Service,
            run::{self, Answered, Approver, Facts, Listener, Memory, Question, RUN},
            service::{Mark, Mutate, Observe, Status},
        },
    };
    use std::sync::{Arc, Mutex};
    use tokio_util::sync::CancellationToken;

    /// A service that has said these lines; a position is a number of lines.
    #[derive(Default)]
    struct Talker(Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl Observe for Talker {
        async fn status(&self) -> Result<Status, Failure> {
            Ok(Status::Running)
        }
        async fn start_id(&self) -> Result<Option<String>, Failure> {
            Ok(None)
        }
        async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure> {
            let lines = self.0.lock().unwrap();
            let since = usize::try_from(since.position).unwrap();
            let new = lines.get(since..).ok_or_else(|| Failure::inconclusive("rotated away"))?;
            Ok(new.iter().filter(|line| texts.iter().any(|text| line.contains(text))).cloned().collect())
        }
        async fn processes(&self) -> Result<Vec<i32>, Failure> {
            Ok(Vec::new())
        }
    }

    #[async_trait::async_trait]
    impl Mutate for Talker {
        async fn start(&self, _: &CallCtx) -> Result<(), Failure> {
            Ok(())
        }
        async fn stop(&self, _: &CallCtx) -> Result<(), Failure> {
            Ok(())
        }
        async fn restart(&self, _: &CallCtx) -> Result<(), Failure> {
            Ok(())
        }
        async fn reload(&self, _: &CallCtx) -> Result<(), Failure> {
            Ok(())
        }
        async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
            Ok(Mark::at(self.0.lock().unwrap().len() as u64))
        }
    }

    #[async_trait::async_trait]
    impl Approver for Talker {
        async fn ask(&self, _: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
            Err(Failure::unavailable("nobody"))
        }
    }

    struct Line {
        dir: tempfile::TempDir,
        talker: Arc<Talker>,
        gate: Gate,
        resources: Resources,
    }

    impl Line {
        fn new(right: Right) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let talker = Arc::new(Talker::default());
            let (journal, run) =
                Journal::begin(&dir.path().join("journal.db"), Header::default(), Arc::new(|_| ())).unwrap();
            let place = Place::new("assess", false, "", 1);
            let gate = Gate::new(Arc::new(journal), run, place, Events::default(), CancellationToken::new());
            let memory = Arc::new(Mutex::new(Memory::default()));
            let facts = Facts::default();
            let observer =
                Arc::new(run::Observer { seed: 0, run: 0, facts, memory: memory.clone(), approver: talker.clone() });
            let run = Lend::<Run> {
                id: ResourceId::new("run", "1"),
                rights: Rights::default(),
                terms: (),
                uses: Vec::new(),
                access: Access { observer, mutator: Arc::new(run::Mutator(memory)) },
            };
            let web = Lend::<Service> {
                id: ResourceId::new("service", "shop"),
                rights: [right].into_iter().collect(),
                terms: (),
                uses: Vec::new(),
                access: Access { observer: talker.clone(), mutator: talker.clone() },
            };
            let resources = Resources {
                run: Lent([(RUN.to_owned(), run)].into()),
                service: Lent([("web".to_owned(), web)].into()),
                ..Resources::default()
            };
            Self { dir, talker, gate, resources }
        }

        fn call(&self) -> Call<'_> {
            Call { gate: &self.gate, resources: &self.resources }
        }
        fn says(&self, line: &str) {
            self.talker.0.lock().unwrap().push(line.to_owned());
        }
        async fn check(&self, unwanted: &[&str]) -> Result<(), Failure> {
            let unwanted = unwanted.iter().map(|text| (*text).to_owned()).collect();
            self.call().check("web".into(), unwanted).await.map_err(answer)
        }
        async fn search(&self, text: &str) -> Result<Vec<String>, Failure> {
            self.call().search("web".into(), text.into()).await.map_err(answer)
        }
        async fn mark(&self) -> Result<(), Failure> {
            self.call().mark("web".into()).await.map_err(answer)
        }
        async fn entries(&self) -> Vec<Entry> {
            self.gate.journal().unwrap().flush().await.unwrap();
            let reader = Reader::open(&self.dir.path().join("journal.db")).unwrap();
            reader.entries(self.gate.run).unwrap().into_iter().map(|recorded| recorded.entry).collect()
        }
    }

    fn answer(error: Error) -> Failure {
        match error {
            Error::Answer(failure) => failure,
            Error::Stop(stop) => panic!("{stop}"),
        }
    }

    #[tokio::test]
    async fn a_check_looks_at_what_came_since_the_last_mark() {
        let line = Line::new(Right::Logs);
        line.says("ERROR of before");
        line.mark().await.unwrap();
        assert_eq!(line.check(&["ERROR", "panic"]).await, Ok(()));
        line.says("all is well");
        line.says("ERROR of after");
        let failure = line.check(&["panic", "ERROR"]).await.unwrap_err();
        assert_eq!(failure, Failure::failed("one line since the mark: ERROR of after"));
        assert_eq!(line.search("is").await.unwrap(), ["all is well"]);
        line.mark().await.unwrap();
        assert_eq!(line.check(&["ERROR"]).await, Ok(()));
        assert!(line.search("ERROR").await.unwrap().is_empty());
        for n in 0..200 {
            line.says(&format!("ERROR {n} {}", "x".repeat(1000)));
        }
        let failure = line.check(&["ERROR"]).await.unwrap_err();
        assert!(failure.message.starts_with("200 lines or more since the mark: ERROR 0 xxx"), "{failure}");
        assert!(failure.message.len() < 3000, "{failure}");
    }

    #[tokio::test]
    async fn without_data_there_is_no_pass() {
        let line = Line::new(Right::Logs);
        line.says("ERROR");
        let unmarked = Failure::inconclusive("there is no mark to look from: call `logs.mark` first");
        assert_eq!(line.check(&["ERROR"]).await, Err(unmarked.clone()));
        assert_eq!(line.search("ERROR").await, Err(unmarked));
        line.mark().await.unwrap();
        line.talker.0.lock().unwrap().clear();
        assert_eq!(line.check(&["ERROR"]).await, Err(Failure::inconclusive("rotated away")));
        let verdicts = line.entries().await.into_iter().filter_map(|entry| match entry {
            Entry::Observed { request, result: Ok(value), .. } if request.operation == "logs.check" => {
                Some(value["result"].as_str().unwrap().to_owned())
            }
            _ => None,
        });
        assert_eq!(verdicts.collect::<Vec<_>>(), ["inconclusive"; 2], "both are in the report");
    }

    #[tokio::test]
    async fn what_no_line_can_contain_is_no_question() {
        let line = Line::new(Right::Logs);
        line.mark().await.unwrap();
        let long = "x".repeat(MAX_TEXT);
        let longer = "x".repeat(5 << 20);
        for text in ["", "a\nb", "\u{1b}[31m", &longer] {
            assert_eq!(line.search(text).await.unwrap_err().kind, FailureKind::Invalid);
            assert_eq!(line.check(&["fine", text]).await.unwrap_err().kind, FailureKind::Invalid);
        }
        assert_eq!(line.check(&[]).await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(line.check(&["x"; MAX_TEXTS + 1]).await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(line.check(&["x"; 1_000]).await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(line.check(&[long.as_str(); MAX_TEXTS]).await, Ok(()));
        assert_eq!(line.search("tab\tand ñ").await, Ok(Vec::new()));
        let journal = serde_json::to_string(&line.entries().await).unwrap();
        assert!(journal.len() < 200_000, "what is too long does not fill the journal: {}", journal.len());
    }

    #[tokio::test]
    async fn the_log_needs_a_right_of_its_own() {
        let line = Line::new(Right::Control);
        assert_eq!(line.mark().await.unwrap_err().kind, FailureKind::Denied);
        assert_eq!(line.search("x").await.unwrap_err().kind, FailureKind::Denied);
        assert_eq!(line.check(&["x"]).await.unwrap_err().kind, FailureKind::Denied);
        assert!(line.resources.run.0[RUN].access.observer.memory().marks.is_empty());
    }
}
