use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        CallCtx, Failure, Resources, Right, Tool,
        tool::{Mutator, Observer, Terms},
    },
};
use serde::Serialize;
use serde_json::Value;
use std::{marker::PhantomData, time::Duration};

/// The site's word on a tool. One that is not granted has none; the gate says so.
pub fn terms_of(resources: &Resources, label: &str) -> Terms {
    resources.tool.0.get(label).map(|lend| lend.terms.clone()).unwrap_or_default()
}

/// One function of the script, two operations: whether a tool may run twice is for the site to say.
pub type RunOnce = Run<class::Once>;
pub type RunAgain = Run<class::Idempotent>;

#[derive(Serialize)]
pub struct Run<C> {
    pub tool: String,
    #[serde(skip)]
    timeout: Duration,
    #[serde(skip)]
    class: PhantomData<fn() -> C>,
}

impl<C> Run<C> {
    pub fn new(tool: impl Into<String>, terms: &Terms) -> Self {
        Self { tool: tool.into(), timeout: terms.timeout, class: PhantomData }
    }
}

impl<C: class::Class<Half<Tool> = Mutator>> Operation for Run<C> {
    const NAME: &'static str = "tool.run";
    const RIGHT: Option<Right> = Some(Right::Run);
    type On = Tool;
    type Class = C;
    type Output = String;
    fn label(&self) -> &str {
        &self.tool
    }
    fn deadline(&self, _: Duration) -> Duration {
        self.timeout
    }
    async fn execute(&self, tool: &Mutator, call: &CallCtx) -> Result<String, Failure> {
        tool.run(call).await
    }
    /// Nobody can see what a command has done; that nothing of it goes on is what can be made sure of.
    async fn reconcile(&self, tool: &Observer, _: &[Value], call: &CallCtx) -> Result<Reconciled<String>, Failure> {
        while tool.running(&call.key).await? {
            if call.remaining().is_zero() {
                return Ok(Reconciled::Unknown(format!("`{}` still runs, and could not be ended", self.tool)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(match C::NAME {
            "once" => Reconciled::Unknown(format!(
                "`{}` runs no more, but was ended before it was done: look at what it should have changed",
                self.tool
            )),
            _ => Reconciled::NotDone,
        })
    }
}
