use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Observer, RUN},
    },
};
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
pub struct Now {}
impl Operation for Now {
    const NAME: &'static str = "clock.now";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = u64;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, _: &Observer, call: &CallCtx) -> Result<u64, Failure> {
        Ok(call.clock.unix_millis())
    }
}

#[derive(Serialize)]
pub struct Sleep {
    pub millis: u64,
}
impl Operation for Sleep {
    const NAME: &'static str = "clock.sleep";
    const LASTS: bool = true;
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        RUN
    }
    fn deadline(&self, usual: Duration) -> Duration {
        usual.max(Duration::from_millis(self.millis) + Duration::from_secs(60))
    }
    async fn execute(&self, _: &Observer, call: &CallCtx) -> Result<(), Failure> {
        let whole = Duration::from_millis(self.millis);
        // The time during which nobody was there has passed as well.
        let end = call.clock.now() + whole.saturating_sub(call.since_earlier());
        loop {
            let left = end.saturating_duration_since(call.clock.now());
            call.progress("waits", whole.saturating_sub(left).as_secs(), whole.as_secs());
            if left.is_zero() {
                return Ok(());
            }
            // Nobody looks on where no time passes.
            let long = if call.clock.is_simulated() { left } else { left.min(Duration::from_secs(1)) };
            call.clock.sleep(long).await;
        }
    }
}
