use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        CallCtx, Failure, FailureKind, Right, Service,
        service::{Before, Mutator, Observer, Status},
    },
};
use serde::{Deserialize, Serialize};
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
        // One that is still starting is started again, which waits for it.
        Ok(Reconciled::of_idempotent(self.done(service, call).await))
    }
}

impl Start {
    async fn done(&self, service: &Observer, call: &CallCtx) -> Result<bool, Failure> {
        Ok(settled(service, call).await? == Status::Running && service.is_whole().await?)
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
        Ok(Reconciled::of_idempotent(self.done(service, call).await))
    }
}
impl Stop {
    async fn done(&self, service: &Observer, call: &CallCtx) -> Result<bool, Failure> {
        loop {
            if matches!(service.status().await?, Status::Stopped | Status::Failed) {
                // What has lost its supervisor nobody ends.
                let gone = match told(service.processes().await)? {
                    Told::Is(left) => left.is_empty(),
                    Told::Unclear(_) => true,
                };
                return Ok(gone && service.is_whole().await?);
            }
            // What was told to end may be about to; what was not goes on.
            if call.remaining().is_zero() || !matches!(told(service.start_id().await)?, Told::Is(None)) {
                return Ok(false);
            }
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
        service.restart(call).await
    }
    async fn reconcile(
        &self,
        service: &Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<()>, Failure> {
        let Some(before) = before(evidence)? else { return Ok(Reconciled::NotDone) };
        loop {
            let status = settled(service, call).await?;
            let start = match told(service.start_id().await)? {
                Told::Is(start) => start,
                Told::Unclear(why) if status == Status::Running => {
                    return Ok(Reconciled::Unknown(format!(
                        "{}; `{}` runs, and {why}: look whether it was started since",
                        before.what, self.service
                    )));
                }
                Told::Unclear(_) => None,
            };
            return Ok(match (status, start) {
                (Status::Starting, _) => Reconciled::Unknown(format!(
                    "{}; `{}` is still starting: look whether it comes up",
                    before.what, self.service
                )),
                (Status::Running, Some(now)) if before.start.as_ref() != Some(&now) => Reconciled::Done(()),
                // The one that was to be stopped was told, and goes on for a while.
                (Status::Running, None) if !call.remaining().is_zero() => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
                // Doing it again takes nobody's place who came up by it: either nothing runs, or what ran before.
                _ => Reconciled::NotDone,
            });
        }
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
    async fn reconcile(
        &self,
        service: &Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<()>, Failure> {
        let Some(before) = before(evidence)? else { return Ok(Reconciled::NotDone) };
        settled(service, call).await?;
        let start = match told(service.start_id().await)? {
            Told::Is(start) => start,
            Told::Unclear(why) => {
                return Ok(Reconciled::Unknown(format!(
                    "{}; {why}: look in the log of `{}` whether it has read its configuration since",
                    before.what, self.service
                )));
            }
        };
        Ok(match start {
            Some(now) if before.start.as_ref() == Some(&now) => Reconciled::Unknown(format!(
                "{}; nobody can see whether it was: look in the log of `{}` whether it has read its configuration since",
                before.what, self.service
            )),
            // It was started since, and read its configuration then.
            Some(_) => Reconciled::Done(()),
            None => Reconciled::NotDone,
        })
    }
}

/// What a service could be asked, and may not know.
enum Told<T> {
    Is(T),
    /// Why not.
    Unclear(String),
}

fn told<T>(answer: Result<T, Failure>) -> Result<Told<T>, Failure> {
    match answer {
        Ok(is) => Ok(Told::Is(is)),
        Err(failure) if failure.kind == FailureKind::Inconclusive => Ok(Told::Unclear(failure.message)),
        Err(failure) => Err(failure),
    }
}

/// What goes on without the call is waited for.
async fn settled(service: &Observer, call: &CallCtx) -> Result<Status, Failure> {
    loop {
        match service.status().await? {
            Status::Starting if !call.remaining().is_zero() => tokio::time::sleep(LOOK_AGAIN).await,
            status => return Ok(status),
        }
    }
}

/// `None`: it came to nothing that could be in doubt.
fn before(evidence: &[Value]) -> Result<Option<Before>, Failure> {
    // The last attempt counts: each one before was looked at before the next began.
    let Some(last) = evidence.last() else { return Ok(None) };
    let before = Before::deserialize(last);
    before.map(Some).map_err(|e| Failure::failed(format!("what was written down before cannot be read: {e}")))
}
