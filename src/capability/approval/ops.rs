use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Observer, RUN},
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
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<String, Failure> {
        if self.question.len() > MAX || self.role.len() > 64 {
            return Err(Failure::invalid(format!("a question has at most {MAX} bytes, a role 64")));
        }
        run.approver.ask(&self.question, &self.role).await
    }
}
