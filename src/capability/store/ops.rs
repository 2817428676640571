use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Mutator, Observer, RUN},
    },
};
use serde::Serialize;

#[derive(Serialize)]
pub struct Get {
    pub key: String,
}
impl Operation for Get {
    const NAME: &'static str = "store.get";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = Option<String>;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<Option<String>, Failure> {
        Ok(run.memory().store.get(&self.key).cloned())
    }
}

#[derive(Serialize)]
pub struct Set {
    pub key: String,
    pub value: String,
}
impl Operation for Set {
    const NAME: &'static str = "store.set";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    /// A run remembers it once it stands in the journal.
    async fn execute(&self, _: &Mutator, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
}
