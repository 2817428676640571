//! What changes is measured between two samples. Whoever asks every second should not wait for a second one each time, so the
//! last ones are kept; and who asks at the same time as somebody else should not measure over a few milliseconds.
use super::Failure;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Without an earlier sample another one is taken so much later.
const APART: Duration = Duration::from_secs(1);
/// An earlier sample serves when it is so much older than the new one.
const NEAREST: Duration = Duration::from_millis(500);
const FARTHEST: Duration = Duration::from_secs(5);
const MOST: usize = 64;

pub struct Series<S>(Mutex<VecDeque<(Instant, Arc<S>)>>);

pub struct Pair<S> {
    pub before: Arc<S>,
    pub after: Arc<S>,
    pub apart: Duration,
}

impl<S> Default for Series<S> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<S> Series<S> {
    /// Remembers a sample of now; the pair that it makes with the newest earlier one that is old enough.
    pub fn keep(&self, sample: S) -> (Arc<S>, Option<Pair<S>>) {
        let (now, after) = (Instant::now(), Arc::new(sample));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, _)| now.duration_since(*at) <= FARTHEST);
        if kept.len() == MOST {
            kept.pop_front();
        }
        let earlier = kept.iter().rev().find(|(at, _)| now.duration_since(*at) >= NEAREST);
        let pair = earlier.map(|(at, before)| Pair {
            before: before.clone(),
            after: after.clone(),
            apart: now.duration_since(*at),
        });
        kept.push_back((now, after.clone()));
        (after, pair)
    }

    /// Two samples; the second is of now.
    pub async fn pair<F>(&self, take: impl Fn() -> F + Send) -> Result<Pair<S>, Failure>
    where
        F: Future<Output = Result<S, Failure>> + Send,
    {
        let (before, pair) = self.keep(take().await?);
        if let Some(pair) = pair {
            return Ok(pair);
        }
        let began = Instant::now();
        tokio::time::sleep(APART).await;
        let (after, _) = self.keep(take().await?);
        Ok(Pair { before, after, apart: began.elapsed() })
    }
}
