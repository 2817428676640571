use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        channel::key,
        run::{Listener, Observer, Question, RUN},
    },
};
use serde::Serialize;
use std::time::Duration;

/// What fits on a terminal.
const MAX: usize = 2_000;

#[derive(Serialize)]
pub struct Ask {
    pub question: String,
    pub role: String,
}
impl Operation for Ask {
    const NAME: &'static str = "approval.ask";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = String;
    fn label(&self) -> &str {
        RUN
    }
    /// People take their time.
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(24 * 3600)
    }
    async fn execute(&self, run: &Observer, call: &CallCtx) -> Result<String, Failure> {
        if self.question.len() > MAX || self.role.len() > 64 {
            return Err(Failure::invalid(format!("a question has at most {MAX} bytes, a role 64")));
        }
        let Self { question: text, role } = self;
        let id = key(&["asked", &run.seed.to_string(), &call.key, role, text]);
        let question = Question { id, run: run.run, role: role.clone(), text: text.clone() };
        let answered = run.approver.ask(&question, &Nobody).await?;
        match (answered.yes, answered.by.as_str()) {
            (true, _) => Ok(answered.by),
            (false, "") => Err(Failure::denied("it was not approved")),
            (false, by) => Err(Failure::denied(format!("it was not approved: {by} says no"))),
        }
    }
}

/// A run has its own.
struct Nobody;
impl Listener for Nobody {
    fn trouble(&self, _: &str) {}
}
