use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Observer, RUN},
    },
};
use serde::{Deserialize, Serialize};

/// What a run is for; where in it one is, the gate knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct About {
    pub package: String,
    pub version: String,
    pub from_version: String,
    pub to_version: String,
}

#[derive(Serialize)]
pub struct Current {}
impl Operation for Current {
    const NAME: &'static str = "context.current";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = About;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<About, Failure> {
        let facts = &run.facts;
        Ok(About {
            package: facts.package.clone(),
            version: facts.version.clone(),
            from_version: facts.from_version.clone(),
            to_version: facts.to_version.clone(),
        })
    }
}

#[derive(Serialize)]
pub struct Setting {
    pub name: String,
}
impl Operation for Setting {
    const NAME: &'static str = "context.setting";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = String;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<String, Failure> {
        let value = run.facts.settings.get(&self.name).cloned();
        value.ok_or_else(|| Failure::invalid(format!("the manifest declares no setting `{}`", self.name)))
    }
}

#[derive(Serialize)]
pub struct Completed {
    pub step: String,
}
impl Operation for Completed {
    const NAME: &'static str = "context.completed";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = bool;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<bool, Failure> {
        Ok(run.memory().completed.contains(&self.step))
    }
}
