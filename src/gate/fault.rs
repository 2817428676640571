//! Where the effect of an operation is asked for, and where a test can have that fail.
use super::operation::{Half, Operation};
use crate::{
    crash::{self, Fails},
    resource::{CallCtx, Failure},
};

pub(super) async fn execute<O: Operation>(operation: &O, half: &Half<O>, call: &CallCtx) -> Result<O::Output, Failure> {
    let failure = || Failure::unavailable(format!("{} fails, as `BACKOUT_FAIL_AT` asks", O::NAME));
    match crash::fails() {
        None => operation.execute(half, call).await,
        Some(Fails::Before) => Err(failure()),
        Some(Fails::After) => operation.execute(half, call).await.and_then(|_| Err(failure())),
    }
}
