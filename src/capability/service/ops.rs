use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        CallCtx, Failure, Right, Service,
        service::{Mutator, Observer, Status},
    },
};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Serialize)]
pub struct GetStatus {
    pub service: String,
}
impl Operation for GetStatus {
    const NAME: &'static str = "service.get-status";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Service;
    type Class = class::Observe;
    type Output = Status;
    fn label(&self) -> &str {
        &self.service
    }
    async fn execute(&self, service: &Observer, _: &CallCtx) -> Result<Status, Failure> {
        service.status().await
    }
}

#[derive(Serialize)]
pub struct Start {
    pub service: String,
}
impl Operation for Start {
    const NAME: &'static str = "service.start";
    const RIGHT: Option<Right> = Some(Right::Control);
    type On = Service;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.service
    }
    async fn execute(&self, service: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        service.start(call).await
    }
    async fn reconcile(&self, service: &Observer, _: &[Value], call: &CallCtx) -> Result<Reconciled<()>, Failure> {
        loop {
            return Ok(match service.status().await? {
                Status::Running => Reconciled::Done(()),
                Status::Stopped | Status::Failed => Reconciled::NotDone,
                Status::Starting if call.remaining().is_zero() => {
                    Reconciled::Unknown(format!("`{}` is still starting", self.service))
                }
                // What was begun goes on without the call.
                Status::Starting => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            });
        }
    }
}

#[derive(Serialize)]
pub struct Stop {
    pub service: String,
}
impl Operation for Stop {
    const NAME: &'static str = "service.stop";
    const RIGHT: Option<Right> = Some(Right::Control);
    type On = Service;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.service
    }
    fn changes(&self) -> bool {
        false
    }
    async fn execute(&self, service: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        service.stop(call).await
    }
    async fn reconcile(&self, service: &Observer, _: &[Value], call: &CallCtx) -> Result<Reconciled<()>, Failure> {
        loop {
            let ended = matches!(service.status().await?, Status::Stopped | Status::Failed);
            if ended && service.processes().await?.is_empty() {
                return Ok(Reconciled::Done(()));
            }
            if call.remaining().is_zero() {
                return Ok(Reconciled::NotDone);
            }
            // It was told, and may be about to end.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

#[derive(Serialize)]
pub struct Restart {
    pub service: String,
}
impl Operation for Restart {
    const NAME: &'static str = "service.restart";
    const RIGHT: Option<Right> = Some(Right::Control);
    type On = Service;
    type Class = class::Once;
    type Output = ();
    fn label(&self) -> &str {
        &self.service
    }
    async fn execute(&self, service: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        service.stop(call).await?;
        service.start(call).await
    }
}

#[derive(Serialize)]
pub struct Reload {
    pub service: String,
}
impl Operation for Reload {
    const NAME: &'static str = "service.reload";
    const RIGHT: Option<Right> = Some(Right::Control);
    type On = Service;
    type Class = class::Once;
    type Output = ();
    fn label(&self) -> &str {
        &self.service
    }
    async fn execute(&self, service: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        service.reload(call).await
    }
}
