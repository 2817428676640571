use super::Clock;
use crate::failure::Failure;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

/// Where evidence goes: the journal, seen from a driver.
pub trait Witness: Send + Sync {
    /// Durable when it returns.
    fn evidence(&self, data: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>>;
    /// Durable soon: what would be a pity to lose, and no more.
    fn note(&self, _data: serde_json::Value) {}
}

/// Where news of long work goes: the terminal, seen from a driver.
pub trait Progress: Send + Sync {
    /// `total` 0: not known.
    fn progress(&self, text: &str, done: u64, total: u64);
}

/// What an earlier process left of the same operation, which it did not end.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// milliseconds since 1970-01-01 UTC: when it began
    pub at: i64,
    pub evidence: Vec<serde_json::Value>,
}

/// What a driver is told about the call that it serves.
#[derive(Clone)]
pub struct CallCtx {
    /// `run/phase/step/attempt/sequence`, after a rollback `run/rolled-back/phase/…`: the same again when the operation is tried again after a crash. Names what a
    /// driver leaves behind, and tags what it starts, so that it can be found.
    pub key: String,
    /// The gate stops waiting at this moment; a driver sets its own server-side timeouts by it.
    pub deadline: Instant,
    pub clock: Clock,
    /// The operator wants to stop. Observing loops end; what changes things finishes what it has begun.
    pub cancel: CancellationToken,
    /// `None`: it was not begun before.
    pub earlier: Option<Arc<Earlier>>,
    pub witness: Arc<dyn Witness>,
    pub progress: Arc<dyn Progress>,
}

/// Nobody listens.
struct Deaf;
impl Witness for Deaf {
    fn evidence(&self, _: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}
impl Progress for Deaf {
    fn progress(&self, _: &str, _: u64, _: u64) {}
}

impl CallCtx {
    /// For a look outside any run.
    pub fn aside(key: String, within: Duration) -> Self {
        let (deadline, cancel) = (Instant::now() + within, CancellationToken::new());
        Self {
            key,
            deadline,
            clock: Clock::Real,
            cancel,
            earlier: None,
            witness: Arc::new(Deaf),
            progress: Arc::new(Deaf),
        }
    }

    /// Writes down what makes the operation decidable, before its point of no return.
    pub async fn evidence(&self, data: serde_json::Value) -> Result<(), Failure> {
        self.witness.evidence(data).await
    }
    /// Of an observation that goes on: what it has seen, for whoever goes on with it.
    pub fn note(&self, data: serde_json::Value) {
        self.witness.note(data);
    }
    pub fn progress(&self, text: &str, done: u64, total: u64) {
        self.progress.progress(text, done, total);
    }
    /// How long ago an earlier process began the same operation; nothing if none did.
    pub fn since_earlier(&self) -> Duration {
        let Some(earlier) = &self.earlier else { return Duration::ZERO };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(u64::try_from(earlier.at).unwrap_or(0)))
    }
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
