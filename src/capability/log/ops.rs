use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Observer, RUN},
    },
};
use serde::Serialize;

#[derive(Serialize)]
pub struct Debug {
    pub message: String,
}
impl Operation for Debug {
    const NAME: &'static str = "log.debug";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, _: &CallCtx) -> Result<(), Failure> {
        // The journal's entry is the line.
        Ok(())
    }
}

#[derive(Serialize)]
pub struct Info {
    pub message: String,
}
impl Operation for Info {
    const NAME: &'static str = "log.info";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, _: &CallCtx) -> Result<(), Failure> {
        // The journal's entry is the line.
        Ok(())
    }
}

#[derive(Serialize)]
pub struct Warn {
    pub message: String,
}
impl Operation for Warn {
    const NAME: &'static str = "log.warn";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, _: &CallCtx) -> Result<(), Failure> {
        // The journal's entry is the line.
        Ok(())
    }
}
