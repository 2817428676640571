use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run, Verdict,
        run::{Observer, RUN},
    },
};
use serde::Serialize;

#[derive(Serialize)]
pub struct Check {
    pub verdict: Verdict,
}
impl Operation for Check {
    const NAME: &'static str = "report.check";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, _: &CallCtx) -> Result<Verdict, Failure> {
        Ok(self.verdict.clone())
    }
}

#[derive(Serialize)]
pub struct Note {
    pub text: String,
}
impl Operation for Note {
    const NAME: &'static str = "report.note";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, _: &CallCtx) -> Result<(), Failure> {
        // The journal's entry is the remark.
        Ok(())
    }
}
