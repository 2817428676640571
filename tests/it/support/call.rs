//! What the gate tells a driver, made by hand.
use backout::resource::{CallCtx, Clock, Failure, Progress, Witness};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// What a driver said while it was at it.
#[derive(Default)]
pub struct Said(pub Mutex<Vec<String>>);

impl Witness for Said {
    fn evidence(&self, data: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        self.0.lock().unwrap().push(data.to_string());
        Box::pin(async { Ok(()) })
    }
}
impl Progress for Said {
    fn progress(&self, text: &str, _: u64, _: u64) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

pub fn call(key: &str, time: Duration) -> CallCtx {
    call_heard(key, time).0
}

pub fn call_heard(key: &str, time: Duration) -> (CallCtx, Arc<Said>) {
    let said = Arc::new(Said::default());
    let call = CallCtx {
        clock: Clock::Real,
        earlier: None,
        key: key.to_owned(),
        deadline: Instant::now() + time,
        cancel: CancellationToken::new(),
        witness: said.clone(),
        progress: said.clone(),
    };
    (call, said)
}
