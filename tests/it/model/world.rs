//! Resources that are no more than a list of what was done to them, and that outlive every run: what a person would look at.
use super::life::RUN;
use crate::support::script::lend;
use async_trait::async_trait;
use backout::{
    journal::{Place, Reader},
    resource::{
        self, Access, CallCtx, Failure, Lend, Lent, Resources,
        run::{Answered, Approver, Listener, Question},
        service::{self, Before, Mark, Observe as _, Status},
        tool::{self, Looked},
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Default)]
pub struct World {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    effects: Vec<Effect>,
    /// By which start it runs.
    runs: Option<usize>,
    /// What goes on without the process that began it: how often somebody looks before it has happened.
    under_way: BTreeMap<String, (String, u32)>,
    moments: usize,
    death: Option<Death>,
    died: Arc<Notify>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    pub what: String,
    /// of the call
    pub key: String,
}

/// Before and after each effect there is a moment at which the process can end.
#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub moment: usize,
    /// What had begun happens all the same, a little later.
    pub lands: bool,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From here on moments are counted anew. Tells when the process is gone.
    pub fn live(&self, death: Option<Death>) -> Arc<Notify> {
        let mut state = self.state();
        (state.moments, state.death, state.died) = (0, death, Arc::default());
        state.died.clone()
    }

    pub fn effects(&self) -> Vec<Effect> {
        self.state().effects.clone()
    }

    pub fn times(&self, what: &str, key: &str) -> usize {
        self.state().effects.iter().filter(|effect| effect.what == what && effect.key == key).count()
    }

    fn happens(&self, what: &str, key: &str) {
        let mut state = self.state();
        match what {
            "start" => state.runs = Some(state.effects.len()),
            "stop" => state.runs = None,
            _ => {}
        }
        state.effects.push(Effect { what: what.to_owned(), key: key.to_owned() });
    }

    async fn moment(&self, what: Option<&str>, key: &str) {
        let dies = {
            let mut state = self.state();
            state.moments += 1;
            let death = state.death.filter(|death| death.moment <= state.moments);
            if let (Some(death), Some(what)) = (death, what)
                && death.moment == state.moments
                && death.lands
                && super::plot::TOOLS.contains(&what)
            {
                state.under_way.insert(key.to_owned(), (what.to_owned(), 2));
            }
            death.is_some()
        };
        if dies {
            let died = self.state().died.clone();
            died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn does(&self, what: &str, key: &str) {
        self.moment(Some(what), key).await;
        self.happens(what, key);
        tokio::task::yield_now().await;
        self.moment(None, key).await;
    }

    pub fn resources(self: &Arc<Self>) -> Resources {
        let tools = super::plot::TOOLS.map(|label| {
            let tool = Arc::new(Tool { label, world: self.clone() });
            let terms =
                tool::Terms { idempotent: matches!(label, "again" | "broken"), timeout: Duration::from_secs(3600) };
            let access = Access::<resource::Tool> { observer: tool.clone(), mutator: tool };
            let lend = Lend { terms, ..lend("tool", label, access) };
            (label.to_owned(), lend)
        });
        let service = Arc::new(Service(self.clone()));
        let access = Access::<resource::Service> { observer: service.clone(), mutator: service };
        let service = lend("service", "shop", access);
        let (tool, service) = (Lent(tools.into()), Lent([("shop".to_owned(), service)].into()));
        Resources { tool, service, ..Resources::default() }
    }
}

struct Tool {
    label: &'static str,
    world: Arc<World>,
}

#[async_trait]
impl tool::Observe for Tool {
    async fn running(&self, key: &str) -> Result<bool, Failure> {
        let mut state = self.world.state();
        let Some((what, looks)) = state.under_way.get_mut(key) else { return Ok(false) };
        if *looks > 0 {
            *looks -= 1;
            return Ok(true);
        }
        let what = what.clone();
        state.under_way.remove(key);
        drop(state);
        self.world.happens(&what, key);
        Ok(false)
    }
    async fn end(&self, call: &CallCtx) -> Result<(), Failure> {
        while self.running(&call.key).await? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
    async fn look(&self, _: &[Value], call: &CallCtx) -> Result<Looked, Failure> {
        Ok(match (self.label, self.world.times(self.label, &call.key)) {
            ("checked", 0) => Looked::NotDone,
            ("checked", _) => Looked::Done("the check says so".to_owned()),
            _ => Looked::Unclear("look at the list".to_owned()),
        })
    }
}

#[async_trait]
impl tool::Mutate for Tool {
    async fn run(&self, call: &CallCtx) -> Result<String, Failure> {
        if self.label == "broken" {
            return Err(Failure::unavailable("it does not work"));
        }
        call.evidence(json!({ "of": call.key })).await?;
        self.world.does(self.label, &call.key).await;
        match self.label {
            "unsure" => Err(Failure::inconclusive("it was ended by somebody")),
            label => Ok(format!("{label}, {}", call.key)),
        }
    }
}

struct Service(Arc<World>);

#[async_trait]
impl service::Observe for Service {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(if self.0.state().runs.is_some() { Status::Running } else { Status::Stopped })
    }
    async fn search(&self, _: &Mark, _: &[String]) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok(self.0.state().runs.map(|start| start.to_string()))
    }
    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl service::Mutate for Service {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        self.0.does("start", &call.key).await;
        Ok(())
    }
    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        self.0.does("stop", &call.key).await;
        Ok(())
    }
    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        let before = Before { start: self.start_id().await?, what: "it restarts".to_owned() };
        call.evidence(serde_json::to_value(before).unwrap()).await?;
        self.stop(call).await?;
        self.start(call).await
    }
    async fn reload(&self, _: &CallCtx) -> Result<(), Failure> {
        Err(Failure::invalid("there is no way"))
    }
    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        Ok(Mark::at(0))
    }
}

/// What a driver is told of the operation, so that it can be found again.
pub fn key(place: &Place, seq: usize) -> String {
    let back = if place.rolled_back { "rolled-back/" } else { "" };
    format!("{RUN}/{back}{}/{}/{seq}", place.title(), place.attempt)
}

/// Looks at what has happened, and says so; or is not there.
pub struct People {
    pub world: Arc<World>,
    pub journal: PathBuf,
    pub there: bool,
}

#[async_trait]
impl Approver for People {
    async fn ask(&self, _: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        Err(Failure::unavailable("nobody is asked"))
    }

    async fn decide(&self, number: i64, _: &str) -> Option<(bool, String)> {
        if !self.there {
            return None;
        }
        let begun = Reader::open(&self.journal).unwrap().stream(RUN, number).next().unwrap().unwrap();
        let key = key(&begun.place, begun.seq as usize);
        let done = self.world.effects().iter().any(|effect| effect.key == key && effect.what != "stop");
        Some((done, "Ada".to_owned()))
    }
}
