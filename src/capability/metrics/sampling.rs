//! Samples in the course of time, and how they are written down for whoever goes on after an interruption.
use super::facts::Sample;
use crate::resource::{self, CallCtx, Failure};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);

/// One sample, as whoever goes on with it will read it.
#[derive(Serialize, Deserialize)]
pub struct Seen {
    pub sample: Sample,
    /// why there was no data
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// for which it was waited
    pub seconds: u64,
}

impl Seen {
    pub fn read(evidence: &serde_json::Value) -> Option<Self> {
        Self::deserialize(evidence).ok()
    }
    pub fn written(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A sample every second, for so many seconds. One that took longer lets the next ones fall out.
pub struct Clock {
    /// `None`: no time passes but what is waited for.
    ticks: Option<Interval>,
    time: resource::Clock,
    /// seconds that an earlier process has spent
    before: Duration,
    began: Instant,
    whole: Duration,
    first: bool,
}

impl Clock {
    pub fn new(call: &CallCtx, seconds: u32) -> Self {
        Self::after(call, Duration::ZERO, seconds)
    }
    pub fn after(call: &CallCtx, before: Duration, seconds: u32) -> Self {
        let ticks = (!call.clock.is_simulated()).then(|| {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let whole = Duration::from_secs(seconds.into());
        Self { ticks, time: call.clock.clone(), before, began: call.clock.now(), whole, first: true }
    }
    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.whole
    }
    pub fn elapsed(&self) -> Duration {
        self.before + (self.time.now() - self.began)
    }
    pub async fn tick(&mut self, call: &CallCtx) -> Result<(), Failure> {
        let first = std::mem::take(&mut self.first);
        let next = async {
            match &mut self.ticks {
                Some(ticks) => drop(ticks.tick().await),
                None if first => {}
                None => self.time.sleep(EVERY).await,
            }
        };
        tokio::select! {
            biased;
            () = call.cancel.cancelled() => Err(Failure::unavailable("cancelled")),
            () = next => Ok(()),
        }
    }
    pub fn progress(&self, call: &CallCtx, text: &str) {
        call.progress(text, self.elapsed().min(self.whole).as_secs(), self.whole.as_secs());
    }
}
