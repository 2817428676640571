use crate::failure::Failure;
use std::{future::Future, pin::Pin, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Where evidence goes: the journal, seen from a driver.
pub trait Witness: Send + Sync {
    /// Durable when it returns.
    fn evidence(&self, data: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>>;
}

/// Where news of long work goes: the terminal, seen from a driver.
pub trait Progress: Send + Sync {
    /// `total` 0: not known.
    fn progress(&self, text: &str, done: u64, total: u64);
}

/// What a driver is told about the call that it serves.
#[derive(Clone)]
pub struct CallCtx {
    /// `run/phase/step/attempt/sequence`: the same again when the operation is tried again after a crash. Names what a
    /// driver leaves behind, and tags what it starts, so that it can be found.
    pub key: String,
    /// The gate stops waiting at this moment; a driver sets its own server-side timeouts by it.
    pub deadline: Instant,
    /// The operator wants to stop. Observing loops end; what changes things finishes what it has begun.
    pub cancel: CancellationToken,
    pub witness: Arc<dyn Witness>,
    pub progress: Arc<dyn Progress>,
}

impl CallCtx {
    /// Writes down what makes the operation decidable, before its point of no return.
    pub async fn evidence(&self, data: serde_json::Value) -> Result<(), Failure> {
        self.witness.evidence(data).await
    }
    pub fn progress(&self, text: &str, done: u64, total: u64) {
        self.progress.progress(text, done, total);
    }
    pub fn remaining(&self) -> std::time::Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
