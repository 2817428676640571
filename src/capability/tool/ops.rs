use crate::{
    gate::{
        Operation, Reconciled,
        class::{self, Class},
    },
    resource::{
        CallCtx, Failure, FailureKind, Resources, Right, Tool,
        tool::{Looked, Mutator, Observer, Terms},
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

impl<C: Class<Half<Tool> = Mutator>> Operation for Run<C> {
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
    /// What it printed nobody has kept.
    fn presumed(&self) -> Result<String, Failure> {
        Ok(String::new())
    }
    /// A command that has ended by itself has said how it ended.
    fn is_final(&self, failure: &Failure) -> bool {
        !matches!(failure.kind, FailureKind::TimedOut | FailureKind::Inconclusive)
    }
    async fn reconcile(
        &self,
        tool: &Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<String>, Failure> {
        if let Err(failure) = tool.end(call).await {
            return Ok(Reconciled::Unknown(failure.message));
        }
        Ok(match tool.look(evidence, call).await? {
            Looked::Done(output) => Reconciled::Done(output),
            Looked::NotDone => Reconciled::NotDone,
            Looked::Unclear(_) if C::NAME == class::Idempotent::NAME => Reconciled::NotDone,
            Looked::Unclear(look) => Reconciled::Unknown(look),
        })
    }
}
